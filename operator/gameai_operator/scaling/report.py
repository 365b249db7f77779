"""PURE: a scaling decision as status and conditions of its tier."""

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gameai_operator.api.scaling import Freeze, Mode, Scaling
from gameai_operator.controller.conditions import Condition
from gameai_operator.controller.manifest import timestamp
from gameai_operator.scaling.decide import Decision, Fleet, unreachable
from gameai_operator.scaling.signals import Signals

# Where the managed fields of an object do not say who wrote its number.
UNKNOWN = "something else"
MOST_HISTORY = 10
PAUSED = Condition(
    type="ScalingActive",
    status=False,
    reason="Paused",
    message="the annotation gameai.dev/paused is set: decisions are only reported",
)
# What KEDA reports where it gets no recommendation.
_OF_MISSING_SIGNALS = ("KedaFallback", "AutoscalerInactive")


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the number of replicas."""

    at: datetime.datetime
    before: int
    after: int
    reason: str

    def document(self) -> dict[str, Any]:
        """As status holds it."""
        return {
            "at": timestamp(self.at),
            "from": self.before,
            "to": self.after,
            "reason": self.reason,
        }


def status(
    decision: Decision,
    signals: Signals,
    history: Sequence[Change],
    when: Callable[[float], datetime.datetime],
    *,
    now: datetime.datetime,
) -> dict[str, Any]:
    """`status.scaling` at `now`; `when` turns a time of the samples' clock into one of the wall clock."""
    players: dict[str, Any] = {}
    if signals.players is not None:
        players["players"] = int(signals.players.value)
    if signals.requests_per_player is not None:
        players["requestsPerPlayerPerMinute"] = f"{signals.requests_per_player:.3f}"
    return {
        "desiredReplicas": decision.desired,
        "reason": decision.reason,
        "message": decision.message[:1024],
        "limited": decision.limit.value,
        "decidedAt": timestamp(now),
        **players,
        "signals": [
            {
                "name": each.name,
                "value": each.value[:253] or "none",
                "target": each.target[:253] or "none",
                "wants": each.wants,
                "state": each.state.value,
                **({} if each.at is None else {"observedAt": timestamp(when(each.at))}),
            }
            for each in decision.wishes
        ],
        "history": [each.document() for each in history[:MOST_HISTORY]],
    }


def conditions(
    scaling: Scaling,
    fleet: Fleet,
    decision: Decision,
    signals: Signals,
    *,
    rival: str = "",
    keda: Condition | None = None,
) -> tuple[Condition, ...]:
    """ScalingActive and WithinLatency.

    `rival` names the other writer of the number, and `keda` is what keeps KEDA, or anything, from carrying the decision out.
    """
    return (_active(scaling, decision, signals, keda, rival), _latency(fleet, signals))


def _active(
    scaling: Scaling,
    decision: Decision,
    signals: Signals,
    keda: Condition | None,
    rival: str,
) -> Condition:
    def no(reason: str, message: str) -> Condition:
        return Condition(type="ScalingActive", status=False, reason=reason, message=message)

    if rival:
        return no(
            "OtherWriter",
            f"{rival} keeps writing spec.replicas: remove the HorizontalPodAutoscaler (kube-controller-manager), or the field from Git",
        )
    if keda is not None and (not decision.blind or keda.reason not in _OF_MISSING_SIGNALS):
        return keda
    if decision.blind:
        return no("SignalsMissing", _missing(signals))
    if scaling.mode is Mode.RECOMMEND:
        return no("Recommend", "spec.scaling.mode is Recommend: decisions are only reported")
    if scaling.freeze is not Freeze.NONE:
        return no("Frozen", f"spec.scaling.freeze is {scaling.freeze.value}")
    if signals.unknown_players:
        return Condition(
            type="ScalingActive", status=True, reason="PlayersUnknown", message=_unknown(signals)
        )
    return Condition(type="ScalingActive", status=True, reason="ValidSignals")


def _missing(signals: Signals) -> str:
    if signals.without_bus and not signals.silent:
        return (
            f"{', '.join(signals.without_bus[:3])} did not reach the event bus, so that the jobs that wait are not known: "
            "no replica is removed; check the bus (docs/jobs.md)"
        )
    names = ", ".join(signals.silent[:3]) or "a gateway, or all of them,"
    return f"{names} did not answer within 60 s: no replica is removed; check gateways, --gateways and NetworkPolicies"


def _unknown(signals: Signals) -> str:
    names = ", ".join(signals.unknown_players[:3])
    return (
        f"the gauge of spec.players.source was not read within 60 s: {names}; players.expected counts there; "
        "check the name of the gauge, its port and that the pods run; 20 pods of a world and 100 of a namespace are read"
    )


def _latency(fleet: Fleet, signals: Signals) -> Condition:
    kind, target = "WithinLatency", fleet.target_ms
    if unreachable(fleet, signals):
        idle = signals.idle_p95_ms.value if signals.idle_p95_ms else 0.0
        message = (
            f"p95 of an idle engine is {idle:.0f} ms, above the target of {target} ms: no number of replicas keeps it; "
            "raise spec.latency.targetMs, or use a smaller model or a faster GPU"
        )
        return Condition(type=kind, status=False, reason="TargetBelowServiceTime", message=message)
    if signals.p95_ms is None:
        return Condition(type=kind, status=None, reason="NoResponses")
    p95 = signals.p95_ms.value
    message = f"p95 is {p95:.0f} ms, the target is {target} ms"
    if p95 > target:
        return Condition(type=kind, status=False, reason="AboveTarget", message=message)
    return Condition(type=kind, status=True, reason="AsExpected")


def history(root: Mapping[str, Any]) -> tuple[Change, ...]:
    """The history in the status of a tier, as a former process wrote it."""
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


def urgent(status: Mapping[str, Any]) -> dict[str, Any]:
    """What of a report cannot wait: the number, the last change, and states of conditions."""
    states = [(each["type"], each["status"], each["reason"]) for each in status["conditions"]]
    scaling = status["scaling"]
    return {
        "desired": scaling["desiredReplicas"],
        "limited": scaling["limited"],
        "changed": scaling["history"][:1],
        "states": states,
        "performance": status["performance"],
    }


def other_writers(root: Mapping[str, Any], own: str) -> str:
    """The field managers of `spec.replicas` but for our own, which is `own`; empty where it alone wrote the number."""
    entries = root.get("metadata", {}).get("managedFields", ())
    found = {
        each["manager"]
        for each in entries
        if "f:replicas" in each.get("fieldsV1", {}).get("f:spec", {})
    }
    if found == {own}:
        return ""
    return ", ".join(sorted(found - {own}))[:253] or UNKNOWN
