from typing import Any

from gameai_operator import telemetry
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.object_metrics import NUMBERS, ObjectMetrics
from prometheus_client import CollectorRegistry, generate_latest

GOLD = Key("ModelTier", "eldermoor", "gold")
STATUS: dict[str, Any] = {
    "wantedReplicas": 6,
    "readyReplicas": 3,
    "cost": {"perHour": "3.018", "wantedPerHour": "6.036"},
    "conditions": [{"type": "Ready", "status": "True", "reason": "MinimumReplicasReady"}],
}


def text(objects: ObjectMetrics) -> str:
    registry = CollectorRegistry()
    registry.register(telemetry.ObjectCollector(objects))
    return generate_latest(registry).decode()


def test_each_object_shows_its_numbers_and_the_reason_of_each_condition() -> None:
    objects = ObjectMetrics()
    objects.see(GOLD, {"status": STATUS})
    found = text(objects)
    where = 'kind="ModelTier",name="gold",namespace="eldermoor"'
    assert f"gameai_operator_object_wanted_replicas{{{where}}} 6.0" in found
    assert f"gameai_operator_object_ready_replicas{{{where}}} 3.0" in found
    assert f"gameai_operator_object_cost_usd_per_hour{{{where}}} 3.018" in found
    assert 'reason="MinimumReplicasReady",status="True",type="Ready"} 1.0' in found


def test_an_object_that_is_gone_leaves_no_series() -> None:
    objects = ObjectMetrics()
    objects.see(GOLD, {"status": STATUS})
    objects.see(GOLD, None)
    objects.see(GOLD, None)
    assert "eldermoor" not in text(objects)


def test_series_are_bounded_and_those_left_out_are_counted() -> None:
    objects = ObjectMetrics(most=2)
    for number in range(5):
        objects.see(Key("GameWorld", "n", f"w{number}"), {"status": STATUS})
    assert len(list(objects)) == 2
    assert objects.left_out == 3
    objects.see(Key("GameWorld", "n", "w0"), None)
    objects.see(Key("GameWorld", "n", "w4"), {"status": STATUS})
    assert objects.left_out == 2
    assert "gameai_operator_objects_without_metrics 2.0" in text(objects)


def test_a_namespace_with_many_objects_leaves_series_to_others() -> None:
    objects = ObjectMetrics(most=4)
    for number in range(9):
        objects.see(Key("GameWorld", "flood", f"w{number}"), {"status": STATUS})
    for number in range(3):
        objects.see(Key("GameWorld", "calm", f"w{number}"), {"status": STATUS})
    held = sorted(f"{key.namespace}/{key.name}" for key, _ in objects)
    assert held == ["calm/w0", "calm/w1", "flood/w0", "flood/w1"]
    assert objects.left_out == 8


def test_a_world_has_no_replicas_and_a_strange_price_is_no_number() -> None:
    objects = ObjectMetrics()
    objects.see(GOLD, {"status": {"cost": {"perHour": "x"}}})
    objects.see(Key("GameWorld", "n", "moor"), {})
    assert [facts.numbers for _, facts in objects] == [(), ()]


def test_every_number_has_a_metric() -> None:
    assert set(NUMBERS) == set(telemetry._NUMBERS)
