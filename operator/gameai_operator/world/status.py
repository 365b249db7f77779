"""PURE: a world and what is there of it → its status and conditions."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gameai_contract.world_time import Anchor, format_time

from gameai_operator.api.base import Condition as Reported
from gameai_operator.api.base import ConditionStatus
from gameai_operator.api.world import GameWorld, WorldState
from gameai_operator.controller.conditions import Condition
from gameai_operator.controller.kind import RejectedWrite
from gameai_operator.controller.standard_conditions import (
    Problem,
    reconciling,
    rejected,
    stalled,
)
from gameai_operator.resources.deployment import Deployment
from gameai_operator.resources.pod_faults import Fault
from gameai_operator.world import archetypes, knowledge
from gameai_operator.world.archetypes import ArchetypesSight
from gameai_operator.world.catalogue import Effective
from gameai_operator.world.clock import STARTED, clock_status
from gameai_operator.world.config import endpoint
from gameai_operator.world.knowledge import KnowledgeSight
from gameai_operator.world.roles import RoleSight, worst
from gameai_operator.world.shown import Parked

FIELDS = (
    "observedGeneration",
    "templateRevision",
    "workloadsImage",
    "clock",
    "services",
    "readyServices",
)
COUNTS = frozenset({"services", "readyServices"})
CONDITIONS = (
    "Ready",
    "Reconciling",
    "Stalled",
    "Degraded",
    "TiersReady",
    knowledge.CONDITION,
    archetypes.CONDITION,
    "ServicesReady",
    STARTED,
)
# The reason of Degraded while something that was ready is away, by its condition.
_LOST: Mapping[str, str] = {"TiersReady": "TierLost", knowledge.CONDITION: "MemoryLost"}
# A hibernated world says what its tiers cost; how often that is looked at again.
ASLEEP_SECONDS = 300.0
# How long a world works without a tier or its memory before it counts as not ready.
GRACE_SECONDS = 120


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservedService:
    """A service and what is there of it."""

    service: Effective
    live: Deployment | None

    @property
    def ready(self) -> int:
        """Pods that answer."""
        return self.live.ready if self.live else 0

    @property
    def answers(self) -> bool:
        """Whether at least one pod answers, or none is wanted."""
        return self.ready > 0 or not (self.service.service.replicas or self.service.faults)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """All that a status is derived from.

    `rolling` says that a roll-out is unfinished or about to begin, `halted` why a new image does not come.
    """

    services: Sequence[ObservedService]
    roles: Sequence[RoleSight]
    knowledge: KnowledgeSight | None
    archetypes: ArchetypesSight
    parked: Sequence[Parked]
    anchors: Sequence[Anchor]
    revision: int | None
    image: str | None
    rolling: bool
    fault: Fault | None
    rejections: Sequence[RejectedWrite]
    failures: Sequence[RejectedWrite]
    halted: str
    clock: Condition
    now: datetime.datetime


def status(world: GameWorld, judged: Judged) -> dict[str, Any]:
    """The status fields beside conditions; absent where nothing is known."""
    fields = {
        "observedGeneration": world.metadata.generation,
        "templateRevision": judged.revision,
        "workloadsImage": judged.image,
        "clock": clock_status(judged.anchors) if judged.anchors else None,
        **_services(world, judged),
    }
    return {key: value for key, value in fields.items() if value is not None}


def _services(world: GameWorld, judged: Judged) -> dict[str, Any]:
    services = [
        {
            "name": each.service.name,
            "ready": each.ready,
            "replicas": each.live.replicas if each.live else 0,
            "endpoint": endpoint(world, each.service),
        }
        for each in judged.services
    ]
    asleep = world.spec.state is WorldState.HIBERNATED
    wanted = [each for each in judged.services if each.service.service.replicas and not asleep]
    answering = sum(each.ready > 0 for each in wanted)
    return {"services": services or None, "readyServices": f"{answering}/{len(wanted)}"}


def conditions(world: GameWorld, judged: Judged) -> tuple[Condition, ...]:
    """Those of `CONDITIONS`, in this order."""
    tiers, services = _tiers_ready(judged), _services_ready(world, judged)
    memory = knowledge.condition(judged.knowledge)
    stall = stalled(_problems(judged))
    left = grace_left(world, judged)
    lost = tuple(each for each in (tiers, memory) if not each.status)
    degraded = _degraded(world, judged, lost, left)
    verdicts = _Verdicts(stalled=stall, services=services, lost=lost, degraded=degraded)
    return (
        _ready(world, judged, verdicts, left),
        reconciling(
            judged.failures,
            _halted(judged),
            rolling=judged.rolling,
            is_stalled=bool(stall.status),
            because=None if judged.fault is None else (judged.fault.reason, judged.fault.message),
        ),
        stall,
        degraded,
        tiers,
        memory,
        archetypes.condition(judged.archetypes),
        services,
        judged.clock,
    )


def grace_left(world: GameWorld, judged: Judged) -> float:
    """Seconds for which a world that lost a tier or its memory still counts as ready; 0 where it does not."""
    lost = (_tiers_ready(judged), knowledge.condition(judged.knowledge))
    return min((_left(world, judged, each.type) for each in lost if not each.status), default=0.0)


def _left(world: GameWorld, judged: Judged, kind: str) -> float:
    """The same for what a condition of this type says."""
    before = {each.type: each for each in world.status.conditions}
    ready, known = before.get("Ready"), before.get(kind)
    seen = world.status.observed_generation == world.metadata.generation
    was_ready = ready is not None and ready.status is ConditionStatus.TRUE
    if known is None or not was_ready:
        return 0.0
    if known.status is ConditionStatus.TRUE:
        # A spec not seen yet may name another one: that was never ready for this world, so it cannot be lost.
        return float(GRACE_SECONDS) if seen else 0.0
    return max(0.0, GRACE_SECONDS - (judged.now - _since(known)).total_seconds())


def _since(condition: Reported) -> datetime.datetime:
    return datetime.datetime.fromisoformat(condition.last_transition_time)


def _tiers_ready(judged: Judged) -> Condition:
    faulty = worst(judged.roles)
    if faulty:
        others = [each.message for each in judged.roles if each.reason and each is not faulty]
        message = "; ".join([faulty.message, *others])
        return Condition(type="TiersReady", status=False, reason=faulty.reason, message=message)
    reason = "AllTiersReady" if judged.roles else "NoRoles"
    return Condition(type="TiersReady", status=True, reason=reason)


def _services_ready(world: GameWorld, judged: Judged) -> Condition:
    if world.spec.state is WorldState.HIBERNATED:
        return Condition(type="ServicesReady", status=True, reason="Hibernated")
    silent = [each.service.name for each in judged.services if not each.answers]
    if silent:
        words = f"no ready pods: {', '.join(silent)}"
        reason, more = "Starting", ""
        if judged.fault:
            reason, more = judged.fault.reason, f"; {judged.fault.message}"
        return Condition(
            type="ServicesReady", status=False, reason=reason, message=f"{words}{more}"
        )
    if judged.parked:
        return Condition(
            type="ServicesReady",
            status=False,
            reason="EventsParked",
            message="; ".join(map(_parked, judged.parked)),
        )
    reason = "AllServicesReady" if judged.services else "NoServices"
    return Condition(type="ServicesReady", status=True, reason=reason)


def _parked(found: Parked) -> str:
    why = f" ({found.reason})" if found.reason else ""
    return (
        f"service {found.service} could not handle a batch of events at {found.since}{why}: "
        "it and those behind it wait in order, as dead letters, for a redrive"
    )


def _problems(judged: Judged) -> list[Problem]:
    """A fault of a pod is of no interest beside what was rejected: it may be of the former spec."""
    fault = judged.fault
    own = [(fault.reason, fault.message)] if fault and fault.stalled else []
    return rejected(judged.rejections) or own


def _halted(judged: Judged) -> Problem | None:
    if not judged.halted:
        return None
    message = (
        f"the update to a new image of the built-in services is halted: {judged.halted}; correct it, "
        "or restart the operator to continue with the next worlds"
    )
    return "RolloutHalted", message


def _degraded(
    world: GameWorld, judged: Judged, lost: Sequence[Condition], left: float
) -> Condition:
    """What is missing while the rest works; after two minutes without a tier or its memory a world is not Ready either."""
    asleep = world.spec.state is WorldState.HIBERNATED
    if lost and not asleep:
        reason = _LOST[lost[0].type] if left else lost[0].reason
        message = "; ".join(each.message for each in lost)
        return Condition(type="Degraded", status=True, reason=reason, message=message)
    files = judged.archetypes
    if files.valid is False:
        return Condition(type="Degraded", status=True, reason=files.reason, message=files.message)
    return Condition(type="Degraded", status=False, reason="AsExpected")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Verdicts:
    """The conditions that Ready is derived from; `lost` are those of tiers and memory that are false."""

    stalled: Condition
    services: Condition
    lost: Sequence[Condition]
    degraded: Condition


def _ready(world: GameWorld, judged: Judged, verdicts: _Verdicts, left: float) -> Condition:
    """Whether everything that was asked for answers; a mistake in the spec that touches nothing live is in the message."""
    stall, services = verdicts.stalled, verdicts.services
    if world.spec.state is WorldState.HIBERNATED:
        return _is_ready("Hibernated", _asleep(judged), stall)
    if not services.status:
        return _not_ready(stall if stall.status else services)
    if verdicts.lost and not left:
        return _not_ready(verdicts.lost[0])
    if verdicts.degraded.status:
        return _is_ready("Degraded", verdicts.degraded.message, stall)
    memory = ", and its memory answers" if judged.knowledge else ""
    return _is_ready("WorldReady", f"all services and tiers are ready{memory}", stall)


def _asleep(judged: Judged) -> str:
    """When world time stands still, and which tiers go on and cost what."""
    words = "no pods desired"
    if judged.anchors:
        words += f"; world time is stopped from {format_time(judged.anchors[-1].effective_at)} on"
    costs = {
        f"{each.tier.namespace}/{each.tier.name}": each.cost_per_hour
        for each in judged.roles
        if each.endpoint
    }
    if not costs:
        return words
    tiers = ", ".join(f"{name} ({cost} USD/h)" if cost else name for name, cost in costs.items())
    return f"{words}; its tiers keep running: {tiers}"


def _is_ready(reason: str, message: str, stall: Condition) -> Condition:
    more = f"; {stall.reason}: {stall.message}" if stall.status else ""
    return Condition(type="Ready", status=True, reason=reason, message=f"{message}{more}")


def _not_ready(why: Condition) -> Condition:
    return Condition(type="Ready", status=False, reason=why.reason, message=why.message)


def rolls(root: Mapping[str, Any], image: str) -> bool:
    """Whether status says that a world is being updated to this image."""
    status = root.get("status", {})
    entries = status.get("conditions", ())
    under_way = any(e["type"] == "Reconciling" and e["status"] == "True" for e in entries)
    return under_way and status.get("workloadsImage") == image
