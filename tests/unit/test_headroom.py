"""Placeholders that hold nodes for replicas to come."""

from dataclasses import replace
from typing import Any

import pytest
from gameai_devcluster import charts
from gameai_devcluster.testing.rendering import NOW
from gameai_operator.controller.kind import Decision, Observed
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.pod_facts import Pod
from gameai_operator.settings import NetworkSettings
from gameai_operator.tier import headroom
from gameai_operator.tier.decide import decide
from support import tiers
from support.tier_decisions import a_pod, children, said

CLASS = "gameai-headroom"
HELD = Key("Deployment", "eldermoor", "gold-headroom")
GPU: dict[str, Any] = {"hardware": {"instanceTypes": ["g5.xlarge"]}}


def decided(*pods: Pod, live: bool = True, priority_class: str = CLASS, **spec: Any) -> Decision:
    root = tiers.resource(**spec)
    below = children(root) if live else {}
    observed = Observed(root=root, children=below, pods=pods, now=NOW)
    network = NetworkSettings()
    return decide(observed, current=tiers.CURRENT, network=network, headroom_class=priority_class)


def rendered(decision: Decision) -> dict[str, Any]:
    [found] = [each for each in decision.wanted if each["metadata"]["name"] == "gold-headroom"]
    return dict(found)


def test_a_tier_without_headroom_has_no_placeholders() -> None:
    made = decided()
    assert not [e for e in made.wanted if e["metadata"]["name"] == "gold-headroom"]
    assert HELD not in made.replicas


def test_a_placeholder_has_the_images_and_resources_of_a_replica_and_its_place() -> None:
    made = decided(capacity={"headroomReplicas": 2, "spotPercent": 80}, **GPU)
    assert made.replicas[HELD] == 2
    deployments = {
        e["metadata"]["name"]: e["spec"]["template"]["spec"]
        for e in made.wanted
        if e["kind"] == "Deployment"
    }
    held, spot = deployments["gold-headroom"], deployments["gold-spot"]
    assert held["priorityClassName"] == CLASS
    assert held["terminationGracePeriodSeconds"] == 0
    for key in ("affinity", "tolerations", "topologySpreadConstraints"):
        assert held[key] == spot[key]
    # Without volumes there is nothing to own.
    assert {**held["securityContext"], "fsGroup": 2000} == spot["securityContext"]
    engine, agent = held["containers"]
    assert (engine["image"], engine["resources"]) == (
        spot["containers"][0]["image"],
        spot["containers"][0]["resources"],
    )
    assert (agent["image"], agent["resources"]) == (
        spot["initContainers"][0]["image"],
        spot["initContainers"][0]["resources"],
    )
    assert {tuple(each["command"]) for each in held["containers"]} == {("sleep", "infinity")}


def test_without_a_spot_share_placeholders_are_where_the_replicas_are() -> None:
    held = rendered(decided(capacity={"headroomReplicas": 1}))["spec"]["template"]["spec"]
    assert "affinity" not in held


def test_a_tier_of_an_older_template_has_no_agent_to_hold_room_for() -> None:
    tier = tiers.tier(capacity={"headroomReplicas": 1})
    [made] = headroom.deployments(tier, replace(tiers.CURRENT, revision=4), CLASS)
    assert [e["name"] for e in made["spec"]["template"]["spec"]["containers"]] == ["engine"]


def test_nothing_that_finds_the_pods_of_a_tier_finds_its_placeholders() -> None:
    made = decided(capacity={"headroomReplicas": 1})
    labels = rendered(made)["spec"]["template"]["metadata"]["labels"]
    for each in made.wanted:
        if each["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
            spec = each["spec"]
            chosen = spec.get("podSelector") or spec["selector"]
            wanted = chosen.get("matchLabels", chosen)
            assert not wanted.items() <= labels.items(), each["kind"]


@pytest.mark.parametrize(
    ("replicas", "scaling", "expected"),
    [(3, None, 2), (0, None, 0), (3, 10, 2), (9, 10, 1), (10, 10, 0)],
)
def test_placeholders_end_at_the_maximum_and_with_the_tier(
    replicas: int, scaling: int | None, expected: int
) -> None:
    spec = {} if scaling is None else {"scaling": {"maxReplicas": scaling}}
    tier = tiers.tier(capacity={"headroomReplicas": 2}, **spec)
    assert headroom.sizes(tier, replicas) == {HELD: expected}


def test_without_a_priority_class_the_tier_stalls_and_works() -> None:
    made = decided(capacity={"headroomReplicas": 2}, priority_class="")
    assert said(made, "Stalled").reason == "HeadroomNotConfigured"
    assert said(made).status is True
    assert not [e for e in made.wanted if e["metadata"]["name"] == "gold-headroom"]


def test_placeholders_that_cannot_be_created_say_why_and_take_nothing_from_the_tier() -> None:
    root = tiers.resource(capacity={"headroomReplicas": 2})
    below = children(root)
    words = "no PriorityClass with name nope was found"
    held = replace(
        next(iter(below.values())), key=HELD, facts=tiers.deployment(create_fault=words, wanted=2)
    )
    observed = Observed(root=root, children=below | {HELD: held}, pods=(), now=NOW)
    network = NetworkSettings()
    made = decide(observed, current=tiers.CURRENT, network=network, headroom_class=CLASS)
    assert (said(made).status, said(made).reason) == (True, "AllReplicasReady")
    assert said(made).message.endswith(f"HeadroomRefused: API server: {words}")
    assert said(made, "Stalled").status is False


def test_placeholders_stay_while_a_template_cannot_be_rendered() -> None:
    broken = {"vllm": {"args": ["--uds=x"]}}
    made = decided(capacity={"headroomReplicas": 2}, engine=broken)
    assert HELD in made.keep
    assert made.replicas[HELD] == 2


def test_a_placeholder_without_a_node_is_no_fault_of_the_tier_and_one_with_a_node_costs() -> None:
    waits = a_pod(group="headroom", unschedulable="0/3 nodes are available")
    placed = a_pod(group="headroom", name="q", uid="q", placed=True)
    serves = a_pod(name="r", uid="r", placed=True, ready=True)
    made = decided(waits, placed, serves, capacity={"headroomReplicas": 2}, **GPU)
    assert said(made).reason == "AllReplicasReady"
    assert said(made).message == "1 of 1 replicas are ready"
    assert made.status["cost"]["perHour"] == "2.012"
    assert made.status["cost"]["wantedPerHour"] == "3.018"
    assert made.status["readyReplicas"] == 1


def test_placeholders_are_priced_as_spot_where_the_tier_has_a_spot_share() -> None:
    placed = replace(a_pod(group="headroom", placed=True))
    made = decided(placed, capacity={"headroomReplicas": 1, "spotPercent": 50}, replicas=2, **GPU)
    assert made.status["cost"]["perHour"] == "0.480"


def test_the_chart_makes_the_class_and_tells_the_operator() -> None:
    documents = charts.rendered()
    [made] = [each for each in documents if each["kind"] == "PriorityClass"]
    assert made["value"] == -10
    name = made["metadata"]["name"]
    deployments = [each for each in documents if each["kind"] == "Deployment"]
    [operator] = [e for e in deployments if e["metadata"]["name"] == "gameai-operator"]
    arguments = operator["spec"]["template"]["spec"]["containers"][0]["args"]
    assert f"--headroom-priority-class={name}" in arguments
    own = charts.rendered(values={"headroom": {"priorityClass": "mine"}})
    assert not [each for each in own if each["kind"] == "PriorityClass"]
