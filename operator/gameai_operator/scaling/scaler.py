"""asyncio: decides for every tier with `spec.scaling`, and carries decisions out."""

import asyncio
import datetime
import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from pydantic import ValidationError

from gameai_operator import telemetry
from gameai_operator.api.scaling import Freeze, Mode, Scaling
from gameai_operator.api.tier import ModelTier
from gameai_operator.controller import conditions as folding
from gameai_operator.controller.cache import Cache
from gameai_operator.controller.conditions import Condition
from gameai_operator.controller.errors import ApiError, NotLeadingError
from gameai_operator.controller.events import SCALED, Recorder, event
from gameai_operator.controller.kind import Absence
from gameai_operator.controller.manifest import Key, Manifest, Resource, timestamp
from gameai_operator.controller.plan import Child
from gameai_operator.resources import scaled_object
from gameai_operator.scaling import keda_state, report
from gameai_operator.scaling.behavior import Limit, Memory, Stamped, changed
from gameai_operator.scaling.decide import Fleet, decide, questions_per_replica
from gameai_operator.scaling.decided import Decided, Made, State, learned, manifest
from gameai_operator.scaling.demand import Demand, demands
from gameai_operator.scaling.estimates import Estimates
from gameai_operator.scaling.gpus import Gpus
from gameai_operator.scaling.newest import Newest
from gameai_operator.scaling.performance import merged
from gameai_operator.scaling.player_gauges import PlayerGauges, with_unknown
from gameai_operator.scaling.recommendations import Recommendation, Recommendations
from gameai_operator.scaling.report import Change
from gameai_operator.scaling.tier_agents import TierAgents, with_agents
from gameai_operator.tier.autoscaling import by_keda
from gameai_operator.tier.effective import effective, takes_jobs, target_ms

_LOG = logging.getLogger(__name__)
FIELD_MANAGER = "gameai-scaler"
# A report that says nothing new of the decision is written this seldom.
REPORT_SECONDS = 30.0
# So long KEDA's autoscaler may write after its tier has another driver; then it is a rival. And writes at the same time.
_KEDA_ENDS_SECONDS, _MOST_WRITES = 60.0, 10
# So many foreign changes of the number within so long are a rival, not a hand.
_RIVAL_CHANGES, _RIVAL_SECONDS = 3, 600.0


class Cluster(Protocol):
    """What a scaler needs of an API server. Every method raises `ApiError`, and writes `NotLeadingError`."""

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """A live object; None if absent."""

    async def scale(self, resource: Resource, key: Key, replicas: int, manager: str) -> None:
        """Write the scale subresource."""

    async def apply_status(
        self, resource: Resource, manifest: Manifest, *, manager: str
    ) -> dict[str, Any]:
        """Server-side apply of the status subresource."""


class Scaler:
    """One decision for each tier every few seconds; nothing is kept that a restart could not do without."""

    def __init__(  # noqa: PLR0913 - its parts, each named where it is made
        self,
        tiers: Resource,
        cache: Cache,
        estimates: Estimates,
        gpus: Gpus,
        agents: TierAgents,
        gauges: PlayerGauges,
        *,
        recommendations: Recommendations,
        absence: Callable[[str], Absence | None],
        labels: Callable[[str], Mapping[str, str] | None],
        cluster: Cluster,
        recorder: Recorder,
        now: Callable[[], datetime.datetime],
        clock: Callable[[], float],
        seconds: float,
    ) -> None:
        self._tiers = tiers
        self._cache = cache
        self._estimates = estimates
        self._gpus = gpus
        self._agents = agents
        self._gauges = gauges
        self._recommendations = recommendations
        self._absence = absence
        self._labels = labels
        self._leads = False
        self._cluster = cluster
        self._recorder = recorder
        self._now = now
        self._clock = clock
        self._seconds = seconds
        self._states: dict[Key, State] = {}
        self._writes = Newest(_MOST_WRITES)

    async def run(self) -> None:
        """Decide until cancelled: a standby too, since KEDA may ask any scaler. Only the leader writes and reports."""
        while True:
            await self.step()
            await asyncio.sleep(self._seconds)

    async def lead(self) -> None:
        """Write and report until cancelled."""
        self._states.clear()
        self._leads = True
        try:
            await asyncio.Event().wait()
        finally:
            self._leads = False
            await self._writes.end()
            await self._agents.end()
            # The next leader shows them.
            for key in self._states:
                telemetry.forget_scaling(key.namespace, key.name)

    async def step(self) -> None:
        """One decision for each tier that is scaled."""
        roots = {key: self._cache.root(key) for key in self._cache.keys("ModelTier")}
        tiers = {k: e for k, root in roots.items() if (e := _read(k, root))}
        scaled = {k: e.spec.access for k, e in tiers.items() if e.spec.scaling}
        access = {f"{k.namespace}/{k.name}": each for k, each in scaled.items()}
        wanted = demands(map(self._cache.root, self._cache.keys("GameWorld")), access, self._labels)
        self._gauges.follow(wanted.values(), self._clock())
        for gone in set(self._states) - set(roots):
            del self._states[gone]
            telemetry.forget_scaling(gone.namespace, gone.name)
        self._estimates.forget(f"{key.namespace}/{key.name}" for key in roots)
        self._agents.keep(roots)
        self._recommendations.keep((key.namespace, key.name) for key in roots)
        decided = [
            self._decide(key, root, tiers[key], wanted.get(f"{key.namespace}/{key.name}", Demand()))
            for key, root in sorted(roots.items())
            if root is not None and key in tiers
        ]
        # Decisions never wait for writes: where the API server hangs, KEDA still gets present numbers.
        if self._leads:
            for each in decided:
                if each is not None:
                    self._writes.offer(each.key, functools.partial(self._act, each))

    def _decide(
        self, key: Key, root: Mapping[str, Any], tier: ModelTier, demand: Demand
    ) -> Decided | None:
        """The decision for one tier; None where it failed."""
        try:
            scaling = tier.spec.scaling
            found = None if scaling is None else self._decision(key, root, tier, scaling, demand)
        except Exception:  # noqa: BLE001 - one broken object must not end the others
            _LOG.exception("a scaling decision failed; this is a bug")
            return None
        return found or Decided(key=key, root=root, tier=tier, at=self._clock())

    def _decision(
        self, key: Key, root: Mapping[str, Any], tier: ModelTier, scaling: Scaling, demand: Demand
    ) -> Decided:
        now, current, target = self._clock(), effective(tier).replicas, target_ms(tier)
        agents = self._agents.seen(key, tier, target, now)
        fleet = Fleet(
            current=current,
            ready=min(current, (tier.status.ready_replicas or 0) + agents.measuring),
            target_ms=target,
            per_replica=questions_per_replica(scaling.queue.target_per_replica, agents.capacity),
        )
        name = f"{key.namespace}/{key.name}"
        self._estimates.observe_start(name, desired=current, ready=fleet.ready, now=now)
        counted = self._gauges.counted(demand.sources, now)
        seen = self._estimates.signals(
            name,
            (each for each in demand.worlds if each not in counted.unknown),
            maximum=demand.maximum,
            counts=counted.counts,
            expected=sum(demand.expected.values()),
            requests_per_player=learned(tier, scaling),
            now=now,
            takes_jobs=takes_jobs(tier),
        )
        seen = with_unknown(with_agents(seen, agents), demand, counted)
        signals = replace(seen, gpu_percent=self._gpus.percent(key.namespace, key.name))
        state = self._state(key, root, fleet.current, now)
        decision = decide(scaling, fleet, signals, state.memory, now=now, wall=self._now())
        state.memory = decision.memory
        made = Made(
            scaling=scaling,
            state=state,
            fleet=fleet,
            signals=signals,
            decision=decision,
            agents=agents,
            performance=merged(
                tier.status.performance, agents.reports.values(), target, self._now()
            ),
        )
        found = Decided(key=key, root=root, tier=tier, at=now, made=made)
        self._recommend(key, made, paused=found.paused)
        return found

    async def _act(self, decided: Decided) -> None:
        """Carry a decision out, and report it."""
        try:
            if decided.made is None:
                await self._leave(decided)
            else:
                await self._write(decided, decided.made)
        except NotLeadingError:
            return
        except ApiError as error:
            _LOG.warning("retrying: %s: %s", decided.key, error)
        except Exception:  # noqa: BLE001 - one broken object must not end the others
            _LOG.exception("a scaling decision was not carried out; this is a bug")

    async def _leave(self, decided: Decided) -> None:
        """The tier is not scaled (any more): what this process wrote of it goes."""
        key, root = decided.key, decided.root
        self._states.pop(key, None)
        if decided.tier.status.scaling is not None or decided.tier.status.performance:
            telemetry.forget_scaling(key.namespace, key.name)
            await self._cluster.apply_status(self._tiers, manifest(root, {}), manager=FIELD_MANAGER)

    async def _write(self, decided: Decided, made: Made) -> None:
        if decided.at < made.state.wrote_at:
            return
        key, replicas, decision = decided.key, decided.tier.spec.replicas, made.decision
        keda, rival = by_keda(decided.tier), ""
        if made.state.keda is not keda:
            made.state.keda, made.state.since = keda, self._clock()
            made.state.written = made.fleet.current if keda else replicas
            made.state.foreign.clear()
        if keda:
            self._follow(decided.root, made)
        elif (
            self._scaled_object(key) is None
            or self._clock() - made.state.since > _KEDA_ENDS_SECONDS
        ):
            rival = await self._rival(key, made.state, replicas)
        acts = made.scaling.mode is Mode.ACT and not rival and not decided.paused
        if acts and not keda and decision.desired != replicas:
            await self._carry_out(key, decided.root, made)
        telemetry.show_scaling(
            key.namespace,
            key.name,
            decision.desired,
            blind=decision.blind,
            at_maximum=decision.limit is Limit.TOO_MANY,
        )
        fault = self._keda_fault(key, made.state) if keda else None
        fault = report.PAUSED if decided.paused else fault
        await self._report(decided.root, made, rival=rival, keda=fault)
        if acts and made.scaling.freeze is not Freeze.ALL:
            self._agents.measure(decided, made, self._clock(), self._now())

    def _recommend(self, key: Key, made: Made, *, paused: bool) -> None:
        """What KEDA gets. A pause, a freeze and a mode hold from now on, not only once KEDA has taken them up.

        Where signals are missing nothing is recommended but more: KEDA then keeps the number that the tier has, which this
        process may know from long ago.
        """
        current, replicas = made.fleet.current, made.decision.recommended
        if made.decision.blind and replicas <= current:
            self._recommendations.drop(key.namespace, key.name)
            return
        held = paused or made.scaling.mode is Mode.RECOMMEND or made.scaling.freeze is Freeze.ALL
        if held:
            replicas = current
        elif made.scaling.freeze is Freeze.IN:
            replicas = max(current, replicas)
        busy = max(each.wants for each in made.decision.wishes) > made.scaling.min_replicas
        found = Recommendation(replicas=replicas, busy=busy, at=self._clock())
        self._recommendations.put(key.namespace, key.name, found)

    def _follow(self, root: Mapping[str, Any], made: Made) -> None:
        """A change that this process did not make: it counts for rates and history as one of its own would."""
        state, current, decision = made.state, made.fleet.current, made.decision
        before, state.written = state.written, current
        if before is None or before == current:
            return
        state.memory = changed(state.memory, before, current, self._clock())
        telemetry.SCALINGS.labels(decision.reason).inc()
        message = f"{before} → {current} replicas; {decision.because}"
        self._note(root, state, Change(self._now(), before, current, decision.reason), message)

    def _keda_fault(self, key: Key, state: State) -> Condition | None:
        child = self._scaled_object(key)
        if child is not None and (child.owner is None or child.owner.uid != state.uid):
            child = None
        states = None if child is None or child.terminating else child.facts
        asked = self._recommendations.asked_at(key.namespace, key.name)
        silent = self._clock() - max(state.since, state.since if asked is None else asked)
        return keda_state.fault(self._absence(scaled_object.KIND), states, silent)

    def _scaled_object(self, key: Key) -> Child | None:
        """What is left of a tier's ScaledObject; KEDA's autoscaler goes after it.

        Where its kind is gone, so are its objects, though no event said so.
        """
        if self._absence(scaled_object.KIND) is Absence.MISSING:
            return None
        entry = self._cache.get(key._replace(kind=scaled_object.KIND))
        return entry.value if entry and isinstance(entry.value, Child) else None

    def _state(self, key: Key, root: Mapping[str, Any], current: int, now: float) -> State:
        """What is kept of a tier; of a new one the present number counts as a recommendation, as for an HPA."""
        state, uid = self._states.get(key), root["metadata"]["uid"]
        if state is None or state.uid != uid:
            first = Memory(recommendations=(Stamped(now, current),))
            state = self._states[key] = State(uid=uid, memory=first)
            state.history.extend(report.history(root))
        return state

    async def _rival(self, key: Key, state: State, replicas: int | None) -> str:
        """What else keeps changing the number that this process writes; empty where nothing does."""
        now = self._clock()
        if state.written is not None and replicas not in (state.written, None):
            live = await self._cluster.get(self._tiers, key.namespace, key.name)
            # Where nothing else wrote it, the watch has not seen our own last write yet.
            if writers := report.other_writers(live or {}, FIELD_MANAGER):
                state.foreign.append(now)
                state.written = replicas
                state.rival = state.rival if writers == report.UNKNOWN and state.rival else writers
        while state.foreign and state.foreign[0] < now - _RIVAL_SECONDS:
            state.foreign.popleft()
        state.rival = state.rival if state.foreign else ""
        return state.rival if len(state.foreign) >= _RIVAL_CHANGES else ""

    async def _carry_out(self, key: Key, root: Mapping[str, Any], made: Made) -> None:
        state, before, decision = made.state, made.fleet.current, made.decision
        await self._cluster.scale(self._tiers, key, decision.desired, FIELD_MANAGER)
        _LOG.info("%s: %s", key, decision.message)
        telemetry.SCALINGS.labels(decision.reason).inc()
        state.written = decision.desired
        # Decisions that were made before this see the old number.
        state.wrote_at = self._clock()
        state.memory = changed(state.memory, before, decision.desired, state.wrote_at)
        if before != decision.desired:
            change = Change(self._now(), before, decision.desired, decision.reason)
            self._note(root, state, change, decision.message)

    def _note(self, root: Mapping[str, Any], state: State, change: Change, message: str) -> None:
        """A change of the number, in history and as an Event."""
        state.history.appendleft(change)
        transition = folding.Transition(
            type=SCALED, before=None, word="True", reason="Scaled", message=message
        )
        document = event(root, transition, change.at)
        if document is not None:
            self._recorder.offer(document)

    async def _report(
        self,
        root: Mapping[str, Any],
        made: Made,
        *,
        rival: str,
        keda: Condition | None,
    ) -> None:
        """Write status when the decision changed, and otherwise now and then."""
        state, decision, signals, now = made.state, made.decision, made.signals, self._clock()
        found = report.conditions(
            made.scaling, made.fleet, decision, signals, rival=rival, keda=keda
        )
        wall = self._now()
        status = {
            "scaling": report.status(
                decision,
                signals,
                tuple(state.history),
                lambda at: wall - datetime.timedelta(seconds=now - at),
                now=wall,
            ),
            "performance": [each.model_dump(by_alias=True) for each in made.performance],
            "conditions": folding.fold(
                root.get("status", {}).get("conditions", ()),
                found,
                generation=root["metadata"]["generation"],
                now=timestamp(wall),
            ),
        }
        said = report.urgent(status)
        if said == state.reported and now - state.reported_at < REPORT_SECONDS:
            return
        await self._cluster.apply_status(self._tiers, manifest(root, status), manager=FIELD_MANAGER)
        state.reported, state.reported_at = said, now


def _read(key: Key, root: Mapping[str, Any] | None) -> ModelTier | None:
    """A tier as a typed value; None where it is gone or cannot be read."""
    try:
        return None if root is None else ModelTier.model_validate(root)
    except ValidationError:
        _LOG.exception("%s cannot be read; this is a bug", key)
        return None
