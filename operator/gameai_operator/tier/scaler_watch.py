"""PURE: whether the scaler still decides for a tier. The scaler itself cannot say that it stopped."""

import datetime
from collections.abc import Iterable

from gameai_operator.api.tier import ModelTier
from gameai_operator.controller.conditions import Condition

CONDITION = "ScalingActive"
# The scaler reports at least every 30 s; a Lease changes hands within 15 s.
STALE_SECONDS = 180.0


def active(tier: ModelTier, now: datetime.datetime) -> tuple[Iterable[Condition], float | None]:
    """ScalingActive as the scaler reported it, or what replaces an old report; and in how many seconds to look again."""
    decided = tier.status.scaling and tier.status.scaling.decided_at
    if tier.spec.scaling is None:
        return (() if tier.status.scaling is None else (_not_scaled(),)), None
    if not decided:
        return (_no_decision("the scaler has not decided yet"),), None
    age = (now - datetime.datetime.fromisoformat(decided)).total_seconds()
    if age >= STALE_SECONDS:
        return (_no_decision(f"the last decision was {decided}"),), None
    return _reported(tier), STALE_SECONDS - age


def _reported(tier: ModelTier) -> Iterable[Condition]:
    words = {"True": True, "False": False}
    return tuple(
        Condition(
            type=each.type, status=words.get(each.status), reason=each.reason, message=each.message
        )
        for each in tier.status.conditions
        if each.type == CONDITION
    )


def _no_decision(what: str) -> Condition:
    message = f"{what}: replicas stay as they are; check the Deployment of the scaler (chart value scaler.enabled)"
    return Condition(type=CONDITION, status=None, reason="NoDecision", message=message)


def _not_scaled() -> Condition:
    message = "spec.scaling is absent; the scaler removes its report when it runs"
    return Condition(type=CONDITION, status=False, reason="NotScaled", message=message)
