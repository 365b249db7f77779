"""asyncio: two writers of one child: ours waits longer each time, and the other is named in a condition."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from gameai_operator.engine import report
from gameai_operator.engine.errors import ApiError
from gameai_operator.engine.kind import Refusal
from gameai_operator.engine.manifest import Key
from gameai_operator.engine.plan import Apply, Child, Count, Plan
from gameai_operator.engine.repairs import Repair, Repairs
from gameai_operator.engine.writer import Writer

Step = Apply | Count


class Contention:
    """Holds back repairs that come too often."""

    def __init__(self, writer: Writer, repairs: Repairs, clock: Callable[[], float]) -> None:
        self._writer = writer
        self._clock = clock
        self._repairs = repairs
        self._named: dict[Key, Refusal] = {}

    def clear(self) -> None:
        """Forget all."""
        self._repairs.clear()
        self._named.clear()

    def divide(self, steps: Plan) -> tuple[Plan, tuple[Step, ...]]:
        """What may be written now, and what must wait. A child that is absent is created without delay."""
        held = tuple(each for each in _writes(steps) if self._wait(each) > 0)
        due = replace(
            steps,
            counts=tuple(each for each in steps.counts if each not in held),
            applies=tuple(each for each in steps.applies if each not in held),
        )
        return due, held

    def note(self, steps: Iterable[Step | Child]) -> None:
        """These were written, or deleted."""
        now = self._clock()
        for each in steps:
            if isinstance(each, Child):
                self._repairs.forget(each.key)
                self._named.pop(each.key, None)
            else:
                self._repairs.wrote(_repair(each), now)

    def wait_seconds(self, steps: Plan) -> float | None:
        """Seconds until what is held back may be written; None where nothing is."""
        return min(
            (wait for each in _writes(steps) if (wait := self._wait(each)) > 0), default=None
        )

    async def refusals(self, held: Sequence[Step], intact: Sequence[Child]) -> tuple[Refusal, ...]:
        """One for each child that is contended."""
        for child in intact:
            self._named.pop(child.key, None)
        for step in held:
            if step.key not in self._named:
                self._named[step.key] = await self._contended(step)
        return tuple(self._named[key] for key in sorted({step.key for step in held}))

    async def _contended(self, step: Step) -> Refusal:
        try:
            names = ", ".join(await self._writer.rivals(step))
        except ApiError as error:
            names = f"an unknown field manager ({error.explained})"
        key = step.key
        message = (
            f"{key.kind} {key.name}: {names or 'another writer'} keeps changing what this operator sets "
            f"({step.why}): stop it, or have it leave these fields alone"
        )
        return Refusal(key=key, reason=report.CONTENDED, message=message)

    def _wait(self, step: Step) -> float:
        if isinstance(step, Apply) and step.version is None:
            return 0.0
        return self._repairs.wait_seconds(_repair(step), self._clock())


def _writes(steps: Plan) -> tuple[Step, ...]:
    return (*steps.counts, *steps.applies)


def _repair(step: Step) -> Repair:
    """Numbers of replicas are counted apart from templates."""
    key = step.key if isinstance(step, Apply) else step.key._replace(kind="replicas")
    return Repair(key=key, digest=step.digest, why=step.why)
