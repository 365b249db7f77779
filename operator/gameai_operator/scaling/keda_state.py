"""PURE: what keeps KEDA from carrying out the decisions for a tier, as its condition ScalingActive."""

from collections.abc import Mapping

from gameai_operator.controller.conditions import Condition
from gameai_operator.controller.kind import Absence
from gameai_operator.resources.scaled_object import OLDEST, State


def _no(*, reason: str, message: str) -> Condition:
    return Condition(type="ScalingActive", status=False, reason=reason, message=message)


_INSTALL = (
    f"install KEDA {OLDEST} or later, or set spec.scaling.driver to BuiltIn; replicas are kept"
)
_ABSENT = {
    Absence.MISSING: _no(
        reason="KedaNotInstalled", message=f"ScaledObjects are not served: {_INSTALL}"
    ),
    Absence.UNSUPPORTED: _no(
        reason="KedaTooOld", message=f"KEDA is older than {OLDEST}: {_INSTALL}"
    ),
    Absence.FORBIDDEN: _no(
        reason="KedaForbidden",
        message="the scaler may not list ScaledObjects: upgrade the chart of the operator, which grants it",
    ),
    Absence.UNREADABLE: _no(
        reason="KedaUnreadable",
        message="the API server fails to list ScaledObjects; replicas are kept: kubectl get scaledobjects shows why",
    ),
}


def fault(absence: Absence | None, states: Mapping[str, State] | None) -> Condition | None:
    """Why KEDA does not act, or None.

    `absence` is None where KEDA is installed; `states` are the conditions of the ScaledObject, None where there is none.
    """
    if absence is not None:
        return _ABSENT[absence]
    if states is None:
        message = "the operator has not created the ScaledObject yet"
        return _no(reason="ScaledObjectMissing", message=message)
    paused, ready, fallback = (states.get(each) for each in ("Paused", "Ready", "Fallback"))
    if paused is not None and paused.status == "True":
        return _no(reason="KedaPaused", message=f"the ScaledObject is paused: {paused.message}")
    if ready is None or ready.status == "Unknown":
        message = "KEDA has not processed the ScaledObject yet: does the operator of KEDA run?"
        return _no(reason="KedaNotReady", message=message)
    if ready.status != "True":
        return _no(reason="KedaNotReady", message=f"KEDA reports {ready.reason}: {ready.message}")
    if fallback is not None and fallback.status == "True":
        message = f"KEDA got no recommendation, replicas are kept: {fallback.message}"
        return _no(reason="KedaFallback", message=message)
    return _autoscaler(states.get("HPAActive"))


def _autoscaler(active: State | None) -> Condition | None:
    """KEDA 2.20.2 and later report whether the HorizontalPodAutoscaler acts."""
    if active is None or active.status != "False":
        return None
    message = f"the HorizontalPodAutoscaler reports {active.reason}: {active.message}"
    return _no(reason="AutoscalerInactive", message=message)
