"""The operator says when the scaler no longer decides."""

import datetime
from typing import Any

import pytest
from gameai_operator.tier.scaler_watch import active
from support import tiers

NOW = datetime.datetime(2026, 11, 27, 12, 0, tzinfo=datetime.UTC)
REPORTED = {
    "type": "ScalingActive",
    "status": "True",
    "reason": "ValidSignals",
    "message": "",
    "lastTransitionTime": "2026-11-27T10:00:00Z",
}


def report(age: int | None) -> dict[str, Any]:
    decided = {}
    if age is not None:
        at = NOW - datetime.timedelta(seconds=age)
        decided = {"decidedAt": at.strftime("%Y-%m-%dT%H:%M:%SZ")}
    fields = {
        "desiredReplicas": 2,
        "reason": "queue",
        "message": "",
        "limited": "DesiredWithinRange",
        **decided,
    }
    return {"scaling": fields, "conditions": [REPORTED]}


@pytest.mark.parametrize(
    ("scaled", "status", "expected", "looks_again"),
    [
        (True, {}, ("Unknown", "NoDecision"), None),
        (True, report(None), ("Unknown", "NoDecision"), None),
        (True, report(30), ("True", "ValidSignals"), 150.0),
        (True, report(180), ("Unknown", "NoDecision"), None),
        (True, report(9000), ("Unknown", "NoDecision"), None),
        (False, report(30), ("False", "NotScaled"), None),
        (False, {}, None, None),
    ],
)
def test_a_report_counts_while_it_is_recent(
    scaled: bool,
    status: dict[str, Any],
    expected: tuple[str, str] | None,
    looks_again: float | None,
) -> None:
    tier = tiers.tier(status=status, **({"scaling": {"maxReplicas": 4}} if scaled else {}))
    found, seconds = active(tier, NOW)
    assert [(each.word, each.reason) for each in found] == ([expected] if expected else [])
    assert seconds == looks_again


def test_an_old_report_is_named_with_its_time_and_a_remedy() -> None:
    [found] = active(tiers.tier(status=report(200), scaling={"maxReplicas": 4}), NOW)[0]
    assert "2026-11-27T11:56:40Z" in found.message
    assert "scaler.enabled" in found.message
