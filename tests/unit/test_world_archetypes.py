"""A world's archetypes: a user's ConfigMap, checked, and handed on as long as it is right."""

from typing import Any

import pytest
from gameai_contract import archetypes
from gameai_contract.names import ARCHETYPES_KEY, MANAGED_BY, PART_OF, WORLD_LABEL
from gameai_devcluster.testing.rendering import decided
from gameai_operator.api.views import config_map_refused, config_map_unread, config_map_view
from gameai_operator.api.worldview import WorldViewSpec
from gameai_operator.controller.kind import Decision
from gameai_operator.controller.manifest import PAUSED, Key
from gameai_operator.controller.references import UNREAD
from gameai_operator.kinds import WATCHED
from support import fakes, worlds
from support.fakes import World

WORLD = Key("GameWorld", "eldermoor", "moor")
NAMED = {"archetypes": {"configMap": {"name": "eldermoor-archetypes"}}}
CONFIG = WATCHED["ConfigMap"].resource
BROKEN = "version: 1\narchetypes:\n  guard: {actoins: [patrol]}\n"


def made(files: dict[str, str] | None) -> Decision:
    references = dict(worlds.READY_TIERS)
    references[worlds.ARCHETYPES] = None
    if files is not None:
        references[worlds.ARCHETYPES] = config_map_view({"data": files})
    return decided(worlds.resource(**NAMED), references=references)


def handed_on(decision: Decision) -> list[str]:
    return [
        each["data"][ARCHETYPES_KEY]
        for each in decision.wanted or ()
        if each["kind"] == "ConfigMap" and ARCHETYPES_KEY in each["data"]
    ]


def archetypes_condition(decision: Decision) -> tuple[bool | None, str, str]:
    found = next(each for each in decision.conditions if each.type == "ArchetypesValid")
    return found.status, found.reason, found.message


def test_right_archetypes_are_handed_on_as_one_document() -> None:
    other = "version: 1\narchetypes: {bard: {defaults: [Hm]}}\n"
    decision = made({"npcs.yaml": worlds.GUARDS, "bards.yml": other, "readme.txt": "no document"})
    [document] = handed_on(decision)
    found = archetypes.parse_document(document)
    assert list(found) == ["bard", "guard"]
    assert found == archetypes.parse({"a.yaml": worlds.GUARDS, "b.yaml": other})
    assert archetypes_condition(decision) == (True, "ArchetypesRead", "")
    assert decision.keep == ()


def test_broken_archetypes_are_reported_by_file_key_and_line_and_those_before_stay() -> None:
    decision = made({"npcs.yaml": BROKEN})
    status, reason, message = archetypes_condition(decision)
    assert (status, reason) == (False, "ArchetypesInvalid")
    assert "ConfigMap eldermoor-archetypes: npcs.yaml line 3: archetypes.guard.actoins" in message
    assert handed_on(decision) == []
    assert decision.keep == (Key("ConfigMap", "eldermoor", "moor-world-archetypes"),)


def test_a_missing_config_map_is_reported_with_the_command_that_labels_it() -> None:
    status, reason, message = archetypes_condition(made(None))
    assert (status, reason) == (False, "ArchetypesMissing")
    command = "label configmap eldermoor-archetypes app.kubernetes.io/part-of=gameai"
    assert command in message


def test_a_world_without_archetypes_has_none_and_is_well() -> None:
    decision = decided(worlds.resource(), references=worlds.READY_TIERS)
    assert archetypes_condition(decision) == (True, "NoArchetypes", "")
    assert (handed_on(decision), decision.keep) == ([], ())


def test_archetypes_never_enter_a_pod_template() -> None:
    def templates(decision: Decision) -> list[Any]:
        found = [each for each in decision.wanted or () if each["kind"] == "Deployment"]
        return [each["spec"]["template"] for each in found]

    with_them, without = made({"npcs.yaml": worlds.GUARDS}), made({"npcs.yaml": BROKEN})
    assert templates(with_them) == templates(without)


def users(version: int, text: str = worlds.GUARDS, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "eldermoor-archetypes",
            "namespace": "eldermoor",
            "uid": "c",
            "resourceVersion": str(version),
            "labels": {**PART_OF, **labels},
        },
        "data": {"npcs.yaml": text},
    }


def test_archetypes_that_the_api_server_does_not_give_are_no_mistake_of_the_user() -> None:
    references = dict(worlds.READY_TIERS)
    references[worlds.ARCHETYPES] = config_map_unread("the API server answers 500 no")
    status, reason, message = archetypes_condition(
        decided(worlds.resource(**NAMED), references=references)
    )
    assert (status, reason) == (False, "ArchetypesUnread")
    assert "answers 500 no; the world has no archetypes until then" in message


def test_while_archetypes_are_read_all_stays_as_it_was_and_the_rest_goes_on() -> None:
    references = dict(worlds.READY_TIERS)
    references[worlds.ARCHETYPES] = UNREAD
    first = decided(worlds.resource(**NAMED), references=references)
    assert archetypes_condition(first) == (None, "ArchetypesReading", "")
    assert handed_on(first) == []
    assert first.keep == (Key("ConfigMap", "eldermoor", "moor-world-archetypes"),)
    assert {"Deployment", "WorldView"} <= {each["kind"] for each in first.wanted}
    for status, valid in (("True", True), ("False", False)):
        known = {
            "type": "ArchetypesValid",
            "status": status,
            "reason": "Before",
            "message": "m",
            "lastTransitionTime": "2026-11-27T10:00:00Z",
        }
        other = {**known, "type": "Ready"}
        root = worlds.resource(**NAMED, status={"conditions": [other, known]})
        assert archetypes_condition(decided(root, references=references)) == (valid, "Before", "m")


def test_archetypes_beyond_their_namespaces_budget_are_refused_and_those_before_stay() -> None:
    references = dict(worlds.READY_TIERS)
    references[worlds.ARCHETYPES] = config_map_refused("1100 KiB, at most 1024")
    decision = decided(worlds.resource(**NAMED), references=references)
    status, reason, message = archetypes_condition(decision)
    assert (status, reason) == (False, "ArchetypesBudget")
    assert "1100 KiB, at most 1024; the world has no archetypes until then" in message
    assert decision.keep == (Key("ConfigMap", "eldermoor", "moor-world-archetypes"),)


async def see(world: World, document: dict[str, Any]) -> None:
    """An event of a user's ConfigMap, and its reading."""
    world.cluster.objects[worlds.ARCHETYPES] = document
    world.event_handler.on_upsert(CONFIG, document)
    await world.readings.read_due()


def watching() -> World:
    world = World()
    root = worlds.resource(**NAMED)
    world.event_handler.on_upsert(fakes.KINDS["GameWorld"].resource, world.cluster.put(root))
    world.queue._waiting.clear()
    return world


async def test_a_users_config_map_wakes_the_worlds_that_name_it_and_is_no_child() -> None:
    world = watching()
    await see(world, users(900))
    assert set(world.queue._waiting) == {WORLD}
    world.queue._waiting.clear()
    await see(world, users(901))
    assert set(world.queue._waiting) == set(), "nothing that others see has changed"
    await see(world, users(902, BROKEN))
    assert set(world.queue._waiting) == {WORLD}
    world.queue._waiting.clear()
    world.event_handler.on_delete(CONFIG, users(903, BROKEN))
    assert set(world.queue._waiting) == {WORLD}


async def test_a_users_config_map_with_a_worlds_label_is_never_taken_for_a_child() -> None:
    world = watching()
    await see(world, users(900, **{WORLD_LABEL: "moor"}))
    world.cluster.calls.clear()
    await world.reconciler.reconcile(WORLD)
    calls = [each for each in world.cluster.calls if "eldermoor-archetypes" in each]
    assert calls == []


async def test_a_users_config_map_that_goes_with_its_world_is_no_child_either() -> None:
    world = watching()
    config = users(900)
    owner = {"apiVersion": "gameai.dev/v1alpha1", "kind": "GameWorld", "name": "moor"}
    config["metadata"]["ownerReferences"] = [owner | {"uid": worlds.UID, "controller": True}]
    await see(world, config)
    world.cluster.calls.clear()
    await world.reconciler.reconcile(WORLD)
    calls = [each for each in world.cluster.calls if "eldermoor-archetypes" in each]
    assert calls == []
    assert (
        archetypes_condition(decided(worlds.resource(**NAMED), references=worlds.READY_TIERS))[0]
        is True
    )


async def test_a_config_map_of_ours_by_its_label_alone_is_kept_and_touches_none() -> None:
    world = watching()
    await see(world, users(900, **MANAGED_BY))
    assert world.store.get(worlds.ARCHETYPES) is not None, "else each resync would ask for it again"


async def test_a_broken_edit_leaves_what_was_handed_on_and_its_removal_takes_it_away() -> None:
    world = watching()
    await see(world, users(900))
    await world.reconciler.reconcile(WORLD)
    handed = Key("ConfigMap", "eldermoor", "moor-world-archetypes")
    first = world.cluster.objects[handed]
    await see(world, users(901, BROKEN))
    await world.reconciler.reconcile(WORLD)
    assert world.cluster.objects[handed] == first
    resource = fakes.KINDS["GameWorld"].resource
    world.event_handler.on_upsert(resource, world.cluster.put(worlds.resource()))
    await world.reconciler.reconcile(WORLD)
    assert handed not in world.cluster.objects


def shown(world: World) -> str:
    view = world.cluster.objects[Key("WorldView", "eldermoor", "moor")]
    return str(view["spec"].get("archetypes", ""))


async def test_gateways_get_the_archetypes_that_were_last_right() -> None:
    world = watching()
    await see(world, users(900))
    await world.reconciler.reconcile(WORLD)
    first = shown(world)
    assert set(archetypes.parse_document(first)) == {"guard"}
    await see(world, users(901, BROKEN))
    await world.reconciler.reconcile(WORLD)
    assert shown(world) == first
    conditions = world.cluster.objects[WORLD]["status"]["conditions"]
    [valid] = [each for each in conditions if each["type"] == "ArchetypesValid"]
    assert "the last valid version stays in use" in valid["message"]
    world.event_handler.on_delete(CONFIG, users(902, BROKEN))
    await world.reconciler.reconcile(WORLD)
    assert shown(world) == first
    resource = fakes.KINDS["GameWorld"].resource
    world.event_handler.on_upsert(resource, world.cluster.put(worlds.resource()))
    await world.reconciler.reconcile(WORLD)
    assert shown(world) == ""


async def test_of_a_paused_world_nothing_is_written_but_what_gateways_get() -> None:
    world = watching()
    await see(world, users(900))
    resource = fakes.KINDS["GameWorld"].resource
    root = worlds.resource(**NAMED, callers=[{"namespace": "a", "serviceAccount": "b"}])
    root["metadata"]["annotations"] = {PAUSED: "true"}
    world.event_handler.on_upsert(resource, world.cluster.put(root))
    world.cluster.calls.clear()
    await world.reconciler.reconcile(WORLD)
    assert world.cluster.calls == ["status", "apply WorldView/moor"]
    view = world.cluster.objects[Key("WorldView", "eldermoor", "moor")]
    assert view["spec"]["callers"] == ["a/b", "eldermoor/moor-world"]
    world.cluster.calls.clear()
    await world.reconciler.reconcile(WORLD)
    assert world.cluster.calls == [], "once"


@pytest.mark.parametrize("text", ["{", '{"version":1,"archetypes":{}}'])
def test_what_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(archetypes.ArchetypeError):
        archetypes.parse_document(text)


def test_all_files_together_have_a_limit_and_other_keys_do_not_count() -> None:
    half = "#" * (70 << 10)
    with pytest.raises(archetypes.ArchetypeError, match=r"a\.yaml, b\.yaml: together at most 128"):
        archetypes.parse({"a.yaml": half, "b.yaml": half})
    archetypes.parse({"a.yaml": worlds.GUARDS, "notes.md": half + half})


def test_all_files_together_have_at_most_so_many_archetypes() -> None:
    def file(letter: str) -> str:
        names = ", ".join(f"{letter}{n}: {{}}" for n in range(300))
        return f"version: 1\narchetypes: {{{names}}}\n"

    with pytest.raises(archetypes.ArchetypeError, match="together have at most 500"):
        archetypes.parse({"a.yaml": file("a"), "b.yaml": file("b")})
    assert (
        archetypes_condition(made({"a.yaml": file("a"), "b.yaml": file("b")}))[1]
        == "ArchetypesInvalid"
    )


@pytest.mark.parametrize("number", ["1:30", "1:30.5"])
def test_a_number_to_the_base_of_sixty_is_refused_with_its_line(number: str) -> None:
    text = f"version: 1\narchetypes:\n  a: {{cache: {{ttlSeconds: {number}}}}}\n"
    with pytest.raises(archetypes.ArchetypeError, match=r"a\.yaml line 3: 1:30.* quote it"):
        archetypes.parse({"a.yaml": text})


def test_a_step_may_be_a_fraction() -> None:
    text = "version: 1\narchetypes: {a: {cache: {fields: {fear: {step: 0.5}}}}}\n"
    rules = archetypes.parse({"a.yaml": text})["a"].cache
    assert rules is not None
    assert rules.fields["fear"].quantisation().quantise("0.7") == "1"


def test_every_caller_that_a_world_may_name_a_view_may_hold() -> None:
    longest = {"namespace": "n" * 63, "serviceAccount": "s" * 253, "uid": "u" * 63}
    callers = [longest | {"namespace": f"{number:063}"} for number in range(64)]
    services = [
        {"name": f"s{number}", "image": "i:1", "replicas": 1, "serviceAccountName": f"a{number}"}
        for number in range(32)
    ]
    decision = decided(worlds.resource(callers=callers, services=services))
    view = next(each for each in decision.wanted if each["kind"] == "WorldView")
    assert len(WorldViewSpec.model_validate(view["spec"]).callers) == 97
