"""asyncio: one pass over one object: read the store, decide, plan, report, act. The same for every kind."""

import datetime
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gameai_operator.engine import conditions, deployments, report
from gameai_operator.engine.errors import ApiError
from gameai_operator.engine.events import Recorder, event
from gameai_operator.engine.intake import Intake
from gameai_operator.engine.kind import Decision, Kind, Refusal, Sight, Turn, Watched
from gameai_operator.engine.manifest import (
    PAUSED,
    Key,
    Manifest,
    Owner,
    key_of,
    owned_by,
)
from gameai_operator.engine.plan import Child, Plan, plan
from gameai_operator.engine.pods import Pod
from gameai_operator.engine.references import References
from gameai_operator.engine.store import Store
from gameai_operator.engine.turns import Turns
from gameai_operator.engine.writer import Cluster, Writer

_LOG = logging.getLogger(__name__)
# A refusal may end without any event that we see (a foreign object goes), so it is tried again after this long.
REFUSED_SECONDS = 30.0
# Events end these waits; the time is for the event that never comes.
WAIT_SECONDS = 5.0
STALE_SECONDS = 0.5
# Pods come and go in bursts; between two reports of mere counts lies at least this long.
COUNTS_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a pass ended: nothing more to do, or look again after so many seconds.

    `stale` means that the root was not what the store said, so that nothing else was done.
    """

    again_seconds: float | None = None
    stale: bool = False

    def and_then(self, other: "Outcome") -> "Outcome":
        """Both, one after the other: the earlier wish counts."""
        wishes = [each.again_seconds for each in (self, other) if each.again_seconds is not None]
        return Outcome(again_seconds=min(wishes, default=None), stale=self.stale or other.stale)


class Reconciler:
    """Reconciles one key at a time; several may run at once for different keys."""

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        watched: Mapping[str, Watched],
        *,
        store: Store,
        references: References,
        turns: Turns,
        intake: Intake,
        cluster: Cluster,
        recorder: Recorder,
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
        self._writer = Writer(watched, store=store, intake=intake, cluster=cluster)
        self._recorder = recorder
        self._now = now
        self._clock = clock
        self._refused: dict[Key, tuple[Refusal, ...]] = {}
        self._reported: dict[Key, float] = {}
        self._hastened: dict[str, Key] = {}

    def begin_term(self) -> None:
        """Forget what an earlier leadership knew of refusals and turns: others have written since."""
        self._refused.clear()
        self._turns.begin(
            key
            for name, kind in self._kinds.items()
            for key in self._store.keys(name)
            if (entry := self._store.get(key)) and kind.rolls(json.loads(entry.value))
        )

    async def reconcile(self, key: Key) -> Outcome:
        """Bring the children and the status of one root to what its spec says. Raises `ApiError`."""
        below = [entry.value for entry in self._store.below(key)]
        pods = tuple(value for value in below if isinstance(value, Pod))
        entry = self._store.get(key)
        root = None if entry is None else json.loads(entry.value)
        if root is None or "deletionTimestamp" in root["metadata"]:
            self._refused.pop(key, None)
            self._reported.pop(key, None)
            self._leave_turn(key)
            await self._hasten(key, pods)
            return Outcome()
        kind = self._kinds[key.kind]
        if root["metadata"].get("annotations", {}).get(PAUSED) == "true":
            self._leave_turn(key)
            status = report.paused(kind, root, self._now())
            return await self._report(kind, root, status, at_once=True)
        children = {value.key: value for value in below if isinstance(value, Child)}
        sight = Sight(
            root=root,
            children=children,
            pods=pods,
            refusals=self._refused.get(key, ()),
            references=self._references.seen_by(key),
            now=self._now(),
            turn=self._turns.free(key),
            holds_turn=self._turns.holds(key),
        )
        outcome = await self._pursue(kind, key, sight)
        await self._hasten(key, pods)
        return outcome

    async def _pursue(self, kind: Kind, key: Key, sight: Sight) -> Outcome:
        """Status first, so that a reader never sees an old verdict on a new spec; then the writes.

        Only where status tells of a refusal that this process has not met itself do the writes go first: else each
        restart would take the word back and give it again.
        """
        decision = kind.decide(sight)
        self._claim_turn(key, decision.turn)
        untried = key not in self._refused and report.tells_of_refusal(sight.root)
        reported = Outcome(again_seconds=decision.again_seconds).and_then(_watchful(sight))
        if decision.wanted is None or not untried:
            status = report.status_of(sight.root, decision, self._now())
            reported = reported.and_then(await self._report(kind, sight.root, status))
            if reported.stale:
                return reported
        if decision.turn is Turn.NONE:
            # Once status says so: else the next one is seen under way while this one still seems to be.
            self._leave_turn(key)
        steps = _steps(sight, decision)
        for child in steps.intact:
            self._store.keep_judgement(child)
        refusals = await self._writer.act(_owner(sight.root), steps)
        if decision.wanted is not None and (untried or refusals != sight.refusals):
            return reported.and_then(await self._refuse(kind, key, sight, refusals))
        if refusals:
            return Outcome(again_seconds=REFUSED_SECONDS).and_then(reported)
        return Outcome(again_seconds=WAIT_SECONDS if steps.waits else None).and_then(reported)

    def _claim_turn(self, key: Key, turn: Turn) -> None:
        if turn is Turn.HOLDS:
            self._turns.take(key)
        elif turn is Turn.WAITS:
            self._turns.wait(key)

    def _leave_turn(self, key: Key) -> None:
        self._intake.wake(self._turns.leave(key))

    async def _refuse(
        self, kind: Kind, key: Key, sight: Sight, refusals: tuple[Refusal, ...]
    ) -> Outcome:
        """What is refused has changed: decide once more, with that in sight, and say so."""
        if refusals:
            self._refused[key] = refusals
        else:
            self._refused.pop(key, None)
        entry = self._store.get(key)
        root = sight.root if entry is None else json.loads(entry.value)
        decision = kind.decide(replace(sight, root=root, refusals=refusals))
        reported = await self._report(kind, root, report.status_of(root, decision, self._now()))
        return reported.and_then(Outcome(again_seconds=REFUSED_SECONDS if refusals else None))

    async def _report(
        self, kind: Kind, root: Mapping[str, Any], status: Manifest, *, at_once: bool = False
    ) -> Outcome:
        """Write what is ours of status, where it differs; mere counts at intervals, unless `at_once`."""
        before = report.ours(kind, root)
        if status == before:
            return Outcome()
        metadata = root["metadata"]
        key = key_of(root)
        wait = self._reported.get(key, -COUNTS_SECONDS) + COUNTS_SECONDS - self._clock()
        if wait > 0 and not at_once and report.same_state(kind, before, status):
            return Outcome(again_seconds=wait)
        manifest = {
            "apiVersion": kind.resource.api_version,
            "kind": kind.resource.kind,
            # Without the resourceVersion this could land on a recreated object of the same name.
            "metadata": {
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "status": status,
        }
        try:
            written = await self._cluster.apply_status(kind.resource, manifest)
        except ApiError as error:
            if error.status in (404, 409):
                return await self._look_again(kind, root)
            raise
        self._reported[key] = self._clock()
        self._intake.wrote(kind.resource, written)
        for change in conditions.transitions(before["conditions"], status["conditions"]):
            document = event(root, change, self._now())
            if document is not None:
                self._recorder.offer(document)
        return Outcome()

    async def _look_again(self, kind: Kind, root: Mapping[str, Any]) -> Outcome:
        """The root is not what the store says: a watch event is on its way, or was lost."""
        key = key_of(root)
        live = await self._cluster.get(kind.resource, key.namespace, key.name)
        if live is None:
            self._intake.bury(kind.resource, key, int(root["metadata"]["resourceVersion"]))
            return Outcome(stale=True)
        self._intake.see(kind.resource, live)
        return Outcome(again_seconds=STALE_SECONDS, stale=True)

    async def _hasten(self, key: Key, pods: tuple[Pod, ...]) -> None:
        """End pods whose loading process swallows SIGTERM, once each."""
        resource = self._watched["Pod"].resource
        for pod in pods:
            if not pod.hasten or pod.uid in self._hastened:
                continue
            _LOG.info("pod %s never was ready and would hold its node: deleting at once", pod.name)
            await self._cluster.delete(
                resource,
                Key("Pod", pod.namespace, pod.name),
                preconditions={"uid": pod.uid},
                grace_seconds=1,
            )
            self._hastened[pod.uid] = key
        self._forget_hastened(key, {pod.uid for pod in pods})

    def _forget_hastened(self, key: Key, alive: set[str]) -> None:
        gone = [uid for uid, root in self._hastened.items() if root == key and uid not in alive]
        for uid in gone:
            del self._hastened[uid]


def _owner(root: Mapping[str, Any]) -> Owner:
    metadata = root["metadata"]
    return Owner(kind=root["kind"], name=metadata["name"], uid=metadata["uid"])


def _steps(sight: Sight, decision: Decision) -> Plan:
    if decision.wanted is None:
        return Plan()
    owner = _owner(sight.root)
    wanted = [owned_by(owner, _nudged(sight, each)) for each in decision.wanted]
    return plan(owner, wanted, sight.children, decision.keep)


def _nudged(sight: Sight, manifest: Manifest) -> Manifest:
    """A Deployment that its controller has lost sight of is nudged; everything else is applied as it is."""
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    live = sight.facts(kind, name) if kind == "Deployment" else None
    if live is None:
        return manifest
    made = deployments.nudged(manifest, live, sight.now)
    if made["spec"]["replicas"] not in (manifest["spec"]["replicas"], live.wanted):
        _LOG.info("Deployment %s does not go on: nudging it with one replica more", name)
    return made


def _watchful(sight: Sight) -> Outcome:
    """A Deployment that does not go on tells nobody: look again once it counts as one."""
    live = [
        sight.facts(each.kind, each.name) for each in sight.children if each.kind == "Deployment"
    ]
    waits = [deployments.stuck_in(each, sight.now) for each in live if each is not None]
    return Outcome(again_seconds=min((each for each in waits if each), default=None))
