from typing import Any

from gameai_operator.controller.errors import ApiError
from gameai_operator.controller.manifest import Key
from gameai_operator.kinds import WATCHED
from support import fakes, tiers, worlds
from support.fakes import World

WORLD = Key("GameWorld", "eldermoor", "moor")
WORLDS = fakes.KINDS["GameWorld"].resource


def with_world(world: World) -> dict[str, Any]:
    """A world that refers to the tier; what was queued until now is forgotten."""
    roles = [{"name": "dialogue", "tierRef": {"name": "gold"}}]
    root = world.cluster.put(worlds.resource(roles=roles))
    world.event_handler.on_upsert(WORLDS, root)
    world.queue._waiting.clear()
    return root


async def test_a_tier_that_becomes_ready_wakes_the_worlds_that_refer_to_it() -> None:
    world = World()
    with_world(world)
    world.see(tiers.resource())
    assert WORLD in world.queue._waiting
    world.queue._waiting.clear()
    counted = tiers.resource(status={"readyReplicas": 1})
    world.see(counted)
    assert WORLD not in world.queue._waiting, "mere counts wake no world"
    ready = {"conditions": [{"type": "Ready", "status": "True", "reason": "x"}]}
    world.see(tiers.resource(status=ready))
    assert WORLD in world.queue._waiting


async def test_a_tier_that_goes_wakes_the_worlds_that_refer_to_it() -> None:
    world = World()
    world.see(tiers.resource())
    with_world(world)
    world.event_handler.on_delete(fakes.TIERS, world.cluster.put(tiers.resource()))
    assert WORLD in world.queue._waiting


async def test_a_namespaces_labels_wake_the_worlds_that_need_them_and_none_reconciles_it() -> None:
    world = World()
    roles = [{"name": "dialogue", "tierRef": {"name": "gold", "namespace": "shared"}}]
    world.event_handler.on_upsert(WORLDS, world.cluster.put(worlds.resource(roles=roles)))
    world.queue._waiting.clear()
    namespaces = WATCHED["Namespace"].resource
    document = {
        "metadata": {
            "name": "eldermoor",
            "uid": "n",
            "resourceVersion": "900",
            "labels": {"a": "b"},
        }
    }
    world.event_handler.on_upsert(namespaces, document)
    assert set(world.queue._waiting) == {WORLD}


async def test_one_world_at_a_time_takes_a_new_image_and_the_next_is_woken_after_it() -> None:
    world = World()
    old = {"workloadsImage": "old", "templateRevision": 1}
    for name in ("a", "b"):
        root = worlds.resource(status=old)
        root["metadata"] |= {"name": name, "uid": f"uid-{name}"}
        world.event_handler.on_upsert(WORLDS, world.cluster.put(root))
    first, second = (Key("GameWorld", "eldermoor", name) for name in ("a", "b"))
    world.reconciler.begin_term()
    await world.reconciler.reconcile(first)
    await world.reconciler.reconcile(second)
    images = {
        key.name: world.cluster.objects[key]["status"]["workloadsImage"] for key in (first, second)
    }
    assert images == {"a": "gameai-workloads:0.1.0", "b": "old"}
    world.queue._waiting.clear()
    world.event_handler.on_delete(WORLDS, world.cluster.put(world.cluster.objects[first]))
    await world.reconciler.reconcile(first)
    assert second in world.queue._waiting


def test_a_world_shows_nothing_to_others() -> None:
    assert fakes.KINDS["GameWorld"].project(worlds.resource()) is None


async def test_a_configuration_is_applied_only_onto_the_version_it_was_derived_from() -> None:
    world = World()
    root = world.cluster.put(worlds.resource(services=[]))
    world.event_handler.on_upsert(WORLDS, root)
    await world.reconciler.reconcile(WORLD)
    config = Key("ConfigMap", "eldermoor", "moor-world")
    known = world.store.get(config)
    assert known is not None
    # Somebody else's write that no watch has reported yet.
    newer = world.cluster.put(world.cluster.objects[config])
    world.cluster.errors["apply ConfigMap/moor-world force"] = ApiError(409, "Conflict", "changed")
    changed = worlds.resource(services=[], seed=9)
    world.event_handler.on_upsert(WORLDS, world.cluster.put(changed | {"status": root["status"]}))
    assert (await world.reconciler.reconcile(WORLD)).failed
    seen = world.store.get(config)
    assert seen is not None
    assert seen.version == int(newer["metadata"]["resourceVersion"]), "the live one was looked at"
    await world.reconciler.reconcile(WORLD)
    assert '"seed": 9' in world.cluster.objects[config]["data"]["world.json"]
    assert world.cluster.pinned[-1] == str(seen.version)


async def test_a_missing_tier_is_reported_with_the_nearest_of_its_namespace() -> None:
    world = World()
    world.see(tiers.resource(name="silver"))
    roles = [{"name": "dialogue", "tierRef": {"name": "silvr"}}]
    world.event_handler.on_upsert(
        WORLDS, world.cluster.put(worlds.resource(services=[], roles=roles))
    )
    await world.reconciler.reconcile(WORLD)
    conditions = world.cluster.objects[WORLD]["status"]["conditions"]
    message = next(each["message"] for each in conditions if each["type"] == "TiersReady")
    assert "did you mean silver?" in message
