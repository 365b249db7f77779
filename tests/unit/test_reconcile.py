import itertools
from typing import Any

import pytest
from gameai_operator.controller.errors import ApiError
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.outcome import Outcome
from support import tiers
from support.fakes import ROOT, World


@pytest.fixture
def world() -> World:
    made = World()
    made.see(tiers.resource())
    return made


APPLIES = [
    "status",
    "get ServiceAccount/gold",
    "apply ServiceAccount/gold",
    "apply NetworkPolicy/gold",
    "apply Service/gold",
    "apply PodDisruptionBudget/gold-on-demand",
    "apply Deployment/gold-on-demand",
]


async def test_a_new_tier_is_reported_then_made(world: World) -> None:
    assert await world.reconcile() == (APPLIES, Outcome())
    assert world.condition("Ready")["reason"] == "Starting"
    assert world.events == []


async def test_a_second_look_calls_none(world: World) -> None:
    await world.reconcile()
    assert await world.reconcile() == ([], Outcome())


async def test_an_unknown_root_calls_none(world: World) -> None:
    assert await world.reconciler.reconcile(Key("ModelTier", "eldermoor", "none")) == Outcome()
    assert world.cluster.calls == []


async def test_a_root_that_is_being_deleted_is_left_alone(world: World) -> None:
    world.see(tiers.resource(), deletionTimestamp="2026-11-22T10:00:00Z")
    assert await world.reconcile() == ([], Outcome())


async def test_a_paused_root_is_reported_once(world: World) -> None:
    await world.reconcile()
    root = world.cluster.objects[ROOT]
    world.see(root, annotations={"gameai.dev/paused": "true"})
    calls, _ = await world.reconcile()
    assert calls == ["status"]
    assert world.condition("Ready")["message"].startswith("Paused:")
    assert await world.reconcile() == ([], Outcome())


async def test_a_root_paused_from_the_start_says_so(world: World) -> None:
    world.see(tiers.resource(), annotations={"gameai.dev/paused": "true"})
    await world.reconcile()
    assert (world.condition("Ready")["status"], world.condition("Ready")["reason"]) == (
        "Unknown",
        "Paused",
    )
    assert await world.reconcile() == ([], Outcome())


def refused(status: int, message: str = "no", reason: str = "") -> ApiError:
    return ApiError(status, reason, message)


async def test_a_taken_name_stalls_and_is_tried_again_later(world: World) -> None:
    stranger = {
        "kind": "Service",
        "metadata": {"name": "gold", "namespace": "eldermoor", "uid": "x"},
    }
    world.cluster.put(stranger)
    world.cluster.errors["apply Service/gold"] = refused(409)
    calls, outcome = await world.reconcile()
    assert "get Service/gold" in calls
    assert "apply Service/gold force" not in calls
    assert outcome.requeue_after_seconds == 30.0
    assert world.condition("Stalled")["reason"] == "NameConflict"
    assert "belongs to another writer" in world.condition("Stalled")["message"]
    assert world.events == ["NameConflict"]


async def test_a_refusal_is_not_taken_back_while_it_lasts(world: World) -> None:
    world.cluster.put(
        {
            "kind": "ServiceAccount",
            "metadata": {"name": "gold", "namespace": "eldermoor", "uid": "x"},
        }
    )
    await world.reconcile()
    calls, outcome = await world.reconcile()
    assert "status" not in calls
    assert outcome.requeue_after_seconds == 30.0


async def test_a_restart_does_not_take_a_refusal_back_and_give_it_again(world: World) -> None:
    world.cluster.put(
        {
            "kind": "ServiceAccount",
            "metadata": {"name": "gold", "namespace": "eldermoor", "uid": "x"},
        }
    )
    await world.reconcile()
    world.reconciler.begin_term()
    calls, _ = await world.reconcile()
    assert calls == ["get ServiceAccount/gold"]
    del world.cluster.objects[Key("ServiceAccount", "eldermoor", "gold")]
    world.reconciler.begin_term()
    calls, outcome = await world.reconcile()
    assert calls[-1] == "status"
    assert outcome == Outcome()
    assert world.condition("Stalled")["status"] == "False"


async def test_our_own_object_that_the_store_had_lost_is_taken_by_force(world: World) -> None:
    await world.reconcile()
    key = Key("Service", "eldermoor", "gold")
    live = world.cluster.objects[key]
    world.store.drop(key, live["metadata"]["uid"], world.cluster.version, 0.0)
    world.cluster.errors["apply Service/gold"] = refused(409)
    calls, _ = await world.reconcile()
    assert calls == ["apply Service/gold", "get Service/gold", "apply Service/gold force"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (refused(422, "selector: immutable"), "ObjectRefused"),
        (refused(400), "ObjectRefused"),
        (
            refused(500, "failed to create typed patch object (x): duplicate entries"),
            "ObjectRefused",
        ),
        (refused(403, "exceeded quota"), "Forbidden"),
    ],
    ids=["422", "400", "typed-patch", "403"],
)
async def test_what_can_never_succeed_stalls_with_the_servers_words(
    world: World, error: ApiError, reason: str
) -> None:
    world.cluster.errors["apply Deployment/gold-on-demand"] = error
    await world.reconcile()
    assert world.condition("Stalled")["reason"] == reason
    assert error.message in world.condition("Stalled")["message"]


async def test_a_forbidden_service_account_stalls_and_the_rest_is_made(world: World) -> None:
    world.cluster.errors["apply ServiceAccount/gold"] = refused(403, "quota")
    calls, _ = await world.reconcile()
    assert world.condition("Stalled")["reason"] == "Forbidden"
    assert "apply PodDisruptionBudget/gold-on-demand" in calls


@pytest.mark.parametrize(
    "error", [refused(403, "quota"), refused(422, "invalid")], ids=["403", "422"]
)
async def test_pods_wait_for_the_limits_that_were_meant_for_them(
    world: World, error: ApiError
) -> None:
    world.cluster.errors["apply NetworkPolicy/gold"] = error
    calls, _ = await world.reconcile()
    assert world.condition("Stalled")["status"] == "True"
    assert "NetworkPolicy gold" in world.condition("Stalled")["message"]
    assert not any("Deployment" in call for call in calls)
    calls, _ = await world.reconcile()
    assert "apply Deployment/gold-on-demand" in calls
    assert world.condition("Stalled")["status"] == "False"


@pytest.mark.parametrize("status", [0, 429, 500, 503, 504])
async def test_what_may_succeed_later_fails_alone_and_is_tried_again(
    world: World, status: int
) -> None:
    world.cluster.errors["apply Service/gold"] = refused(status)
    calls, outcome = await world.reconcile()
    assert calls == APPLIES
    assert outcome.failed
    assert world.condition("Reconciling")["reason"] == "RollingOut"
    assert await world.reconcile() == (["apply Service/gold"], Outcome())


async def test_a_write_that_keeps_failing_is_a_condition_until_it_succeeds(world: World) -> None:
    for _ in range(3):
        world.cluster.errors["apply Service/gold"] = refused(500, "webhook: connection refused")
        await world.reconcile()
    reconciling = world.condition("Reconciling")
    assert (reconciling["status"], reconciling["reason"]) == ("True", "ApplyFailing")
    assert reconciling["message"] == "Service gold: 500 webhook: connection refused"
    assert world.condition("Ready")["reason"] == "ApplyFailing"
    assert "ApplyFailing" in world.events
    await world.reconcile()
    assert world.condition("Reconciling")["reason"] != "ApplyFailing"


async def test_a_failing_policy_stops_no_scaling(world: World) -> None:
    await world.reconcile()
    world.see(world.cluster.objects[ROOT] | {"spec": tiers.resource(replicas=7)["spec"]})
    del world.cluster.objects[Key("NetworkPolicy", "eldermoor", "gold")]
    live = world.store.get(Key("NetworkPolicy", "eldermoor", "gold"))
    assert live is not None
    world.store.drop(live.key, live.uid, 10_000, 0.0)
    world.cluster.errors["apply NetworkPolicy/gold"] = refused(500, "webhook")
    calls, outcome = await world.reconcile()
    assert "scale Deployment/gold-on-demand 7" in calls
    assert outcome.failed


async def test_a_delete_that_is_forbidden_is_reported(world: World) -> None:
    world.see(tiers.resource(capacity={"spotPercent": 80}, replicas=1))
    await world.reconcile()
    root = world.cluster.objects[ROOT]
    world.see(root | {"spec": tiers.resource()["spec"]})
    call = "delete PodDisruptionBudget/gold-spot ['resourceVersion', 'uid'] None"
    key = Key("Deployment", "eldermoor", "gold-spot")
    spot = world.cluster.objects[key]
    world.see(spot | {"spec": spot["spec"] | {"replicas": 0}, "status": {"replicas": 0}})
    world.cluster.errors[call] = refused(403, "no rights to delete")
    await world.reconcile()
    assert "no rights to delete" in world.condition("Stalled")["message"]


async def test_what_a_rival_keeps_changing_is_left_longer_each_time_and_the_rival_named(
    world: World,
) -> None:
    await world.reconcile()
    key = Key("Service", "eldermoor", "gold")
    repairs, states = 0, []
    for _ in range(600):  # ten minutes
        live = world.cluster.objects[key]
        ours = live["metadata"]["managedFields"][0]
        if "f:ports" in ours["fieldsV1"].get("f:spec", {}):
            fields = {**ours["fieldsV1"], "f:spec": {"f:type": {}}}
            rival = {
                "manager": "other-operator",
                "operation": "Apply",
                "fieldsV1": {"f:spec": {"f:ports": {}}},
            }
            world.see(live, managedFields=[{**ours, "fieldsV1": fields}, rival])
        calls, _ = await world.reconcile()
        repairs += calls.count("apply Service/gold force")
        states.append(world.condition("Stalled")["status"])
        world.clock += 1.0
    assert 5 <= repairs <= 14
    changes = sum(a != b for a, b in itertools.pairwise(states))
    assert changes == 1, "it is contended from the first wait on, for as long as the fight lasts"
    stalled = world.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "Contended")
    assert "other-operator keeps changing" in stalled["message"]


async def test_an_object_of_another_running_operator_is_left_alone(world: World) -> None:
    await world.reconcile()
    root = world.cluster.objects[ROOT]
    assert root["status"]["operator"] == world.claims.own
    world.claims.running.add("b/b")
    world.see(root | {"status": root["status"] | {"operator": "b/b"}}, generation=2)
    assert await world.reconcile() == ([], Outcome(requeue_after_seconds=10.0))
    assert world.reconciler.foreign == {ROOT: "b/b"}
    world.claims.running.clear()
    calls, _ = await world.reconcile()
    assert calls == ["status"]
    assert world.reconciler.foreign == {}


async def test_replicas_that_a_manifest_left_out_are_filled_in_and_stay(world: World) -> None:
    world.see(tiers.resource(replicas=6))
    await world.reconcile()
    spec = {k: v for k, v in tiers.resource()["spec"].items() if k != "replicas"}
    world.see(world.cluster.objects[ROOT] | {"spec": spec})
    calls, _ = await world.reconcile()
    assert calls == ["scale ModelTier/gold 6"]
    assert world.cluster.objects[ROOT]["spec"]["replicas"] == 6
    assert await world.reconcile() == ([], Outcome())


async def test_a_template_that_cannot_be_rendered_stops_no_scaling(world: World) -> None:
    await world.reconcile()
    broken = {"vllm": {"args": ["--no-such-flag"], "image": "vllm/vllm-openai:v0.32.0"}}
    world.see(
        world.cluster.objects[ROOT] | {"spec": tiers.resource(engine=broken, replicas=7)["spec"]}
    )
    calls, _ = await world.reconcile()
    assert "scale Deployment/gold-on-demand 7" in calls
    assert not any(call.startswith("apply Deployment") for call in calls)


async def test_an_edited_list_key_is_cleared_by_a_patch_of_the_spec(world: World) -> None:
    await world.reconcile()
    live = world.cluster.objects[Key("Service", "eldermoor", "gold")]
    fields = live["metadata"]["managedFields"][0]["fieldsV1"]
    del fields["f:spec"]["f:ports"]
    world.see(live)
    world.cluster.errors["apply Service/gold force"] = refused(422, "Duplicate value")
    calls, _ = await world.reconcile()
    assert calls == [
        "apply Service/gold force",
        "get Service/gold",
        "replace Service/gold",
        "apply Service/gold force",
    ]


async def test_a_lost_object_with_an_edited_list_key_is_cleared_too(world: World) -> None:
    await world.reconcile()
    live = world.cluster.objects[Key("Service", "eldermoor", "gold")]
    world.store.drop(Key("Service", "eldermoor", "gold"), live["metadata"]["uid"], 10_000, 0.0)
    world.cluster.version = 20_000
    world.cluster.errors["apply Service/gold"] = refused(409)
    world.cluster.errors["apply Service/gold force"] = refused(422, "Duplicate value")
    calls, _ = await world.reconcile()
    assert calls[-4:] == [
        "apply Service/gold force",
        "get Service/gold",
        "replace Service/gold",
        "apply Service/gold force",
    ]


@pytest.mark.parametrize("status", [404, 409])
async def test_a_status_that_came_too_late_looks_at_the_root_again(
    world: World, status: int
) -> None:
    world.cluster.errors["status"] = refused(status)
    calls, outcome = await world.reconcile()
    assert calls == ["status", "get ModelTier/gold"]
    assert outcome.requeue_after_seconds is not None


async def test_a_turn_is_left_once_status_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next object is seen under way while this one still seems to be."""
    world.slots.take(ROOT, healthy=True)
    held: list[bool] = []
    write = world.cluster.apply_status

    async def apply_status(*written: Any) -> dict[str, Any]:
        held.append(world.slots.holds(ROOT))
        return await write(*written)

    monkeypatch.setattr(world.cluster, "apply_status", apply_status)
    world.cluster.errors["status"] = refused(409)
    await world.reconcile()
    assert world.slots.holds(ROOT)
    await world.reconcile()
    assert held == [True, True]
    assert not world.slots.holds(ROOT)


async def test_mere_counts_are_reported_at_intervals_and_states_at_once(world: World) -> None:
    await world.reconcile()
    deployment = world.cluster.objects[Key("Deployment", "eldermoor", "gold-on-demand")]
    complete = [{"type": "Progressing", "reason": "NewReplicaSetAvailable"}]
    moving = {"replicas": 1, "updatedReplicas": 1, "conditions": []}
    world.see(deployment | {"status": moving})
    assert await world.reconcile() == ([], Outcome(requeue_after_seconds=2.0))
    world.clock = 1.5
    assert await world.reconcile() == ([], Outcome(requeue_after_seconds=0.5))
    world.clock = 2.0
    assert await world.reconcile() == (["status"], Outcome())
    counts = {"replicas": 1, "readyReplicas": 1, "updatedReplicas": 1}
    world.see(deployment | {"status": {**counts, "conditions": complete}})
    assert await world.reconcile() == (["status"], Outcome())
    assert world.condition("Ready")["status"] == "True"


async def test_a_fight_that_is_over_is_no_longer_reported(world: World) -> None:
    await test_what_a_rival_keeps_changing_is_left_longer_each_time_and_the_rival_named(world)
    for _ in range(1000):
        await world.reconcile()
        world.clock += 1.0
    assert world.condition("Stalled")["status"] == "False"
