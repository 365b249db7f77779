from typing import Any

import pytest
from gameai_operator.controller.conditions import (
    MOST_MESSAGE,
    Condition,
    Transition,
    fold,
    transitions,
)

READY = Condition(type="Ready", status=True, reason="AllReplicasReady", message="2 of 2")
LATER = "2026-11-22T11:00:00Z"
OLD: dict[str, Any] = {
    "type": "Ready",
    "status": "True",
    "reason": "AllReplicasReady",
    "message": "2 of 2",
    "lastTransitionTime": "2026-11-22T10:00:00Z",
    "observedGeneration": 1,
}


def folded(condition: Condition, *before: dict[str, Any]) -> dict[str, Any]:
    return fold(before, [condition], generation=2, now=LATER)[0]


def test_a_new_condition_has_the_time_of_now() -> None:
    assert folded(READY) == {**OLD, "lastTransitionTime": LATER, "observedGeneration": 2}


def test_an_unchanged_status_keeps_its_time() -> None:
    other = Condition(type="Ready", status=True, reason="MinimumReplicasReady", message="1 of 2")
    assert folded(other, OLD) == {
        **OLD,
        "reason": "MinimumReplicasReady",
        "message": "1 of 2",
        "observedGeneration": 2,
    }


@pytest.mark.parametrize("status", [False, None])
def test_a_changed_status_has_the_time_of_now(status: bool | None) -> None:
    changed = Condition(type="Ready", status=status, reason="Starting")
    assert folded(changed, OLD)["lastTransitionTime"] == LATER


def test_each_condition_keeps_its_own_time() -> None:
    stalled = Condition(type="Stalled", status=False, reason="AsExpected")
    ready, second = fold([OLD], [READY, stalled], generation=1, now=LATER)
    assert ready == OLD
    assert (second["type"], second["lastTransitionTime"]) == ("Stalled", LATER)


def test_conditions_keep_the_order_in_which_they_are_decided() -> None:
    stalled = Condition(type="Stalled", status=False, reason="AsExpected")
    names = [entry["type"] for entry in fold([OLD], [stalled, READY], generation=1, now=LATER)]
    assert names == ["Stalled", "Ready"]


@pytest.mark.parametrize(("status", "word"), [(True, "True"), (False, "False"), (None, "Unknown")])
def test_a_status_is_spelled_as_the_api_spells_it(status: bool | None, word: str) -> None:
    assert folded(Condition(type="Ready", status=status, reason="X"))["status"] == word


def test_a_message_is_bounded() -> None:
    long = Condition(type="Ready", status=True, reason="X", message="a" * (MOST_MESSAGE + 5))
    assert folded(long)["message"] == "a" * MOST_MESSAGE


def test_a_first_condition_is_a_transition_from_nothing() -> None:
    assert transitions([], [OLD]) == [
        Transition(
            type="Ready", before=None, word="True", reason="AllReplicasReady", message="2 of 2"
        )
    ]


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({}, 0),
        ({"message": "other words"}, 0),
        ({"lastTransitionTime": LATER}, 0),
        ({"reason": "MinimumReplicasReady"}, 1),
        ({"status": "False"}, 1),
        ({"status": "False", "reason": "Starting"}, 1),
    ],
)
def test_only_a_changed_status_or_reason_is_a_transition(
    change: dict[str, str], count: int
) -> None:
    found = transitions([OLD], [{**OLD, **change}])
    assert len(found) == count
    assert all(each.before == "True" for each in found)


def test_each_condition_is_compared_with_its_own_past() -> None:
    stalled = {**OLD, "type": "Stalled", "status": "False", "reason": "AsExpected"}
    changed = {**stalled, "status": "True", "reason": "SecretMissing", "message": "m"}
    assert transitions([OLD, stalled], [OLD, changed]) == [
        Transition(type="Stalled", before="False", word="True", reason="SecretMissing", message="m")
    ]
