"""asyncio: two writers of one child: ours waits longer each time, and the other is named in a condition."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from gameai_operator.controller import status_report
from gameai_operator.controller.errors import ApiError
from gameai_operator.controller.kind import RejectedWrite
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.plan import Apply, Child, Count, Plan
from gameai_operator.controller.repairs import Repair, Repairs
from gameai_operator.controller.writer import Writer

Step = Apply | Count


@dataclass(kw_only=True, slots=True)
class _Fights:
    """Repairs of one root's children, and the refusal of each that is contended now."""

    repairs: Repairs
    named: dict[Repair, RejectedWrite] = field(default_factory=dict)


class Contention:
    """Holds back repairs that come too often; `repairs` makes the counter of one root."""

    def __init__(
        self, writer: Writer, repairs: Callable[[], Repairs], clock: Callable[[], float]
    ) -> None:
        self._writer = writer
        self._make = repairs
        self._clock = clock
        self._fights: dict[Key, _Fights] = {}

    def clear(self) -> None:
        """Others have written since: nothing is known any more."""
        self._fights.clear()

    def forget(self, root: Key) -> None:
        """A root is gone."""
        self._fights.pop(root, None)

    def divide(self, root: Key, steps: Plan) -> tuple[Plan, tuple[Step, ...]]:
        """What may be written now, and what must wait. A child that is absent is created without delay."""
        held = tuple(each for each in _writes(steps) if self._wait(root, each) > 0)
        # A template waits for a number that only it held until now.
        first = {each.key for each in held if isinstance(each, Count) and each.first}
        held += tuple(each for each in steps.applies if each.key in first and each not in held)
        due = replace(
            steps,
            counts=tuple(each for each in steps.counts if each not in held),
            applies=tuple(each for each in steps.applies if each not in held),
        )
        return due, held

    def note(self, root: Key, steps: Iterable[Step | Child]) -> None:
        """These were written, or deleted."""
        now = self._clock()
        for each in steps:
            fights = self._fights.setdefault(root, _Fights(repairs=self._make()))
            if isinstance(each, Child):
                fights.repairs.forget(each.key)
            else:
                fights.repairs.wrote(_repair(each), now)

    def wait_seconds(self, root: Key, steps: Plan) -> float | None:
        """Seconds until what is held back may be written, or a fight counts as over; None where there is neither."""
        fights = self._fights.get(root)
        if fights is None:
            return None
        now = self._clock()
        waits = [self._wait(root, each) for each in _writes(steps)]
        waits += [fights.repairs.fought_seconds(each, now) for each in fights.named]
        return min((wait for wait in waits if wait > 0), default=None)

    async def rejections(self, root: Key, held: Sequence[Step]) -> tuple[RejectedWrite, ...]:
        """One for each child that is contended: held back now, or written again a short while ago."""
        fights = self._fights.get(root)
        if fights is None:
            return ()
        now = self._clock()
        for step in held:
            if _repair(step) not in fights.named:
                fights.named[_repair(step)] = await self._contended(step)
        waiting = {_repair(step) for step in held}
        for repair in tuple(fights.named):
            if repair not in waiting and not fights.repairs.fought_seconds(repair, now):
                del fights.named[repair]
        return tuple(fights.named.values())

    async def _contended(self, step: Step) -> RejectedWrite:
        try:
            names = ", ".join(await self._writer.rivals(step))
        except ApiError as error:
            names = f"an unknown field manager ({error.explained})"
        key = step.key
        message = (
            f"{key.kind} {key.name}: {names or 'another writer'} keeps changing what this operator sets "
            f"({step.why}): stop it, or have it leave these fields alone"
        )
        return RejectedWrite(key=key, reason=status_report.CONTENDED, message=message)

    def _wait(self, root: Key, step: Step) -> float:
        fights = self._fights.get(root)
        if fights is None or (isinstance(step, Apply) and step.version is None):
            return 0.0
        return fights.repairs.wait_seconds(_repair(step), self._clock())


def _writes(steps: Plan) -> tuple[Step, ...]:
    return (*steps.counts, *steps.applies)


def _repair(step: Step) -> Repair:
    """Numbers of replicas are counted apart from templates."""
    key = step.key if isinstance(step, Apply) else step.key._replace(kind="replicas")
    return Repair(key=key, digest=step.digest, why=step.why)
