"""Tiers whose driver is KEDA: their ScaledObject, what is read off it, and what the tier says of it."""

from typing import Any

import pytest
from gameai_devcluster.testing.rendering import NOW
from gameai_operator.api.scaling import Scaling
from gameai_operator.controller.kind import Absence, Decision, Observed
from gameai_operator.resources import scaled_object
from gameai_operator.resources.scaled_object import State
from gameai_operator.scaling import keda_state
from gameai_operator.scaling.behavior import Memory, Stamped
from gameai_operator.scaling.decide import Fleet
from gameai_operator.scaling.decide import decide as scaling_decision
from gameai_operator.scaling.recommendations import Recommendation, Recommendations
from gameai_operator.scaling.signals import Sample, Signals
from gameai_operator.settings import KedaSettings, NetworkSettings
from gameai_operator.tier.decide import decide
from support import tiers

KEDA = KedaSettings("scaler.gameai-system.svc:6000", "scaler-ca")


def decided(settings: KedaSettings = KEDA, **scaling: Any) -> Decision:
    root = tiers.resource(scaling={"maxReplicas": 9, "driver": "KEDA"} | scaling)
    observed = Observed(root=root, children={}, pods=(), now=NOW)
    return decide(observed, current=tiers.CURRENT, network=NetworkSettings(), keda=settings)


def made(settings: KedaSettings = KEDA, **scaling: Any) -> list[dict[str, Any]]:
    return [
        dict(each["spec"])
        for each in decided(settings, **scaling).wanted
        if each["kind"] == "ScaledObject"
    ]


def test_the_scaled_object_has_the_bounds_of_the_tier_and_asks_the_scaler() -> None:
    (spec,) = made(minReplicas=2)
    assert spec["scaleTargetRef"] == {
        "apiVersion": "gameai.dev/v1alpha1",
        "kind": "ModelTier",
        "name": "gold",
    }
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 9)
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    (trigger,) = spec["triggers"]
    assert trigger["metadata"] == {
        "scalerAddress": "scaler.gameai-system.svc:6000",
        "enableTLS": "true",
    }
    assert trigger["authenticationRef"] == {
        "name": "scaler-ca",
        "kind": "ClusterTriggerAuthentication",
    }


def test_without_an_authentication_the_scaler_is_asked_without_tls() -> None:
    (spec,) = made(KedaSettings("scaler:6000"))
    (trigger,) = spec["triggers"]
    assert trigger["metadata"] == {"scalerAddress": "scaler:6000"}
    assert "authenticationRef" not in trigger


@pytest.mark.parametrize(
    ("freeze", "up", "down"),
    [("None", "Max", "Min"), ("In", "Max", "Disabled"), ("All", "Disabled", "Disabled")],
)
def test_windows_rates_and_freezes_are_those_of_the_tier(freeze: str, up: str, down: str) -> None:
    (spec,) = made(freeze=freeze, scaleIn={"pods": 2, "periodSeconds": 90, "windowSeconds": 1200})
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert (behavior["scaleUp"]["selectPolicy"], behavior["scaleDown"]["selectPolicy"]) == (
        up,
        down,
    )
    assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 2, "periodSeconds": 90}]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 1200
    assert behavior["scaleUp"]["policies"] == [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ]
    # The recommendation has its tolerance already.
    assert {each["tolerance"] for each in behavior.values()} == {"0"}


@pytest.mark.parametrize("scaling", [{"driver": "BuiltIn"}, {"mode": "Recommend"}])
def test_there_is_none_where_keda_has_nothing_to_carry_out(scaling: dict[str, Any]) -> None:
    assert made(**scaling) == []
    conditions = {each.type: each for each in decided(KedaSettings(), **scaling).conditions}
    assert not conditions["Stalled"].status


def test_a_fixed_tier_has_none() -> None:
    root = tiers.resource()
    observed = Observed(root=root, children={}, pods=(), now=NOW)
    found = decide(observed, current=tiers.CURRENT, network=NetworkSettings(), keda=KEDA)
    assert "ScaledObject" not in {each["kind"] for each in found.wanted}


def test_without_an_address_of_the_scaler_the_tier_says_what_to_set() -> None:
    found = decided(KedaSettings())
    assert "ScaledObject" not in {each["kind"] for each in found.wanted}
    stalled = next(each for each in found.conditions if each.type == "Stalled")
    assert (stalled.status, stalled.reason) == (True, "ScalerAddressMissing")
    assert "--keda-scaler-address" in stalled.message


def test_the_conditions_of_a_scaled_object_are_kept_with_short_texts() -> None:
    row = {"type": "Ready", "status": "False", "reason": "TriggerError", "message": "x" * 9999}
    document = {"status": {"conditions": [row, {"type": "Fallback", "status": "?" * 9999}]}}
    found = scaled_object.states(document)
    assert found["Ready"] == State(status="False", reason="TriggerError", message="x" * 256)
    assert found["Fallback"] == State(status="Unknown", reason="", message="")
    assert scaled_object.states({}) == {}


def definition(behaviors: list[str], version: str = "v1alpha1") -> dict[str, Any]:
    fallback = {"properties": {"behavior": {"enum": behaviors}}}
    spec = {"properties": {"fallback": fallback}}
    schema = {"openAPIV3Schema": {"properties": {"spec": spec}}}
    return {"spec": {"versions": [{"name": version, "schema": schema}]}}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (definition(["static", "currentReplicas", "scalingModifiers"]), True),
        (definition(["static", "currentReplicas"]), False),
        (definition(["scalingModifiers"], version="v2"), False),
        ({"spec": {"versions": [{"name": "v1alpha1", "schema": {"openAPIV3Schema": {}}}]}}, False),
        ({"spec": {"versions": [{"name": "v1alpha1"}]}}, False),
    ],
    ids=["2.20", "2.19", "another version", "no properties", "no schema"],
)
def test_the_version_of_keda_is_known_by_what_its_schema_allows(
    document: dict[str, Any], *, expected: bool
) -> None:
    assert scaled_object.supported(document) is expected


def state(status: str, message: str = "") -> State:
    return State(status=status, reason="R", message=message)


GOOD = {
    "Ready": state("True"),
    "Fallback": state("False"),
    "Paused": state("Unknown"),
    "HPAActive": state("True"),
}


@pytest.mark.parametrize(
    ("absence", "states", "reason"),
    [
        (Absence.MISSING, None, "KedaNotInstalled"),
        (Absence.UNSUPPORTED, None, "KedaTooOld"),
        (Absence.FORBIDDEN, GOOD, "KedaForbidden"),
        (Absence.UNREADABLE, GOOD, "KedaUnreadable"),
        (None, None, "ScaledObjectMissing"),
        (None, {}, "KedaNotReady"),
        (None, GOOD | {"Ready": state("Unknown")}, "KedaNotReady"),
        (None, GOOD | {"Ready": state("False", "no such target")}, "KedaNotReady"),
        (None, GOOD | {"Paused": state("True")}, "KedaPaused"),
        (None, GOOD | {"Fallback": state("True")}, "KedaFallback"),
        (None, GOOD | {"HPAActive": state("False", "no metrics")}, "AutoscalerInactive"),
        (None, GOOD, ""),
        (None, {"Ready": state("True")}, ""),
    ],
)
def test_what_keeps_keda_from_acting_is_named(
    absence: Absence | None, states: dict[str, State] | None, reason: str
) -> None:
    found = keda_state.fault(absence, states, 120.0)
    assert (found.reason if found else "") == reason
    if found is not None:
        assert (found.type, found.status) == ("ScalingActive", False)


def test_a_keda_that_does_not_ask_is_named_whatever_its_conditions_were() -> None:
    found = keda_state.fault(None, GOOD, 121.0)
    assert found is not None
    assert found.reason == "KedaSilent"
    inactive = keda_state.fault(None, GOOD | {"HPAActive": state("False")}, 121.0)
    assert inactive is not None
    assert inactive.reason == "AutoscalerInactive"


def test_a_pause_names_its_annotations() -> None:
    row = {"type": "Paused", "status": "True", "reason": "ScaledObjectPaused", "message": "paused"}
    document = {
        "metadata": {"annotations": {"autoscaling.keda.sh/paused-scale-in": "true", "other": "x"}},
        "status": {"conditions": [row]},
    }
    paused = scaled_object.states(document)
    assert paused["Paused"].message == "autoscaling.keda.sh/paused-scale-in"
    found = keda_state.fault(None, {**GOOD, **paused}, 0.0)
    assert found is not None
    assert found.message == "KEDA is paused by autoscaling.keda.sh/paused-scale-in"


def test_who_is_asked_for_is_noted_for_tiers_alone() -> None:
    known = Recommendations()
    known.note_asked("a", "gold", 1.0)
    assert known.asked_at("a", "gold") is None
    known.put("a", "gold", Recommendation(replicas=3, busy=True, at=1.0))
    known.note_asked("a", "gold", 2.0)
    assert known.asked_at("a", "gold") == 2.0
    known.keep([])
    assert known.asked_at("a", "gold") is None


def test_a_recommendation_is_given_out_for_a_minute() -> None:
    known = Recommendations()
    assert known.get("a", "gold", 0.0) is None
    first = Recommendation(replicas=3, busy=True, at=100.0)
    known.put("a", "gold", first)
    assert known.get("a", "gold", 160.0) == first
    assert known.get("a", "gold", 161.0) is None
    assert known.get("b", "gold", 100.0) is None
    known.put("a", "silver", first)
    known.drop("a", "silver")
    known.drop("a", "silver")
    assert known.get("a", "silver", 100.0) is None
    known.keep([("a", "silver")])
    assert known.get("a", "gold", 100.0) is None


def test_the_recommendation_for_keda_is_the_number_before_windows_rates_and_freezes() -> None:
    scaling = Scaling.model_validate({"maxReplicas": 9, "driver": "KEDA", "freeze": "All"})
    fleet = Fleet(current=6, ready=6, target_ms=16)
    idle = Signals(queued=Sample(0.0, 100.0), in_flight=Sample(16.0, 100.0))
    memory = Memory(recommendations=(Stamped(99.0, 6),))
    found = scaling_decision(scaling, fleet, idle, memory, now=100.0, wall=NOW)
    assert (found.recommended, found.desired) == (2, 6)
    blind = scaling_decision(scaling, fleet, Signals(), memory, now=100.0, wall=NOW)
    assert (blind.recommended, blind.desired) == (6, 6)
