"""PURE: what keeps KEDA from carrying out the decisions for a tier, as its condition ScalingActive."""

from collections.abc import Mapping

from gameai_operator.controller.conditions import Condition
from gameai_operator.controller.kind import Absence
from gameai_operator.resources.scaled_object import OLDEST, State

# KEDA asks every 15 s, and of several scalers each one in turn.
SILENT_SECONDS = 120.0


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


def fault(
    absence: Absence | None, states: Mapping[str, State] | None, silent_seconds: float
) -> Condition | None:
    """Why KEDA does not act, or None.

    `absence` is None where KEDA is installed; `states` are the conditions of the ScaledObject, None where there is none;
    KEDA has not asked for `silent_seconds`.
    """
    if absence is not None:
        return _ABSENT[absence]
    if states is None:
        message = "the operator has not created the ScaledObject yet"
        return _no(reason="ScaledObjectMissing", message=message)
    return _reported(states) or _silent(silent_seconds)


def _reported(states: Mapping[str, State]) -> Condition | None:
    """What KEDA itself reports; 2.20.2 and later also whether the HorizontalPodAutoscaler acts."""
    unknown = State(status="Unknown", reason="", message="")
    ready, paused = states.get("Ready", unknown), states.get("Paused", unknown)
    fallback, autoscaler = states.get("Fallback", unknown), states.get("HPAActive", unknown)
    found = None
    if paused.status == "True":
        found = _no(reason="KedaPaused", message=f"KEDA is paused by {paused.message}")
    elif ready.status == "Unknown":
        message = "KEDA has not processed the ScaledObject yet: does the operator of KEDA run?"
        found = _no(reason="KedaNotReady", message=message)
    elif ready.status != "True":
        message = f"KEDA reports {ready.reason}: {ready.message}"
        found = _no(reason="KedaNotReady", message=message)
    elif fallback.status == "True":
        message = f"KEDA got no recommendation, replicas are kept: {fallback.message}"
        found = _no(reason="KedaFallback", message=message)
    elif autoscaler.status == "False":
        message = f"the HorizontalPodAutoscaler reports {autoscaler.reason}: {autoscaler.message}"
        found = _no(reason="AutoscalerInactive", message=message)
    return found


def _silent(seconds: float) -> Condition | None:
    """Conditions are KEDA's own: where it does not run, they stay as they were."""
    if seconds <= SILENT_SECONDS:
        return None
    message = f"KEDA has not asked for {SILENT_SECONDS:.0f} s, replicas are kept: do its operator and its metrics server run?"
    return _no(reason="KedaSilent", message=message)
