"""asyncio: decides for every tier with `spec.scaling`, and carries decisions out."""

import asyncio
import datetime
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from gameai_operator import telemetry
from gameai_operator.api.scaling import Mode, Scaling
from gameai_operator.api.tier import ModelTier
from gameai_operator.controller import conditions as folding
from gameai_operator.controller.cache import Cache
from gameai_operator.controller.errors import ApiError, NotLeadingError
from gameai_operator.controller.events import SCALED, Recorder, event
from gameai_operator.controller.manifest import PAUSED, Key, Manifest, Resource, timestamp
from gameai_operator.scaling import report
from gameai_operator.scaling.behavior import Limit, Memory, Stamped, changed
from gameai_operator.scaling.decide import Decision, Fleet, decide
from gameai_operator.scaling.demand import Demand, capped, demands
from gameai_operator.scaling.estimates import Estimates
from gameai_operator.scaling.gpus import Gpus
from gameai_operator.scaling.report import Change
from gameai_operator.scaling.signals import Signals
from gameai_operator.tier.effective import effective, target_ms

_LOG = logging.getLogger(__name__)
FIELD_MANAGER = "gameai-scaler"
# A report that says nothing new of the decision is written this seldom.
REPORT_SECONDS = 30.0
# So many foreign changes of the number within so long are a rival, not a hand.
_RIVAL_CHANGES, _RIVAL_SECONDS = 3, 600.0


class Cluster(Protocol):
    """What a scaler needs of an API server. Every method raises `ApiError`, and writes `NotLeadingError`."""

    async def scale(self, resource: Resource, key: Key, replicas: int, manager: str) -> None:
        """Write the scale subresource."""

    async def apply_status(
        self, resource: Resource, manifest: Manifest, *, manager: str
    ) -> dict[str, Any]:
        """Server-side apply of the status subresource."""


@dataclass(slots=True)
class _State:
    """What is kept of one tier between two decisions."""

    uid: str
    memory: Memory
    history: deque[Change] = field(default_factory=lambda: deque(maxlen=report.MOST_HISTORY))
    written: int | None = None
    foreign: deque[float] = field(default_factory=deque)
    reported_at: float = -REPORT_SECONDS
    reported: Mapping[str, Any] | None = None


class Scaler:
    """One decision for each tier every few seconds; nothing is kept that a restart could not do without."""

    def __init__(  # noqa: PLR0913 - its parts, each named where it is made
        self,
        tiers: Resource,
        cache: Cache,
        estimates: Estimates,
        gpus: Gpus,
        *,
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
        self._cluster = cluster
        self._recorder = recorder
        self._now = now
        self._clock = clock
        self._seconds = seconds
        self._states: dict[Key, _State] = {}

    async def run(self) -> None:
        """Decide until cancelled."""
        self._states.clear()
        while True:
            await self.step()
            await asyncio.sleep(self._seconds)

    async def step(self) -> None:
        """One decision for each tier that is scaled."""
        roots = {key: self._cache.root(key) for key in self._cache.keys("ModelTier")}
        worlds = [self._cache.root(key) for key in self._cache.keys("GameWorld")]
        wanted = demands(each for each in worlds if each is not None)
        for gone in set(self._states) - set(roots):
            del self._states[gone]
            telemetry.forget_scaling(gone.namespace, gone.name)
        self._estimates.forget(f"{key.namespace}/{key.name}" for key in roots)
        for key, root in sorted(roots.items()):
            if root is not None:
                await self._tier(key, root, wanted.get(f"{key.namespace}/{key.name}", Demand()))

    async def _tier(self, key: Key, root: Mapping[str, Any], demand: Demand) -> None:
        try:
            tier = ModelTier.model_validate(root)
            if tier.spec.scaling is None:
                await self._leave(key, root, tier)
            else:
                await self._scale(key, root, tier, demand)
        except NotLeadingError:
            return
        except ApiError as error:
            _LOG.warning("retrying: %s: %s", key, error)
        except Exception:  # noqa: BLE001 - one broken object must not end the others
            _LOG.exception("a scaling decision failed; this is a bug")

    async def _leave(self, key: Key, root: Mapping[str, Any], tier: ModelTier) -> None:
        """The tier is not scaled (any more): what this process wrote of it goes."""
        self._states.pop(key, None)
        if tier.status.scaling is not None:
            telemetry.forget_scaling(key.namespace, key.name)
            await self._cluster.apply_status(
                self._tiers, _manifest(root, {}), manager=FIELD_MANAGER
            )

    async def _scale(
        self, key: Key, root: Mapping[str, Any], tier: ModelTier, demand: Demand
    ) -> None:
        scaling, now = tier.spec.scaling, self._clock()
        assert scaling is not None  # noqa: S101 - the caller looked
        wants = effective(tier)
        fleet = Fleet(
            current=wants.replicas, ready=tier.status.ready_replicas or 0, target_ms=target_ms(tier)
        )
        name = f"{key.namespace}/{key.name}"
        self._estimates.observe_start(name, desired=fleet.current, ready=fleet.ready, now=now)
        seen = self._estimates.signals(
            name,
            demand.worlds,
            expected=demand.expected,
            requests_per_player=_learned(tier, scaling),
            now=now,
        )
        signals = replace(
            seen,
            players=capped(demand, seen.players),
            gpu_percent=self._gpus.percent(key.namespace, key.name),
        )
        state = self._state(key, root["metadata"]["uid"], fleet.current, now)
        rival = self._rival(state, tier.spec.replicas, now)
        decision = decide(scaling, fleet, signals, state.memory, now=now, wall=self._now())
        state.memory = decision.memory
        paused = root["metadata"].get("annotations", {}).get(PAUSED) == "true"
        acts = scaling.mode is Mode.ACT and not rival and not paused
        if acts and decision.desired != tier.spec.replicas:
            await self._carry_out(key, root, state, fleet.current, decision)
            state.memory = changed(decision.memory, fleet.current, decision.desired, now)
        telemetry.show_scaling(
            key.namespace,
            key.name,
            decision.desired,
            blind=decision.blind,
            at_maximum=decision.limit is Limit.TOO_MANY,
        )
        await self._report(root, tier, state, decision, signals, fleet, rival=rival)

    def _state(self, key: Key, uid: str, current: int, now: float) -> _State:
        """What is kept of a tier; of a new one the present number counts as a recommendation, as for an HPA."""
        state = self._states.get(key)
        if state is None or state.uid != uid:
            first = Memory(recommendations=(Stamped(now, current),))
            state = self._states[key] = _State(uid=uid, memory=first)
        return state

    def _rival(self, state: _State, replicas: int | None, now: float) -> bool:
        """Whether something else keeps changing the number that this process writes."""
        if state.written is not None and replicas not in (state.written, None):
            state.foreign.append(now)
            state.written = replicas
        while state.foreign and state.foreign[0] < now - _RIVAL_SECONDS:
            state.foreign.popleft()
        return len(state.foreign) >= _RIVAL_CHANGES

    async def _carry_out(
        self,
        key: Key,
        root: Mapping[str, Any],
        state: _State,
        before: int,
        decision: Decision,
    ) -> None:
        await self._cluster.scale(self._tiers, key, decision.desired, FIELD_MANAGER)
        _LOG.info("%s: %s", key, decision.message)
        telemetry.SCALINGS.labels(decision.reason).inc()
        state.written = decision.desired
        if before != decision.desired:
            state.history.appendleft(
                Change(
                    at=self._now(), before=before, after=decision.desired, reason=decision.reason
                )
            )
            change = folding.Transition(
                type=SCALED, before=None, word="True", reason="Scaled", message=decision.message
            )
            document = event(root, change, self._now())
            if document is not None:
                self._recorder.offer(document)

    async def _report(
        self,
        root: Mapping[str, Any],
        tier: ModelTier,
        state: _State,
        decision: Decision,
        signals: Signals,
        fleet: Fleet,
        *,
        rival: bool,
    ) -> None:
        """Write status when the decision changed, and otherwise now and then."""
        scaling, now = tier.spec.scaling, self._clock()
        assert scaling is not None  # noqa: S101 - the caller looked
        found = report.conditions(scaling, fleet, decision, signals, rival=rival)
        wall = self._now()
        status = {
            "scaling": report.status(
                decision,
                signals,
                tuple(state.history) or _kept(root),
                lambda at: wall - datetime.timedelta(seconds=now - at),
                now=wall,
            ),
            "conditions": folding.fold(
                root.get("status", {}).get("conditions", ()),
                found,
                generation=root["metadata"]["generation"],
                now=timestamp(wall),
            ),
        }
        said = _said(status)
        if said == state.reported and now - state.reported_at < REPORT_SECONDS:
            return
        await self._cluster.apply_status(
            self._tiers, _manifest(root, status), manager=FIELD_MANAGER
        )
        state.reported, state.reported_at = said, now


def _learned(tier: ModelTier, scaling: Scaling) -> float:
    """Requests per player as a former process learned them, else as declared."""
    known = tier.status.scaling and tier.status.scaling.requests_per_player_per_minute
    return float(known or scaling.players.requests_per_player_per_minute)


def _kept(root: Mapping[str, Any]) -> tuple[Change, ...]:
    """The history that a former process wrote."""
    rows = root.get("status", {}).get("scaling", {}).get("history", ())
    return tuple(
        Change(
            at=datetime.datetime.fromisoformat(row["at"]),
            before=row["from"],
            after=row["to"],
            reason=row["reason"],
        )
        for row in rows
    )


def _said(status: Mapping[str, Any]) -> dict[str, Any]:
    """What of a report cannot wait: the number, who asked for it, and states of conditions."""
    states = [(each["type"], each["status"], each["reason"]) for each in status["conditions"]]
    scaling = status["scaling"]
    return {"desired": scaling["desiredReplicas"], "limited": scaling["limited"], "states": states}


def _manifest(root: Mapping[str, Any], status: Mapping[str, Any]) -> Manifest:
    metadata = root["metadata"]
    return {
        "apiVersion": root["apiVersion"],
        "kind": root["kind"],
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "status": status,
    }
