from typing import Any

import pytest
from gameai_operator.controller.errors import ApiError
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.outcome import Outcome
from support import tiers
from support.fakes import ROOT, TIERS, World


@pytest.fixture
def world() -> World:
    made = World()
    made.see(tiers.resource())
    return made


def refused(status: int, message: str = "no", reason: str = "") -> ApiError:
    return ApiError(status, reason, message)


async def test_a_root_that_is_gone_is_buried(world: World) -> None:
    world.cluster.errors["status"] = refused(404)
    del world.cluster.objects[ROOT]
    await world.reconcile()
    assert world.store.get(ROOT) is None


async def test_a_child_no_longer_wanted_is_looked_at_and_deleted(world: World) -> None:
    await world.reconcile()
    root = world.cluster.objects[ROOT]
    root["spec"]["serviceAccountName"] = "mine"
    deployment = world.cluster.objects[Key("Deployment", "eldermoor", "gold-on-demand")]
    deployment["status"] = {
        "readyReplicas": 1,
        "replicas": 1,
        "updatedReplicas": 1,
        "conditions": [{"type": "Progressing", "reason": "NewReplicaSetAvailable"}],
    }
    world.see(deployment)
    world.see(root)
    calls, _ = await world.reconcile()
    assert "apply Deployment/gold-on-demand force" in calls
    assert not any(each.startswith("delete") for each in calls)
    deployment = world.cluster.objects[Key("Deployment", "eldermoor", "gold-on-demand")]
    world.see(
        deployment
        | {
            "status": {
                "readyReplicas": 1,
                "replicas": 1,
                "updatedReplicas": 1,
                "conditions": [{"type": "Progressing", "reason": "NewReplicaSetAvailable"}],
            }
        }
    )
    calls, _ = await world.reconcile()
    assert calls[-2:] == [
        "get ServiceAccount/gold",
        "delete ServiceAccount/gold ['resourceVersion', 'uid'] None",
    ]


async def test_a_child_that_is_another_object_now_is_not_deleted(world: World) -> None:
    await world.reconcile()
    key = Key("Service", "eldermoor", "stray")
    owner = world.cluster.objects[Key("Service", "eldermoor", "gold")]["metadata"][
        "ownerReferences"
    ]
    labels = {"gameai.dev/tier": "gold"}
    metadata = {"name": "stray", "namespace": "eldermoor", "uid": "s", "labels": labels}
    world.see({"kind": "Service", "metadata": metadata | {"ownerReferences": owner}})
    world.cluster.put({"kind": "Service", "metadata": metadata | {"uid": "other"}})
    calls, _ = await world.reconcile()
    assert calls == ["get Service/stray"]
    assert key in world.cluster.objects


def loading_pod(**metadata: Any) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "namespace": "eldermoor",
            "uid": "pod-1",
            "labels": {"gameai.dev/tier": "gold"},
            "deletionTimestamp": "2026-11-22T10:00:00Z",
            "deletionGracePeriodSeconds": 30,
            **metadata,
        },
        "spec": {"nodeName": "node"},
        "status": {},
    }


async def test_a_loading_pod_that_is_deleted_is_deleted_once_more(world: World) -> None:
    await world.reconcile()
    world.see(loading_pod())
    calls, _ = await world.reconcile()
    assert calls == ["delete Pod/p ['uid'] 1"]
    assert await world.reconcile() == ([], Outcome())


async def test_a_loading_pod_of_a_deleted_tier_is_deleted_once_more(world: World) -> None:
    metadata = {
        "namespace": "eldermoor",
        "name": "gold",
        "uid": tiers.UID,
        "resourceVersion": "999",
    }
    world.see(loading_pod())
    world.event_handler.on_delete(TIERS, {"metadata": metadata})
    assert (await world.reconcile())[0] == ["delete Pod/p ['uid'] 1"]


async def test_readiness_and_its_loss_are_events(world: World) -> None:
    await world.reconcile()
    deployment = world.cluster.objects[Key("Deployment", "eldermoor", "gold-on-demand")]
    complete = [{"type": "Progressing", "reason": "NewReplicaSetAvailable"}]
    for ready in (1, 0, 0):
        world.see(
            deployment | {"status": {"readyReplicas": ready, "replicas": 1, "conditions": complete}}
        )
        await world.reconcile()
    assert world.events == ["AllReplicasReady", "Starting"]


async def test_a_template_waits_for_its_number_of_replicas(world: World) -> None:
    """The template leaves the number out: written first, it would let the server fall back to 1."""
    world.see(tiers.resource(replicas=6))
    await world.reconcile()
    model = {"source": {"huggingFace": {"repository": "a/c"}}}
    changed = tiers.resource(replicas=6, model=model)["spec"]
    world.see(world.cluster.objects[ROOT] | {"spec": changed})
    world.cluster.errors["scale Deployment/gold-on-demand 6"] = refused(500, "webhook")
    calls, outcome = await world.reconcile()
    assert "scale Deployment/gold-on-demand 6" in calls
    assert "apply Deployment/gold-on-demand force" not in calls
    assert outcome.failed
    calls, _ = await world.reconcile()
    assert calls[-2:] == [
        "scale Deployment/gold-on-demand 6",
        "apply Deployment/gold-on-demand force",
    ]


async def test_a_refused_number_holds_up_no_template_that_does_not_need_it(world: World) -> None:
    """It has a field manager of its own since the first scaling: nothing falls back to 1."""
    world.see(tiers.resource(replicas=6))
    await world.reconcile()
    world.see(world.cluster.objects[ROOT] | {"spec": tiers.resource(replicas=7)["spec"]})
    await world.reconcile()
    model = {"source": {"huggingFace": {"repository": "a/c"}}}
    changed = tiers.resource(replicas=50, model=model)["spec"]
    world.see(world.cluster.objects[ROOT] | {"spec": changed})
    world.cluster.errors["scale Deployment/gold-on-demand 50"] = refused(403, "at most 20")
    calls, _ = await world.reconcile()
    assert "apply Deployment/gold-on-demand force" in calls
    assert "at most 20" in world.condition("Stalled")["message"]


async def test_a_restart_does_not_take_a_failure_back_and_give_it_again(world: World) -> None:
    call = "apply Service/gold"
    for _ in range(3):
        world.cluster.errors[call] = refused(500, "webhook")
        await world.reconcile()
    world.reconciler.begin_term()
    world.cluster.errors[call] = refused(500, "webhook")
    calls, _ = await world.reconcile()
    assert "status" not in calls
    assert world.condition("Reconciling")["reason"] == "ApplyFailing"


async def test_an_object_of_another_operator_holds_no_turn(world: World) -> None:
    await world.reconcile()
    root = world.cluster.objects[ROOT]
    world.slots.take(ROOT, healthy=True)
    world.claims.running.add("b/b")
    world.see(root | {"status": root["status"] | {"operator": "b/b"}}, generation=2)
    await world.reconcile()
    assert not world.slots.holds(ROOT)


async def test_a_refused_fill_in_is_reported(world: World) -> None:
    spec = {k: v for k, v in tiers.resource()["spec"].items() if k != "replicas"}
    world.see(tiers.resource() | {"spec": spec})
    world.cluster.errors["scale ModelTier/gold 1"] = refused(403, "no rights to patch")
    await world.reconcile()
    assert "no rights to patch" in world.condition("Stalled")["message"]


async def test_a_number_that_a_policy_overrides_is_tried_again_now_and_then(world: World) -> None:
    world.see(tiers.resource(replicas=4))
    await world.reconcile()
    key = Key("Deployment", "eldermoor", "gold-on-demand")
    live = world.cluster.objects[key]
    world.see(live | {"spec": live["spec"] | {"replicas": 2}})
    calls, outcome = await world.reconcile()
    assert "scale Deployment/gold-on-demand 4" in calls
    world.see(live | {"spec": live["spec"] | {"replicas": 2}})
    calls, outcome = await world.reconcile()
    assert not any(call.startswith("scale") for call in calls)
    assert outcome.requeue_after_seconds is not None
    world.clock += 301.0
    calls, _ = await world.reconcile()
    assert "scale Deployment/gold-on-demand 4" in calls


async def test_a_deployment_that_could_not_be_taken_over_is_neither_scaled_nor_counted(
    world: World,
) -> None:
    labels = {"gameai.dev/tier": "gold", "app.kubernetes.io/managed-by": "gameai-operator"}
    stranger = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "gold-on-demand",
            "namespace": "eldermoor",
            "uid": "x",
            "labels": labels,
            "annotations": {"gameai.dev/manifest-hash": "forged"},
        },
        "spec": {"replicas": 3},
        "status": {"replicas": 3, "readyReplicas": 3, "updatedReplicas": 3},
    }
    world.see(stranger)
    world.cluster.errors["apply Deployment/gold-on-demand force"] = refused(422, "selector")
    calls, _ = await world.reconcile()
    assert not any(call.startswith("scale") for call in calls)
    assert world.condition("Ready")["status"] == "False"


async def test_a_deployment_that_makes_no_progress_is_nudged_once_and_set_back(
    world: World,
) -> None:
    """Its controller has lost sight of it: all pods answer, of a former template."""
    await world.reconcile()
    key = Key("Deployment", "eldermoor", "gold-on-demand")

    def see(observed: int) -> None:
        reported = [{"type": "Progressing", "reason": "DeploymentResumed"}]
        counts = {"replicas": 1, "readyReplicas": 1, "observedGeneration": observed}
        status = {**counts, "conditions": reported}
        world.see(world.cluster.objects[key] | {"status": status}, generation=7)

    see(7)
    calls, outcome = await world.reconcile()
    assert (calls, outcome) == (["status"], Outcome(requeue_after_seconds=60.0))
    world.clock = 56.0
    assert await world.reconcile() == ([], Outcome(requeue_after_seconds=4.0))
    world.clock = 60.0
    calls, _ = await world.reconcile()
    assert calls == ["scale Deployment/gold-on-demand 2"]
    see(6)
    assert (await world.reconcile())[0] == []
    see(7)
    calls, _ = await world.reconcile()
    assert calls == ["scale Deployment/gold-on-demand 1"]
