"""asyncio: one pass over one object: read the store, decide, plan, report, act. The same for every kind."""

import datetime
import json
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from gameai_operator.engine import deployments, replicas, report
from gameai_operator.engine.contention import Contention
from gameai_operator.engine.errors import ApiError
from gameai_operator.engine.events import Recorder
from gameai_operator.engine.haste import Haste
from gameai_operator.engine.intake import Intake
from gameai_operator.engine.kind import Decision, Kind, Refusal, Sight, Turn, Watched
from gameai_operator.engine.manifest import PAUSED, Key, Manifest, Owner, key_of, owned_by
from gameai_operator.engine.outcome import Outcome
from gameai_operator.engine.overrides import RETRY_SECONDS, Overrides
from gameai_operator.engine.plan import Child, Plan, plan
from gameai_operator.engine.pods import Pod
from gameai_operator.engine.references import References
from gameai_operator.engine.repairs import Repairs
from gameai_operator.engine.reporter import Reporter
from gameai_operator.engine.stillness import Stillness
from gameai_operator.engine.store import Store
from gameai_operator.engine.turns import Turns
from gameai_operator.engine.writer import Cluster, Writer, Written

_LOG = logging.getLogger(__name__)
# A refusal may end without any event that we see (a foreign object goes), so it is tried again after this long.
REFUSED_SECONDS = 30.0
# Events end these waits; the time is for the event that never comes.
WAIT_SECONDS = 5.0
# A write that failed this often in a row is reported; a single failure is usually over at the next try.
FAILURES_REPORTED = 3
# How soon an object that another operator manages is looked at again.
FOREIGN_SECONDS = 10.0


class Claims(Protocol):
    """Which operator manages an object: each writes its own name into the object's status."""

    own: str

    async def alive(self, claim: str, namespace: str) -> bool:
        """Whether the operator of this name still runs and watches this namespace. Raises `ApiError`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Unwritten:
    """What of a root's children could not be written at the last pass, and how often that was so in a row."""

    refusals: tuple[Refusal, ...] = ()
    failures: tuple[Refusal, ...] = ()
    tries: int = 0

    @property
    def reported(self) -> tuple[Refusal, ...]:
        """Failures that have lasted."""
        return self.failures if self.tries >= FAILURES_REPORTED else ()


_NOTHING_UNWRITTEN = _Unwritten()


class Reconciler:
    """Reconciles one key at a time; several may run at once for different keys."""

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        watched: Mapping[str, Watched],
        *,
        store: Store,
        references: References,
        turns: Mapping[str, Turns],
        intake: Intake,
        cluster: Cluster,
        claims: Claims,
        recorder: Recorder,
        repairs: Callable[[], Repairs],
        now: Callable[[], datetime.datetime],
        clock: Callable[[], float],
    ) -> None:
        self._kinds = kinds
        self._watched = watched
        self._store = store
        self._references = references
        self._turns = turns
        self._intake = intake
        self._cluster = cluster
        self._claims = claims
        self._writer = Writer(watched, store=store, intake=intake, cluster=cluster)
        self._contention = Contention(self._writer, repairs, clock)
        self._stillness = Stillness()
        self._reporter = Reporter(
            intake=intake, cluster=cluster, recorder=recorder, now=now, clock=clock
        )
        self._now = now
        self._clock = clock
        self._unwritten: dict[Key, _Unwritten] = {}
        self._haste = Haste(watched, cluster)
        self._overrides = Overrides()
        self.foreign: dict[Key, str] = {}

    def begin_term(self) -> None:
        """Forget what an earlier leadership knew of refusals and turns: others have written since."""
        self._unwritten.clear()
        self._contention.clear()
        self._overrides.clear()
        self.foreign.clear()
        for name, turns in self._turns.items():
            turns.begin(self._rolling(self._kinds[name]))

    def _rolling(self, kind: Kind) -> list[Key]:
        roots = {
            key: json.loads(entry.value)
            for key in self._store.keys(kind.resource.kind)
            if (entry := self._store.get(key))
        }
        own = ("", self._claims.own)
        return [
            key
            for key, root in roots.items()
            if root.get("status", {}).get(report.CLAIM, "") in own and kind.rolls(root)
        ]

    async def reconcile(self, key: Key) -> Outcome:
        """Bring the children and the status of one root to what its spec says. Raises `ApiError`."""
        below = [entry.value for entry in self._store.below(key)]
        pods = tuple(value for value in below if isinstance(value, Pod))
        entry = self._store.get(key)
        root = None if entry is None else json.loads(entry.value)
        if root is None or "deletionTimestamp" in root["metadata"]:
            self._forget(key)
            await self._haste.end(key, pods)
            return Outcome()
        if await self._is_foreign(key, root):
            self._leave_turn(key)
            return Outcome(again_seconds=FOREIGN_SECONDS)
        kind = self._kinds[key.kind]
        children = {value.key: value for value in below if isinstance(value, Child)}
        if root["metadata"].get("annotations", {}).get(PAUSED) == "true":
            self._leave_turn(key)
            return await self._pause(kind, key, self._sight(key, root, children, pods))
        outcome = await self._pursue(kind, key, self._sight(key, root, children, pods))
        await self._haste.end(key, pods)
        return outcome

    async def _pause(self, kind: Kind, key: Key, sight: Sight) -> Outcome:
        """Say that nothing is done, and do only what a pause must not hold up."""
        status = report.paused(kind, sight.root, self._now())
        reported = await self._reporter.report(kind, sight.root, status, at_once=True)
        if reported.stale or not kind.despite_pause:
            return reported
        decision = kind.decide(sight)
        due = tuple(each for each in decision.wanted if each["kind"] in kind.despite_pause)
        rest = replace(decision, wanted=due, keep=tuple(sight.children), replicas={})
        steps, _ = self._steps(key, sight, rest)
        for child in steps.intact:
            self._store.keep_judgement(child)
        written = await self._act(key, sight, steps, None)
        return reported.and_then(self._wait(key, steps, written))

    def _sight(
        self,
        key: Key,
        root: Mapping[str, Any],
        children: Mapping[Key, Child],
        pods: tuple[Pod, ...],
    ) -> Sight:
        unwritten = self._unwritten.get(key, _NOTHING_UNWRITTEN)
        turns = self._turns[key.kind]
        return Sight(
            root=root,
            children=children,
            pods=pods,
            refusals=unwritten.refusals,
            failures=unwritten.reported,
            references=self._references.seen_by(key),
            neighbours=partial(self._neighbours, key.namespace),
            now=self._now(),
            turn=turns.free(key),
            holds_turn=turns.holds(key),
            halted=turns.halted,
        )

    def _neighbours(self, namespace: str) -> tuple[Key, ...]:
        """Roots of a namespace that others may refer to."""
        return tuple(
            each
            for name, kind in self._kinds.items()
            if kind.referred_to
            for each in sorted(self._store.keys(name))
            if each.namespace == namespace
        )

    def _forget(self, key: Key) -> None:
        self._unwritten.pop(key, None)
        self._reporter.forget(key)
        self.foreign.pop(key, None)
        self._stillness.forget(key)
        self._overrides.forget(key)
        self._contention.forget(key)
        self._leave_turn(key)

    async def _is_foreign(self, key: Key, root: Mapping[str, Any]) -> bool:
        """Whether another operator that still runs manages this object: the two would overwrite each other."""
        claim = root.get("status", {}).get(report.CLAIM, "")
        if claim in ("", self._claims.own) or not await self._claims.alive(claim, key.namespace):
            self.foreign.pop(key, None)
            return False
        if key not in self.foreign:
            _LOG.warning(
                "%s is managed by another operator (Lease %s): leaving it alone", key, claim
            )
        self.foreign[key] = claim
        return True

    async def _pursue(self, kind: Kind, key: Key, sight: Sight) -> Outcome:
        """Status first, so that a reader never sees an old verdict on a new spec; then the writes.

        Only where status reports something unwritten that this process has not met itself do the writes go first: else
        each restart would take the report back and give it again.
        """
        decision = kind.decide(sight)
        self._claim_turn(key, decision)
        untried = key not in self._unwritten and report.reports_unwritten(sight.root)
        steps, reported = self._steps(key, sight, decision)
        if not untried:
            status = self._status(sight.root, decision)
            reported = reported.and_then(await self._reporter.report(kind, sight.root, status))
            if reported.stale:
                return reported
        # Once status says so: else the next one is seen under way while this one still seems to be.
        if decision.turn is Turn.NONE:
            self._intake.wake(self._turns[key.kind].through(key))
        elif decision.turn is Turn.FAILED:
            self._leave_turn(key, failed=True)
        for child in steps.intact:
            self._store.keep_judgement(child)
        missing = decision.own_replicas
        fill = None if missing is None else partial(self._fill_in, kind, sight.root, missing)
        written = await self._act(key, sight, steps, fill)
        if untried and written.failures:
            # Reported before already: a restart does not take it back.
            self._unwritten[key] = replace(self._unwritten[key], tries=FAILURES_REPORTED)
        unwritten = self._unwritten.get(key, _NOTHING_UNWRITTEN)
        if untried or (unwritten.refusals, unwritten.reported) != (sight.refusals, sight.failures):
            reported = reported.and_then(await self._redecide(kind, key, sight))
        return reported.and_then(self._wait(key, steps, written))

    async def _act(
        self,
        key: Key,
        sight: Sight,
        steps: Plan,
        fill: Callable[[], Coroutine[Any, Any, None]] | None,
    ) -> Written:
        """Write what is due; a child that a rival keeps changing is left for a while, and the rival named."""
        due, held = self._contention.divide(key, steps)
        written = await self._writer.act(_owner(sight.root), due, key, fill)
        self._contention.note(key, written.steps)
        contended = await self._contention.refusals(key, held)
        written = replace(written, refusals=(*written.refusals, *contended))
        before = self._unwritten.get(key, _NOTHING_UNWRITTEN)
        if written.refusals or written.failures:
            self._unwritten[key] = _Unwritten(
                refusals=written.refusals,
                failures=written.failures,
                tries=before.tries + 1 if written.failures else 0,
            )
        else:
            self._unwritten.pop(key, None)
        return written

    async def _fill_in(self, kind: Kind, root: Mapping[str, Any], number: int) -> None:
        """Write `spec.replicas` where it is absent, since the scale subresource cannot do without. Raises `ApiError`.

        Onto this version only: somebody may just have written another number, or deleted the object.
        """
        metadata = root["metadata"]
        manifest = {
            "apiVersion": kind.resource.api_version,
            "kind": kind.resource.kind,
            "metadata": {
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "resourceVersion": self._version(root),
            },
            "spec": {"replicas": number},
        }
        try:
            written = await self._cluster.apply(
                kind.resource, manifest, force=False, manager=replicas.FIELD_MANAGER
            )
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            await self._reporter.look_again(kind, root)
        else:
            self._intake.see(kind.resource, written)

    def _version(self, root: Mapping[str, Any]) -> str:
        """The newest version known of a root: our own status write made one since it was read."""
        entry = self._store.get(key_of(root))
        version: str = root["metadata"]["resourceVersion"]
        return version if entry is None or entry.version < 0 else str(entry.version)

    def _wait(self, key: Key, steps: Plan, written: Written) -> Outcome:
        """When to look again for what no event will tell."""
        waits = [WAIT_SECONDS] if steps.waits else []
        waits += [REFUSED_SECONDS] if written.refusals else []
        wait = self._contention.wait_seconds(key, steps)
        waits += [] if wait is None else [wait]
        if written.failures:
            return Outcome(failed=True, retry_after_seconds=written.retry_after_seconds)
        return Outcome(again_seconds=min(waits, default=None))

    def _status(self, root: Mapping[str, Any], decision: Decision) -> Manifest:
        return report.status_of(root, decision, self._now(), claim=self._claims.own)

    def _claim_turn(self, key: Key, decision: Decision) -> None:
        turns = self._turns[key.kind]
        if decision.turn is Turn.HOLDS:
            turns.take(key, healthy=decision.healthy)
        elif decision.turn is Turn.WAITS:
            turns.wait(key)

    def _leave_turn(self, key: Key, *, failed: bool = False) -> None:
        turns = self._turns[key.kind]
        self._intake.wake(turns.fail(key) if failed else turns.give_back(key))

    async def _redecide(self, kind: Kind, key: Key, sight: Sight) -> Outcome:
        """What is unwritten has changed: decide once more, with that in sight, and report it."""
        unwritten = self._unwritten.get(key, _NOTHING_UNWRITTEN)
        entry = self._store.get(key)
        root = sight.root if entry is None else json.loads(entry.value)
        changed = replace(
            sight, root=root, refusals=unwritten.refusals, failures=unwritten.reported
        )
        return await self._reporter.report(kind, root, self._status(root, kind.decide(changed)))

    def _steps(self, key: Key, sight: Sight, decision: Decision) -> tuple[Plan, Outcome]:
        """The writes of a decision, and when time alone changes them.

        A Deployment whose controller has lost sight of its roll-out gets one replica more, until that was seen.
        """
        owner = _owner(sight.root)
        live = {
            each: facts
            for each in decision.replicas
            if (facts := sight.facts(each.kind, each.name)) is not None
        }
        still = self._stillness.note(
            key, ((each, sight.children[each].version) for each in live), self._clock()
        )
        waits = {each: deployments.stuck(facts, still[each]) for each, facts in live.items()}
        nudges = [each for each, facts in live.items() if _nudged(each, facts, waits[each])]
        overridden = [each for each, facts in live.items() if facts.overridden]
        again = self._overrides.due(key, overridden, self._clock())
        wanted = [owned_by(owner, each) for each in decision.wanted]
        steps = plan(
            owner,
            wanted,
            sight.children,
            decision.keep,
            numbers=decision.replicas,
            nudges=nudges,
            again=again,
        )
        wishes = [each for each in (*waits.values(), decision.again_seconds) if each]
        wishes += [RETRY_SECONDS] if overridden else []
        return steps, Outcome(again_seconds=min(wishes, default=None))


def _owner(root: Mapping[str, Any]) -> Owner:
    metadata = root["metadata"]
    return Owner(kind=root["kind"], name=metadata["name"], uid=metadata["uid"])


def _nudged(key: Key, live: deployments.Deployment, stuck_in: float | None) -> bool:
    """Whether a Deployment gets one replica more: its controller lost sight of it, or has not seen the nudge yet."""
    if live.nudged:
        return not live.observed
    if stuck_in != 0.0:
        return False
    _LOG.info("Deployment %s makes no progress: nudging it with one replica more", key.name)
    return True
