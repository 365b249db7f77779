"""PURE: a tier and what is there of it → its status and conditions."""

from dataclasses import dataclass
from typing import Any

from gameai_contract import names
from gameai_contract.names import VLLM_PORT

from gameai_operator.api.tier import ModelTier
from gameai_operator.controller.conditions import Condition
from gameai_operator.controller.kind import RejectedWrite
from gameai_operator.controller.standard_conditions import (
    Problem,
    reconciling,
    rejected,
    stalled,
)
from gameai_operator.resources.pod_faults import Fault
from gameai_operator.tier import headroom
from gameai_operator.tier.arguments import Verdict
from gameai_operator.tier.effective import Effective
from gameai_operator.tier.objects import Live, selector
from gameai_operator.tier.pricing import price
from gameai_operator.tier.split import Split
from gameai_operator.tier.vllm_flags import VLLM_VERSION

FIELDS = (
    "observedGeneration",
    "templateRevision",
    "wantedReplicas",
    "replicas",
    "readyReplicas",
    "selector",
    "capacity",
    "endpoint",
    "cost",
)
COUNTS = frozenset({"replicas", "readyReplicas", "capacity", "cost"})
# ScalingActive is shared: the scaler writes it too, and its report is repeated while it is recent.
CONDITIONS = ("Ready", "Reconciling", "Stalled", "ArgumentsChecked", "ScalingActive")


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """All that a status is derived from.

    `rolling` says that a roll-out is unfinished or about to begin; `placed` are the pods that have a node, `headroom` the placeholders that do.
    """

    live: Live
    wants: Effective
    lent: int
    placed: Split
    rolling: bool
    arguments: Verdict
    revision: int | None
    fault: Fault | None
    headroom: int = 0
    rejections: tuple[RejectedWrite, ...] = ()
    failures: tuple[RejectedWrite, ...] = ()


def status(tier: ModelTier, judged: Judged) -> dict[str, Any]:
    """The status fields beside conditions; absent where nothing is known."""
    live = judged.live
    on_demand = live.on_demand.replicas if live.on_demand else 0
    spot = live.spot.replicas if live.spot else 0
    name, namespace = tier.metadata.name, tier.metadata.namespace
    fields = {
        "observedGeneration": tier.metadata.generation,
        "templateRevision": judged.revision,
        "wantedReplicas": judged.wants.replicas,
        "replicas": on_demand + spot,
        "readyReplicas": ready_replicas(live),
        "selector": names.selector(selector(tier)),
        "capacity": _capacity(tier, on_demand, spot, judged),
        "endpoint": f"http://{name}.{namespace}.svc:{VLLM_PORT}",
        "cost": _cost(tier, judged),
    }
    return {key: value for key, value in fields.items() if value is not None}


def _capacity(tier: ModelTier, on_demand: int, spot: int, judged: Judged) -> dict[str, int]:
    """Pods by requested capacity type. Without a spot share they request none, and may run on any node."""
    if tier.spec.capacity.spot_percent:
        shares = {"onDemand": on_demand, "spot": spot, "any": 0, "lent": judged.lent}
    else:
        shares = {"onDemand": 0, "spot": spot, "any": on_demand, "lent": 0}
    return {**shares, "headroom": judged.headroom}


def _cost(tier: ModelTier, judged: Judged) -> dict[str, str] | None:
    known = price(tier.spec)
    if known is None:
        return None
    wanted = headroom.replicas(tier, judged.wants.replicas)
    return {
        "perHour": known.of(headroom.priced(tier, judged.placed, judged.headroom)),
        "wantedPerHour": known.of(headroom.priced(tier, judged.wants.shares, wanted)),
        "instanceType": known.instance_type,
    }


def conditions(judged: Judged) -> tuple[Condition, ...]:
    """Ready, Reconciling, Stalled, ArgumentsChecked, in this order."""
    stall = stalled(_problems(judged))
    held_up = None if stall.status else _stuck(judged)
    return (
        _ready(judged, stall),
        reconciling(
            judged.failures,
            held_up,
            rolling=judged.rolling,
            is_stalled=bool(stall.status),
            because=None if judged.fault is None else (judged.fault.reason, judged.fault.message),
        ),
        stall,
        _arguments_checked(judged.arguments),
    )


def ready_replicas(live: Live) -> int:
    """Pods that answer."""
    return sum(each.ready for each in (live.on_demand, live.spot) if each)


def _problems(judged: Judged) -> list[Problem]:
    fault = judged.fault
    own = [(fault.reason, fault.message)] if fault and fault.stalled else []
    return [*judged.arguments.faults, *rejected(judged.rejections), *own]


def _stuck(judged: Judged) -> Problem | None:
    """A roll-out that made no progress within its deadline, with the remedy where it lacks room for a surge."""
    exceeded = any(each.exceeded for each in (judged.live.on_demand, judged.live.spot) if each)
    if not (judged.rolling and exceeded):
        return None
    message = "pods of the current template did not become ready within the deadline"
    if judged.fault:
        message = f"{message}; {judged.fault.reason}: {judged.fault.message}"
    if judged.fault and judged.fault.reason == "InsufficientCapacity":
        message += (
            "; a rollout needs capacity for spec.rollout.maxSurge more pods: add nodes, "
            "or set spec.rollout to {maxSurge: 0, maxUnavailable: 1}"
        )
    return "ProgressDeadlineExceeded", message


def _ready(judged: Judged, stall: Condition) -> Condition:
    ready, wanted = ready_replicas(judged.live), judged.wants.replicas
    count = f"{ready} of {wanted} replicas are ready"
    problem = _problem(judged, stall)
    if ready < judged.wants.needed:
        reason, words = problem or ("Starting", "")
        return _condition(reason, count, words, state=False)
    if not wanted:
        return _condition("ScaledToZero", "no replicas desired", _words(problem), state=True)
    reason = "AllReplicasReady" if ready >= wanted else "MinimumReplicasReady"
    return _condition(reason, count, _words(problem), state=True)


def _problem(judged: Judged, stall: Condition) -> Problem | None:
    if stall.status:
        return stall.reason, stall.message
    if judged.failures:
        return judged.failures[0].reason, judged.failures[0].message
    return (judged.fault.reason, judged.fault.message) if judged.fault else None


def _words(problem: Problem | None) -> str:
    return f"{problem[0]}: {problem[1]}" if problem else ""


def _condition(reason: str, count: str, words: str, *, state: bool) -> Condition:
    message = f"{count}; {words}" if words else count
    return Condition(type="Ready", status=state, reason=reason, message=message)


def _arguments_checked(stall: Verdict) -> Condition:
    if stall.faults:
        message = "; ".join(text for _, text in stall.faults)
        reason = stall.faults[0][0]
        return Condition(type="ArgumentsChecked", status=False, reason=reason, message=message)
    if not stall.applies:
        message = "the engine is elsewhere, and takes no arguments"
        return Condition(
            type="ArgumentsChecked", status=True, reason="ExternalEngine", message=message
        )
    if stall.checked:
        message = f"checked against the flags of vLLM {VLLM_VERSION}"
        return Condition(
            type="ArgumentsChecked", status=True, reason="KnownVersion", message=message
        )
    message = (
        f"the image tag is {stall.version}, but only the flags of vLLM {VLLM_VERSION} are known: "
        "arguments are applied unchecked"
    )
    return Condition(
        type="ArgumentsChecked", status=False, reason="UnknownVersion", message=message
    )
