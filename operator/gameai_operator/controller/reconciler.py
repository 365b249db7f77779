"""asyncio: one pass over one object: read the store, decide, plan, report, act. The same for every kind."""

import datetime
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from gameai_operator.controller import scale, status_report
from gameai_operator.controller.cache import Cache
from gameai_operator.controller.contention import Contention
from gameai_operator.controller.errors import ApiError
from gameai_operator.controller.event_handler import EventHandler
from gameai_operator.controller.events import Recorder
from gameai_operator.controller.kind import (
    Decision,
    Kind,
    Observed,
    SlotUse,
    Watched,
)
from gameai_operator.controller.manifest import PAUSED, Key, Manifest, Owner, key_of, owned_by
from gameai_operator.controller.outcome import Outcome
from gameai_operator.controller.overrides import RETRY_SECONDS, Overrides
from gameai_operator.controller.plan import Child, Number, Plan, Scalable, plan
from gameai_operator.controller.pod_deletion import PodDeletion
from gameai_operator.controller.pod_facts import Pod
from gameai_operator.controller.references import References
from gameai_operator.controller.repairs import Repairs
from gameai_operator.controller.rollout_slots import RolloutSlots
from gameai_operator.controller.status_writer import StatusWriter
from gameai_operator.controller.stillness import Stillness
from gameai_operator.controller.unwritten import FAILURES_REPORTED, NOTHING_UNWRITTEN, Unwritten
from gameai_operator.controller.writer import Cluster, Writer, Written

_LOG = logging.getLogger(__name__)
# A refusal may end without any event that we see (a foreign object goes), so it is tried again after this long.
REFUSED_SECONDS = 30.0
# Events end these waits; the time is for the event that never comes.
WAIT_SECONDS = 5.0
# How soon an object that another operator manages is looked at again.
FOREIGN_SECONDS = 10.0


class Claims(Protocol):
    """Which operator manages an object: each writes its own name into the object's status."""

    own: str

    async def alive(self, claim: str, namespace: str) -> bool:
        """Whether the operator of this name still runs and watches this namespace. Raises `ApiError`."""


class Reconciler:
    """Reconciles one key at a time; several may run at once for different keys."""

    def __init__(  # noqa: PLR0913 - its parts, each named where it is made
        self,
        kinds: Mapping[str, Kind],
        watched: Mapping[str, Watched],
        *,
        store: Cache,
        references: References,
        slots: Mapping[str, RolloutSlots],
        event_handler: EventHandler,
        cluster: Cluster,
        claims: Claims,
        recorder: Recorder,
        repairs: Callable[[], Repairs],
        served: Callable[[str], bool],
        now: Callable[[], datetime.datetime],
        clock: Callable[[], float],
    ) -> None:
        self._kinds = kinds
        self._watched = watched
        self._store = store
        self._references = references
        self._slots = slots
        self._event_handler = event_handler
        self._cluster = cluster
        self._claims = claims
        self._writer = Writer(watched, store=store, event_handler=event_handler, cluster=cluster)
        self._contention = Contention(self._writer, repairs, clock)
        self._stillness = Stillness()
        self._reporter = StatusWriter(
            event_handler=event_handler, cluster=cluster, recorder=recorder, now=now, clock=clock
        )
        self._served = served
        self._now = now
        self._clock = clock
        self._unwritten: dict[Key, Unwritten] = {}
        self._pod_deletion = PodDeletion(watched, cluster, references, store, recorder, now, clock)
        self._overrides = Overrides()
        self.foreign: dict[Key, str] = {}

    def begin_term(self) -> None:
        """Forget what an earlier leadership knew of rejections and slots: others have written since."""
        self._unwritten.clear()
        self._contention.clear()
        self._overrides.clear()
        self.foreign.clear()
        for name, slots in self._slots.items():
            slots.begin(self._rolling(self._kinds[name]))

    def _rolling(self, kind: Kind) -> list[Key]:
        roots = {
            key: root
            for key in self._store.keys(kind.resource.kind)
            if (root := self._store.root(key)) is not None
        }
        own = ("", self._claims.own)
        return [
            key
            for key, root in roots.items()
            if root.get("status", {}).get(status_report.CLAIM, "") in own and kind.rolls(root)
        ]

    async def reconcile(self, key: Key) -> Outcome:
        """Bring the children and the status of one root to what its spec says. Raises `ApiError`."""
        below = [entry.value for entry in self._store.below(key)]
        pods = tuple(value for value in below if isinstance(value, Pod))
        root = self._store.root(key)
        if root is None or "deletionTimestamp" in root["metadata"]:
            self._forget(key)
            if failure := await self._pod_deletion.delete(key, pods):
                raise failure
            return Outcome()
        if await self._is_foreign(key, root):
            self._leave_slot(key)
            return Outcome(requeue_after_seconds=FOREIGN_SECONDS)
        kind = self._kinds[key.kind]
        children = {value.key: value for value in below if isinstance(value, Child)}
        if root["metadata"].get("annotations", {}).get(PAUSED) == "true":
            self._leave_slot(key)
            return await self._pause(kind, key, self._observe(key, root, children, pods))
        try:
            outcome = await self._pursue(kind, key, self._observe(key, root, children, pods))
        except ApiError:
            # A node that ends does not wait for writes that fail. Before them nothing may be awaited: what they rest on
            # would be old.
            await self._pod_deletion.delete(key, pods)
            raise
        if failure := await self._pod_deletion.delete(key, pods):
            raise failure
        return outcome

    async def _pause(self, kind: Kind, key: Key, observed: Observed) -> Outcome:
        """Say that nothing is done, and do only what a pause must not hold up."""
        status = status_report.paused(kind, observed.root, self._now())
        reported = await self._reporter.report(kind, observed.root, status, at_once=True)
        if reported.stale or not kind.despite_pause:
            return reported
        decision = kind.decide(observed)
        due = tuple(each for each in decision.wanted if each["kind"] in kind.despite_pause)
        kept = tuple(observed.children)
        rest = replace(decision, wanted=due, keep=kept, replicas={}, creations=())
        steps, _ = self._steps(key, observed, rest)
        for child in steps.intact:
            self._store.keep_judgement(child)
        written = await self._act(key, observed, steps, None)
        return reported.and_then(self._wait(key, steps, written))

    def _observe(
        self,
        key: Key,
        root: Mapping[str, Any],
        children: Mapping[Key, Child],
        pods: tuple[Pod, ...],
    ) -> Observed:
        unwritten, slots = self._unwritten.get(key, NOTHING_UNWRITTEN), self._slots[key.kind]
        return Observed(
            root=root,
            children=children,
            pods=pods,
            rejections=unwritten.rejections,
            failures=unwritten.reported,
            references=self._references.seen_by(key),
            neighbours=partial(self._neighbours, key.namespace),
            now=self._now(),
            turn=slots.free(key),
            holds_slot=slots.holds(key),
            halted=slots.halted,
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
        self._leave_slot(key)

    async def _is_foreign(self, key: Key, root: Mapping[str, Any]) -> bool:
        """Whether another operator that still runs manages this object: the two would overwrite each other."""
        claim = root.get("status", {}).get(status_report.CLAIM, "")
        if claim in ("", self._claims.own) or not await self._claims.alive(claim, key.namespace):
            self.foreign.pop(key, None)
            return False
        if key not in self.foreign:
            _LOG.warning("%s is managed by another operator (Lease %s): ignoring it", key, claim)
        self.foreign[key] = claim
        return True

    async def _pursue(self, kind: Kind, key: Key, observed: Observed) -> Outcome:
        """Status first, so that a reader never sees an old verdict on a new spec; then the writes.

        Only where status reports something unwritten that this process has not met itself do the writes go first: else
        each restart would take the report back and give it again.
        """
        decision = kind.decide(observed)
        self._claim_slot(key, decision)
        untried = key not in self._unwritten and status_report.reports_unwritten(observed.root)
        steps, reported = self._steps(key, observed, decision)
        if not untried:
            status = self._status(observed.root, decision)
            reported = reported.and_then(await self._reporter.report(kind, observed.root, status))
            if reported.stale:
                return reported
        # Once status says so: else the next one is seen under way while this one still seems to be.
        if decision.turn is SlotUse.NONE:
            self._event_handler.wake(self._slots[key.kind].through(key))
        elif decision.turn is SlotUse.FAILED:
            self._leave_slot(key, failed=True)
        for child in steps.intact:
            self._store.keep_judgement(child)
        missing = decision.own_replicas
        fill = None if missing is None else partial(self._fill_in, kind, observed.root, missing)
        written = await self._act(key, observed, steps, fill)
        if untried and written.failures:
            # Reported before already: a restart does not take it back.
            self._unwritten[key] = replace(self._unwritten[key], tries=FAILURES_REPORTED)
        unwritten = self._unwritten.get(key, NOTHING_UNWRITTEN)
        if untried or (unwritten.rejections, unwritten.reported) != (
            observed.rejections,
            observed.failures,
        ):
            reported = reported.and_then(await self._redecide(kind, key, observed))
        return reported.and_then(self._wait(key, steps, written))

    async def _act(
        self,
        key: Key,
        observed: Observed,
        steps: Plan,
        fill: Callable[[], Coroutine[Any, Any, None]] | None,
    ) -> Written:
        """Write what is due; a child that a rival keeps changing is left for a while, and the rival named."""
        due, held = self._contention.divide(key, steps)
        written = await self._writer.act(_owner(observed.root), due, key, fill)
        self._contention.note(key, written.steps)
        contended = await self._contention.rejections(key, held)
        written = replace(written, rejections=(*written.rejections, *contended))
        before = self._unwritten.get(key, NOTHING_UNWRITTEN)
        if written.rejections or written.failures:
            self._unwritten[key] = Unwritten(
                rejections=written.rejections,
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
                kind.resource, manifest, force=False, manager=scale.FIELD_MANAGER
            )
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            await self._reporter.look_again(kind, root)
        else:
            self._event_handler.on_upsert(kind.resource, written)

    def _version(self, root: Mapping[str, Any]) -> str:
        """The newest version known of a root: our own status write made one since it was read."""
        entry = self._store.get(key_of(root))
        version: str = root["metadata"]["resourceVersion"]
        return version if entry is None or entry.version < 0 else str(entry.version)

    def _wait(self, key: Key, steps: Plan, written: Written) -> Outcome:
        """When to reconcile again for changes that no event reports."""
        waits = [WAIT_SECONDS] if steps.waits else []
        waits += [REFUSED_SECONDS] if written.rejections else []
        wait = self._contention.wait_seconds(key, steps)
        waits += [] if wait is None else [wait]
        if written.failures:
            return Outcome(failed=True, retry_after_seconds=written.retry_after_seconds)
        return Outcome(requeue_after_seconds=min(waits, default=None))

    def _status(self, root: Mapping[str, Any], decision: Decision) -> Manifest:
        return status_report.status_of(root, decision, self._now(), claim=self._claims.own)

    def _claim_slot(self, key: Key, decision: Decision) -> None:
        slots = self._slots[key.kind]
        if decision.turn is SlotUse.HOLDS:
            slots.take(key, healthy=decision.healthy)
        elif decision.turn is SlotUse.WAITS:
            slots.wait(key)

    def _leave_slot(self, key: Key, *, failed: bool = False) -> None:
        slots = self._slots[key.kind]
        self._event_handler.wake(slots.fail(key) if failed else slots.give_back(key))

    async def _redecide(self, kind: Kind, key: Key, observed: Observed) -> Outcome:
        """What is unwritten has changed: decide once more, with that in view, and report it."""
        unwritten = self._unwritten.get(key, NOTHING_UNWRITTEN)
        root = self._store.root(key) or observed.root
        changed = replace(
            observed, root=root, rejections=unwritten.rejections, failures=unwritten.reported
        )
        return await self._reporter.report(kind, root, self._status(root, kind.decide(changed)))

    def _stuck(self, key: Key, facts: Any, still_seconds: float) -> float | None:
        stuck = self._watched[key.kind].stuck
        return None if stuck is None else stuck(facts, still_seconds)

    def _steps(self, key: Key, observed: Observed, decision: Decision) -> tuple[Plan, Outcome]:
        """The writes of a decision, and when time alone changes them.

        A child whose own controller makes no progress gets one replica more, until that was observed.
        """
        owner = _owner(observed.root)
        live: dict[Key, Scalable] = {
            each: facts
            for each in decision.replicas
            if (facts := observed.facts(each.kind, each.name)) is not None
        }
        still = self._stillness.note(
            key, ((each, observed.children[each].version) for each in live), self._clock()
        )
        waits = {each: self._stuck(each, facts, still[each]) for each, facts in live.items()}
        numbers = {
            each: Number(
                wanted=wanted,
                nudged=each in live and _nudged(each, live[each], waits[each]),
                api_version=self._watched[each.kind].resource.api_version,
            )
            for each, wanted in decision.replicas.items()
        }
        overridden = [each for each, facts in live.items() if facts.overridden]
        again = self._overrides.due(key, overridden, self._clock())
        # Kinds of other projects may not be installed, or not answer for a moment: their objects stay then.
        unserved = [key_of(each) for each in decision.wanted if not self._served(each["kind"])]
        wanted = [owned_by(owner, each) for each in decision.wanted if self._served(each["kind"])]
        steps = plan(
            owner,
            wanted,
            observed.children,
            (*decision.keep, *unserved),
            numbers=numbers,
            again=again,
            creations=decision.creations,
        )
        wishes = [each for each in (*waits.values(), decision.requeue_after_seconds) if each]
        wishes += [RETRY_SECONDS] if overridden else []
        return steps, Outcome(requeue_after_seconds=min(wishes, default=None))


def _owner(root: Mapping[str, Any]) -> Owner:
    metadata = root["metadata"]
    return Owner(kind=root["kind"], name=metadata["name"], uid=metadata["uid"])


def _nudged(key: Key, live: Scalable, stuck_in: float | None) -> bool:
    """Whether a child gets one replica more: its controller makes no progress, or has not observed the one more yet."""
    if live.nudged:
        return not live.observed
    if stuck_in != 0.0:
        return False
    _LOG.info("%s %s makes no progress: adding one replica until it does", key.kind, key.name)
    return True
