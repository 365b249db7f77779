"""PURE: the ScaledObject of a tier whose driver is KEDA: the limits of its spec, as those of a HorizontalPodAutoscaler."""

from gameai_operator.api.base import API_VERSION
from gameai_operator.api.scaling import Driver, Freeze, Mode, Scaling
from gameai_operator.api.tier import ModelTier
from gameai_operator.controller.kind import RejectedWrite
from gameai_operator.controller.manifest import Document, Key
from gameai_operator.resources import scaled_object
from gameai_operator.settings import KedaSettings


def by_keda(tier: ModelTier) -> bool:
    """Whether KEDA carries decisions out: where they are only recommended, there is nothing to carry out."""
    scaling = tier.spec.scaling
    return scaling is not None and scaling.driver is Driver.KEDA and scaling.mode is Mode.ACT


def scaled_objects(
    tier: ModelTier, metadata: Document, settings: KedaSettings
) -> tuple[Document, ...]:
    """The ScaledObject of a tier, or nothing."""
    scaling = tier.spec.scaling
    if scaling is None or not by_keda(tier) or not settings.scaler_address:
        return ()
    made = scaled_object.build(
        metadata,
        {"apiVersion": API_VERSION, "kind": "ModelTier", "name": tier.metadata.name},
        minimum=scaling.min_replicas,
        maximum=scaling.max_replicas,
        behavior=_behavior(scaling),
        trigger=scaled_object.Trigger(
            address=settings.scaler_address, authentication=settings.authentication
        ),
    )
    return (made,)


def faults(tier: ModelTier, settings: KedaSettings) -> tuple[RejectedWrite, ...]:
    """Why no ScaledObject can be made."""
    if not by_keda(tier) or settings.scaler_address:
        return ()
    key = Key(scaled_object.KIND, tier.metadata.namespace, tier.metadata.name)
    message = (
        "spec.scaling.driver is KEDA, but the operator does not know where the scaler answers: "
        "set --keda-scaler-address (the chart sets it where scaler.enabled is true), or use driver BuiltIn"
    )
    return (RejectedWrite(key=key, reason="ScalerAddressMissing", message=message),)


def _behavior(scaling: Scaling) -> Document:
    """Windows, rates and freezes of the spec. The recommendation has its tolerance already, so that none is added to it."""
    out, back, freeze = scaling.scale_out, scaling.scale_in, scaling.freeze
    pods = _policy("Pods", out.pods, out.period_seconds)
    percent = _policy("Percent", out.percent, out.period_seconds)
    return {
        "scaleUp": {
            "stabilizationWindowSeconds": out.window_seconds,
            "selectPolicy": "Disabled" if freeze is Freeze.ALL else "Max",
            "policies": [pods, percent],
            "tolerance": "0",
        },
        "scaleDown": {
            "stabilizationWindowSeconds": back.window_seconds,
            "selectPolicy": "Min" if freeze is Freeze.NONE else "Disabled",
            "policies": [_policy("Pods", back.pods, back.period_seconds)],
            "tolerance": "0",
        },
    }


def _policy(unit: str, value: int, seconds: int) -> Document:
    return {"type": unit, "value": value, "periodSeconds": seconds}
