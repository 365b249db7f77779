"""Pods that the operator deletes itself: loading ones that end, and those on nodes that are about to be taken away."""

from typing import Any

import pytest
from gameai_operator.controller.errors import ApiError
from gameai_operator.controller.manifest import Key
from gameai_operator.kinds import WATCHED
from gameai_operator.resources.node import interruption
from support import tiers
from support.fakes import ROOT, World

SPOT_ITN = "aws-node-termination-handler/spot-itn"


def node(name: str, *taints: str) -> dict[str, Any]:
    return {
        "kind": "Node",
        "metadata": {"name": name, "namespace": "", "uid": f"uid-{name}"},
        "spec": {"taints": [{"key": each, "effect": "NoSchedule"} for each in taints]},
    }


def pod(name: str, on: str, grace_seconds: int = 30, **metadata: Any) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "eldermoor",
            "uid": f"uid-{name}",
            "labels": {"gameai.dev/tier": "gold", "gameai.dev/capacity": "spot"},
            **metadata,
        },
        "spec": {"nodeName": on, "terminationGracePeriodSeconds": grace_seconds},
        "status": {"phase": "Running"},
    }


@pytest.fixture
async def world() -> World:
    made = World()
    made.see(tiers.resource())
    await made.reconcile()
    for number in (1, 2):
        made.see(node(f"n{number}"))
        made.see(pod(f"p{number}", f"n{number}"))
    await made.reconcile()
    return made


@pytest.mark.parametrize(
    ("taints", "expected"),
    [
        ((), None),
        (("node.kubernetes.io/unreachable", "karpenter.sh/disrupted"), None),
        ((SPOT_ITN,), f"taint {SPOT_ITN}"),
        (("gameai.dev/interruption",), "taint gameai.dev/interruption"),
    ],
)
def test_a_node_says_by_its_taints_that_it_ends_soon(
    taints: tuple[str, ...], expected: str | None
) -> None:
    assert interruption(node("n", *taints)) == expected


def test_a_taint_that_keeps_no_pod_away_is_no_interruption() -> None:
    taints = [{"key": SPOT_ITN, "effect": "PreferNoSchedule"}]
    assert interruption({"spec": {"taints": taints}}) is None


def test_a_node_without_a_spec_does_not_end() -> None:
    assert interruption({"metadata": {"name": "n"}}) is None


async def test_the_pods_of_an_interrupted_node_are_deleted_once(world: World) -> None:
    world.see(node("n1", SPOT_ITN))
    calls, _ = await world.reconcile()
    assert [each for each in calls if each.startswith("delete")] == ["delete Pod/p1 ['uid'] 30"]
    assert world.events == ["Interrupted"]
    calls, _ = await world.reconcile()
    assert not [each for each in calls if each.startswith("delete")]
    assert world.events == ["Interrupted"], "one Event for a node, however often it is seen"


async def test_an_interruption_wakes_the_tiers_with_pods_on_that_node_and_no_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[Key] = []
    monkeypatch.setattr(world.queue, "add", lambda key, _: woken.append(key))
    world.see(node("n3", SPOT_ITN))
    assert woken == []
    world.see(node("n2", SPOT_ITN))
    assert woken == [ROOT]
    # What else changes of a node matters to no tier.
    world.see(node("n2", SPOT_ITN, "other"))
    assert woken == [ROOT]
    world.see(node("n2"))
    assert woken == [ROOT, ROOT]


async def test_a_long_grace_period_ends_before_the_node_does(world: World) -> None:
    world.see(pod("p3", "n3", grace_seconds=320))
    world.see(node("n3", SPOT_ITN))
    calls, _ = await world.reconcile()
    assert "delete Pod/p3 ['uid'] 105" in calls


async def test_a_pod_that_cannot_be_deleted_holds_up_no_other_and_no_write(world: World) -> None:
    for number in (1, 2):
        world.see(node(f"n{number}", SPOT_ITN))
    refused = ApiError(403, "Forbidden", "denied by a webhook")
    world.cluster.errors["delete Pod/p1 ['uid'] 30"] = refused
    world.see(tiers.resource(replicas=3), generation=2)
    with pytest.raises(ApiError, match="denied by a webhook"):
        await world.reconcile()
    assert "delete Pod/p2 ['uid'] 30" in world.cluster.calls
    assert "status" in world.cluster.calls
    calls, _ = await world.reconcile()
    assert [each for each in calls if each.startswith("delete")] == ["delete Pod/p1 ['uid'] 30"]


async def test_a_failing_write_holds_up_no_deletion(world: World) -> None:
    world.see(node("n1", SPOT_ITN))
    world.see(tiers.resource(replicas=3), generation=2)
    world.cluster.errors["status"] = ApiError(500, "InternalError", "etcd")
    with pytest.raises(ApiError, match="etcd"):
        await world.reconcile()
    assert "delete Pod/p1 ['uid'] 30" in world.cluster.calls


async def test_a_node_that_is_still_there_after_two_minutes_keeps_its_pods(world: World) -> None:
    """Pods that tolerate the taint would come back, and be deleted again, without end."""
    world.see(node("n1", SPOT_ITN))
    await world.reconcile()
    world.clock += 121
    world.see(pod("p9", "n1"))
    calls, _ = await world.reconcile()
    assert not [each for each in calls if each.startswith("delete")]
    world.see(node("n1"))
    await world.reconcile()
    world.see(node("n1", SPOT_ITN))
    calls, _ = await world.reconcile()
    assert "delete Pod/p9 ['uid'] 30" in calls


async def test_a_pod_that_already_ends_is_left_alone(world: World) -> None:
    world.see(
        pod("p1", "n1", deletionTimestamp="2026-11-28T09:00:00Z", deletionGracePeriodSeconds=1)
    )
    world.see(node("n1", SPOT_ITN))
    calls, _ = await world.reconcile()
    assert not [each for each in calls if each.startswith("delete")]


async def test_a_paused_tier_keeps_its_pods(world: World) -> None:
    root = world.cluster.objects[ROOT]
    world.see(root, annotations={"gameai.dev/paused": "true"}, generation=1)
    world.see(node("n1", SPOT_ITN))
    calls, _ = await world.reconcile()
    assert not [each for each in calls if each.startswith("delete")]


async def test_a_node_that_is_gone_ends_no_pods(world: World) -> None:
    world.see(node("n1", SPOT_ITN))
    found = world.cluster.objects[Key("Node", "", "n1")]
    world.event_handler.on_delete(
        WATCHED["Node"].resource, {"metadata": {**found["metadata"], "resourceVersion": "9000"}}
    )
    calls, _ = await world.reconcile()
    assert not [each for each in calls if each.startswith("delete")]
