"""What is published of a scaling decision, and which worlds a tier serves."""

import dataclasses
import datetime
from typing import Any

import pytest
from gameai_operator.api.access import Access
from gameai_operator.api.scaling import Scaling
from gameai_operator.api.tier import ModelTier
from gameai_operator.controller.conditions import Condition
from gameai_operator.controller.manifest import Key
from gameai_operator.scaling import report
from gameai_operator.scaling.behavior import Memory
from gameai_operator.scaling.decide import Decision, Fleet, decide
from gameai_operator.scaling.decided import Decided
from gameai_operator.scaling.demand import demands
from gameai_operator.scaling.report import Change
from gameai_operator.scaling.signals import Sample, Signals
from support import tiers, worlds

NOW = 1000.0
WALL = datetime.datetime(2026, 11, 27, 12, 0, tzinfo=datetime.UTC)
FLEET = Fleet(current=4, ready=4, target_ms=16)
BUSY = Signals(
    queued=Sample(0.0, NOW),
    in_flight=Sample(60.0, NOW),
    players=Sample(250.0, NOW),
    requests_per_player=1.35,
)


def decided(signals: Signals = BUSY, **spec: Any) -> tuple[Scaling, Decision]:
    scaling = Scaling.model_validate({"maxReplicas": 50, **spec})
    return scaling, decide(scaling, FLEET, signals, Memory(), now=NOW, wall=WALL)


def conditions_by_type(signals: Signals = BUSY, *, rival: str = "", **spec: Any) -> dict[str, Any]:
    scaling, decision = decided(signals, **spec)
    found = report.conditions(scaling, FLEET, decision, signals, rival=rival)
    return {each.type: (each.word, each.reason) for each in found}


def test_status_holds_the_decision_with_its_signals_and_history() -> None:
    _, decision = decided()
    history = [Change(WALL, 4, 8, "queue")] * 12
    found = report.status(
        decision, BUSY, history, lambda at: WALL - datetime.timedelta(seconds=NOW - at), now=WALL
    )
    assert (found["desiredReplicas"], found["reason"], found["players"]) == (8, "queue", 250)
    assert found["message"] == "4 → 8 replicas; queue: 60 for 8 per replica asks for 8"
    assert found["signals"][0] == {
        "name": "queue",
        "value": "60",
        "target": "8 per replica",
        "wants": 8,
        "state": "Fresh",
        "observedAt": "2026-11-27T12:00:00Z",
    }
    assert [each["name"] for each in found["signals"]] == [
        "queue",
        "gpu",
        "players",
        "schedule",
        "latency",
    ]
    assert "observedAt" not in found["signals"][1]
    assert (
        found["history"]
        == [{"at": "2026-11-27T12:00:00Z", "from": 4, "to": 8, "reason": "queue"}] * 10
    )
    assert found["decidedAt"] == "2026-11-27T12:00:00Z"
    assert found["requestsPerPlayerPerMinute"] == "1.350"
    assert "players" not in report.status(decision, Signals(), [], lambda _: WALL, now=WALL)


@pytest.mark.parametrize(
    ("signals", "spec", "rival", "state"),
    [
        (BUSY, {}, "", ("True", "ValidSignals")),
        (Signals(), {}, "", ("False", "SignalsMissing")),
        (BUSY, {"mode": "Recommend"}, "", ("False", "Recommend")),
        (BUSY, {"freeze": "All"}, "", ("False", "Frozen")),
        (BUSY, {}, "kube-controller-manager", ("False", "OtherWriter")),
    ],
)
def test_a_condition_says_whether_the_tier_is_scaled(
    signals: Signals, spec: dict[str, Any], rival: str, state: tuple[str, str]
) -> None:
    assert conditions_by_type(signals, rival=rival, **spec)["ScalingActive"] == state


@pytest.mark.parametrize(
    ("p95", "idle", "state"),
    [
        (None, None, ("Unknown", "NoResponses")),
        (12.0, 10.0, ("True", "AsExpected")),
        (30.0, 10.0, ("False", "AboveTarget")),
        (30.0, 20.0, ("False", "TargetBelowServiceTime")),
    ],
)
def test_a_condition_says_whether_latency_is_within_its_target(
    p95: float | None, idle: float | None, state: tuple[str, str]
) -> None:
    def sample(value: float | None) -> Sample | None:
        return None if value is None else Sample(value, NOW)

    signals = Signals(p95_ms=sample(p95), idle_p95_ms=sample(idle))
    assert conditions_by_type(signals)["WithinLatency"] == state


def entry(manager: str, fields: dict[str, Any], subresource: str = "") -> dict[str, Any]:
    made = {"manager": manager, "operation": "Update", "fieldsV1": fields}
    return made | ({"subresource": subresource} if subresource else {})


REPLICAS: dict[str, Any] = {"f:spec": {"f:replicas": {}}}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([entry("kube-controller-manager", REPLICAS, "scale")], "kube-controller-manager"),
        ([entry("argocd", REPLICAS), entry("gameai-scaler", REPLICAS, "scale")], "argocd"),
        ([entry("kubectl", {"f:spec": {"f:class": {}}})], "something else"),
        ([], "something else"),
        # The watch is behind: it has a number that was replaced.
        ([entry("kubectl", {"f:spec": {"f:class": {}}}), entry("gameai-scaler", REPLICAS)], ""),
    ],
)
def test_the_other_writer_of_the_number_is_named(
    entries: list[dict[str, Any]], expected: str
) -> None:
    root = {"metadata": {"managedFields": entries}} if entries else {}
    assert report.other_writers(root, "gameai-scaler") == expected


def test_the_history_of_a_former_process_is_kept() -> None:
    row = {"at": "2026-11-27T12:00:00Z", "from": 4, "to": 8, "reason": "queue"}
    assert report.history({"status": {"scaling": {"history": [row]}}}) == (
        Change(WALL, 4, 8, "queue"),
    )
    assert report.history({}) == ()


def test_a_change_of_number_or_condition_is_reported_at_once() -> None:
    _, decision = decided()

    def urgent(history: list[Change], reason: str = "ValidSignals") -> dict[str, Any]:
        made = report.status(decision, BUSY, history, lambda _: WALL, now=WALL)
        condition = {"type": "ScalingActive", "status": "True", "reason": reason}
        return report.urgent({"scaling": made, "conditions": [condition], "performance": []})

    first = [Change(WALL, 4, 8, "queue")]
    assert urgent(first) == urgent(first)
    assert urgent(first) != urgent([Change(WALL, 8, 9, "queue"), *first])
    assert urgent(first) != urgent(first, "Frozen")


def test_worlds_whose_gauge_is_not_read_are_named() -> None:
    scaling, decision = decided()
    signals = dataclasses.replace(BUSY, unknown_players=("a/b", "a/c", "a/d", "a/e"))
    found = report.conditions(scaling, FLEET, decision, signals)[0]
    assert (found.type, found.status, found.reason) == ("ScalingActive", True, "PlayersUnknown")
    assert "within 60 s: a/b, a/c, a/d; players.expected counts" in found.message


def test_what_keeps_keda_from_acting_comes_before_the_decision() -> None:
    scaling, decision = decided(driver="KEDA")
    fault = Condition(type="ScalingActive", status=False, reason="KedaNotInstalled")
    found = report.conditions(scaling, FLEET, decision, BUSY, keda=fault)
    assert found[0] == fault


def test_a_change_by_keda_is_explained_by_the_decision() -> None:
    _, decision = decided()
    assert decision.because == "queue: 60 for 8 per replica asks for 8"


def world(name: str, *tiers: str, **spec: Any) -> dict[str, Any]:
    roles = [{"name": f"r{n}", "tierRef": {"name": tier}} for n, tier in enumerate(tiers)]
    made = worlds.resource(roles=roles, **spec)
    return {**made, "metadata": {**made["metadata"], "name": name}}


def test_a_tier_serves_the_worlds_that_run_can_be_read_and_name_it() -> None:
    namespace = world("moor")["metadata"]["namespace"]
    found = demands(
        [
            world("moor", "gold", "gold", "silver", players={"expected": 300}),
            world("frost", "gold", state="Hibernated", players={"expected": 900}),
            world("coast", "gold", "gone"),
            world("broken", "gold", players={"expected": "many"}),
            None,
        ],
        {f"{namespace}/{name}": Access() for name in ("gold", "silver")},
        lambda _: None,
    )
    assert f"{namespace}/gone" not in found
    gold = found[f"{namespace}/gold"]
    assert gold.worlds == (f"{namespace}/coast", f"{namespace}/moor")
    assert gold.expected == {f"{namespace}/moor": 300}
    assert found[f"{namespace}/silver"].worlds == (f"{namespace}/moor",)


@pytest.mark.parametrize(
    ("access", "labels", "admitted"),
    [
        ({}, {"studio": "games"}, False),
        ({"from": "All"}, None, True),
        (
            {"from": "Selector", "namespaceSelector": {"matchLabels": {"studio": "games"}}},
            {"studio": "games"},
            True,
        ),
        (
            {"from": "Selector", "namespaceSelector": {"matchLabels": {"studio": "games"}}},
            {"studio": "other"},
            False,
        ),
        (
            {"from": "Selector", "namespaceSelector": {"matchLabels": {"studio": "games"}}},
            None,
            False,
        ),
    ],
)
def test_a_world_that_a_tier_does_not_admit_asks_for_nothing(
    access: dict[str, Any], labels: dict[str, str] | None, *, admitted: bool
) -> None:
    stranger = worlds.resource(
        roles=[{"name": "r", "tierRef": {"name": "gold", "namespace": "shared"}}],
        players={"expected": 1_000_000},
    )
    found = demands([stranger], {"shared/gold": Access.model_validate(access)}, lambda _: labels)
    assert ("shared/gold" in found) is admitted


def test_a_silent_gateway_is_named() -> None:
    signals = dataclasses.replace(BUSY, silent=("10.0.0.7:8080",))
    scaling, decision = decided(signals)
    found = report.conditions(scaling, FLEET, decision, signals)[0]
    assert (found.status, found.reason) == (False, "SignalsMissing")
    assert found.message.startswith(
        "10.0.0.7:8080 did not answer within 60 s: no replica is removed"
    )
    assert decision.desired == 8, "what is seen may still add replicas"


def test_a_gateway_without_its_bus_is_named() -> None:
    signals = dataclasses.replace(BUSY, without_bus=("10.0.0.7:8080",))
    scaling, decision = decided(signals)
    found = report.conditions(scaling, FLEET, decision, signals)[0]
    assert (found.status, found.reason) == (False, "SignalsMissing")
    assert found.message.startswith("10.0.0.7:8080 did not reach the event bus")


def test_a_pause_is_read_off_the_tier() -> None:
    notes = {"gameai.dev/paused": "true"}
    tier = ModelTier.model_validate(tiers.resource())
    root: dict[str, Any] = {"metadata": {"annotations": notes}}
    key = Key("ModelTier", "a", "gold")
    assert Decided(key=key, root=root, tier=tier, at=0.0).paused
    assert not Decided(key=key, root={"metadata": {}}, tier=tier, at=0.0).paused
