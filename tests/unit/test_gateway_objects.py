"""What the gateway reads off a cluster's objects, and the view that they make."""

import json
from typing import Any

import pytest
import worlds
from gameai import archetypes, contract
from gameai.contract import LADDER, LatencyClass, Rung
from gameai.gateway import objects
from gameai.gateway.kept import Archetypes, Library
from gameai.gateway.objects import (
    ArchetypesFound,
    Assembly,
    Replica,
    WorldFound,
    ready_addresses,
    replica,
    tier,
)
from gameai.gateway.view import Endpoint, View
from gameai_devcluster.testing.rendering import decided, owned
from tiers import resource as tier_resource


def pod(**changes: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": "gold-x",
        "namespace": "shared",
        "labels": {contract.TIER_LABEL: "gold", contract.MODEL_REVISION_LABEL: "r1"},
    }
    port = {"name": "http", "containerPort": 8000}
    status = {"podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "True"}]}
    made = {
        "metadata": metadata | changes.pop("metadata", {}),
        "spec": {"containers": [{"name": "proxy"}, {"name": "vllm", "ports": [port]}]},
        "status": status | changes.pop("status", {}),
    }
    return made | changes


def containers(*ports: dict[str, Any], name: str = "vllm") -> dict[str, Any]:
    return {"containers": [{"name": name, "ports": list(ports)}]}


@pytest.mark.parametrize(
    ("changes", "address"),
    [
        ({}, "10.0.0.7:8000"),
        ({"status": {"podIP": "fd00::7"}}, "[fd00::7]:8000"),
        ({"spec": containers({"name": "http", "containerPort": 9000})}, "10.0.0.7:9000"),
        ({"spec": containers({"name": "rpc", "containerPort": 9000})}, "10.0.0.7:8000"),
        ({"spec": containers(name="other")}, "10.0.0.7:8000"),
        ({"metadata": {"deletionTimestamp": "2026-11-22T10:00:00Z"}}, None),
        ({"metadata": {"labels": {}}}, None),
        ({"status": {"podIP": ""}}, None),
        ({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, None),
        ({"status": {"conditions": None}}, None),
    ],
)
def test_a_pod_is_a_replica_while_it_is_ready_and_not_told_to_end(
    changes: dict[str, Any], address: str | None
) -> None:
    found = replica(pod(**changes))
    assert (found.endpoint.address if found else None) == address
    if found:
        assert (found.tier, found.endpoint.revision) == ("shared/gold", "r1")


@pytest.mark.parametrize(
    ("arguments", "slots"),
    [
        ([], 128),
        (["--max-num-seqs=64"], 64),
        (["--max-num-seqs", "32"], 32),
        (["--max_num_seqs 16"], 16),
        (["--max-num-seqs=64", "--max-num-seqs=8"], 8),
        (["--max-num-seqs=0"], 128),
        (["--max-num-seqs"], 128),
        (["--max-num-seqs=99999"], 4096),
        (["--max-num-seqs-of-others=7"], 128),
    ],
)
def test_slots_are_those_of_the_tiers_arguments(arguments: list[str], slots: int) -> None:
    found = tier(tier_resource(engine={"vllm": {"args": arguments}}))
    assert found is not None
    assert found.view.slots == slots


def test_a_tier_is_read_with_its_defaults() -> None:
    found = tier(tier_resource())
    assert found is not None
    seen = found.view
    assert (seen.key, seen.tier_class, seen.model) == ("eldermoor/gold", LatencyClass.GOLD, "gold")
    assert (seen.target_ms, seen.context_tokens, seen.endpoints) == (16, 4096, ())
    assert found.closed
    given = tier_resource(latency={"targetMs": 40})
    given["spec"]["model"]["maxContextTokens"] = 9000
    told = tier(given)
    assert told is not None
    assert (told.view.target_ms, told.view.context_tokens) == (40, 9000)


def test_a_tier_of_a_class_that_only_a_newer_operator_knows_is_passed_over() -> None:
    assert tier(tier_resource(**{"class": "Iron"})) is None


def config(document: Any) -> Any:
    return objects.config(document, Library())


def published(**spec: Any) -> list[dict[str, Any]]:
    """What the operator itself publishes of a world."""
    root = worlds.resource(**spec)
    decision = decided(root, references=worlds.READY_TIERS | spec.pop("seen", {}))
    return [each for each in owned(root, decision) if each["kind"] == "ConfigMap"]


def the_config(**spec: Any) -> dict[str, Any]:
    found = published(**spec)
    return next(each for each in found if each["metadata"]["name"] == "moor-world")


EVERY: dict[str, Any] = {
    "roles": [
        {
            "name": "reaction",
            "tierRef": {"name": "gold", "namespace": "shared"},
            "deadlineMs": 20,
            "fallback": ["Default"],
            "deferredTo": "dialogue",
            "share": {"weight": 3, "maxInFlight": 9},
        },
        {"name": "dialogue", "tierRef": {"name": "silver"}},
        {"name": "story", "tierRef": {"name": "missing"}},
    ],
    "callers": [{"namespace": "servers", "serviceAccount": "match"}],
    "archetypes": {"configMap": {"name": "eldermoor-archetypes"}},
}


def test_what_the_operator_publishes_of_a_world_the_gateway_reads() -> None:
    found = [config(each) for each in published(**EVERY)]
    [world] = [each for each in found if isinstance(each, WorldFound)]
    [npcs] = [each for each in found if isinstance(each, ArchetypesFound)]
    assert world.view.key == npcs.world == "eldermoor/moor"
    assert world.view.epoch == worlds.UID
    assert world.view.callers == {"eldermoor/moor-world", "servers/match"}
    assert world.open == {"reaction", "dialogue"}
    reaction, dialogue = world.view.roles["reaction"], world.view.roles["dialogue"]
    assert (reaction.tier, reaction.deadline_ms, reaction.ladder) == (
        "shared/gold",
        20,
        (Rung.DEFAULT,),
    )
    assert (reaction.deferred_to, reaction.weight, reaction.most_in_flight) == ("dialogue", 3, 9)
    assert (dialogue.tier, dialogue.deadline_ms, dialogue.ladder) == ("eldermoor/silver", 0, LADDER)
    assert npcs.archetypes == Archetypes(archetypes.parse({"npcs.yaml": worlds.GUARDS}))


OWNER = {
    "apiVersion": "gameai.dev/v1alpha1",
    "kind": "GameWorld",
    "name": "moor",
    "uid": "x",
    "controller": True,
}


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": {}},
        {"ownerReferences": []},
        {"ownerReferences": [OWNER | {"name": "other"}]},
        {"ownerReferences": [OWNER | {"kind": "Deployment"}]},
        {"ownerReferences": [OWNER | {"apiVersion": "example.com/v1"}]},
        {"ownerReferences": [OWNER | {"controller": False}]},
        {"name": "another"},
    ],
)
def test_only_the_operators_own_word_speaks_for_a_world(changes: dict[str, Any]) -> None:
    document = the_config()
    assert config({**document, "metadata": document["metadata"] | changes}) is None


def test_an_object_of_a_world_that_tells_nothing_is_passed_over() -> None:
    document = the_config()
    assert config({**document, "data": {"other": "x"}}) is None
    assert config({**document, "data": None}) is None


def test_a_document_that_cannot_be_read_is_an_error_and_not_an_empty_world() -> None:
    document = the_config()
    with pytest.raises(ValueError, match="Expecting"):
        config({**document, "data": {contract.CONFIG_KEY: "{"}})


def test_another_owner_before_the_world_changes_nothing() -> None:
    document = the_config()
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "y"}
    owners = [other, *document["metadata"]["ownerReferences"]]
    found = config({**document, "metadata": document["metadata"] | {"ownerReferences": owners}})
    assert isinstance(found, WorldFound)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("deadlineMs", 0.5e9),
        ("deadlineMs", -1),
        ("weight", 0),
        ("weight", 1e9),
        ("maxInFlight", 0),
    ],
)
def test_numbers_that_the_operator_would_not_write_are_refused(field: str, value: float) -> None:
    document = the_config(**EVERY)
    content = json.loads(document["data"][contract.CONFIG_KEY])
    role = content["roles"]["dialogue"]
    (role if field == "deadlineMs" else role["share"])[field] = value
    with pytest.raises(ValueError, match=f"{field} must be"):
        config({**document, "data": {contract.CONFIG_KEY: json.dumps(content)}})


def test_more_roles_than_a_world_may_have_are_refused() -> None:
    document = the_config(**EVERY)
    content = json.loads(document["data"][contract.CONFIG_KEY])
    content["roles"] = {f"role-{n}": content["roles"]["dialogue"] for n in range(33)}
    with pytest.raises(ValueError, match="at most 32 roles"):
        config({**document, "data": {contract.CONFIG_KEY: json.dumps(content)}})


def test_rungs_of_a_newer_operator_are_passed_over() -> None:
    document = the_config(**EVERY)
    text = document["data"][contract.CONFIG_KEY].replace('"StaleCache"', '"Oracle"')
    found = config({**document, "data": {contract.CONFIG_KEY: text}})
    assert isinstance(found, WorldFound)
    assert found.view.roles["dialogue"].ladder == (Rung.FRESH_CACHE, Rung.DEFAULT)


def gold(name: str = "gold", namespace: str = "shared", **spec: Any) -> Any:
    root = tier_resource(**({"access": {"from": "All"}} | spec))
    root["metadata"] |= {"name": name, "namespace": namespace}
    return tier(root)


def view(
    assembly: Assembly | None = None, tiers: Any = None, pods: Any = (), gateways: int = 2
) -> View:
    configs: list[Any] = [config(each) for each in published(**EVERY)]
    seen = [gold(), gold("silver", "eldermoor", latency={"targetMs": 300})]
    return (assembly or Assembly()).view(seen if tiers is None else tiers, pods, configs, gateways)


def test_a_role_without_a_deadline_has_its_tiers() -> None:
    roles = view().worlds["eldermoor/moor"].roles
    assert (roles["reaction"].deadline_ms, roles["dialogue"].deadline_ms) == (20, 300)


def test_replicas_belong_to_their_tier_in_a_steady_order() -> None:
    pods = [Replica("shared/gold", Endpoint(address=each)) for each in ("10.0.0.9:1", "10.0.0.2:1")]
    made = view(pods=[*pods, Replica("shared/iron", Endpoint(address="10.0.0.1:1"))])
    found = [each.address for each in made.tiers["shared/gold"].endpoints]
    assert found == ["10.0.0.2:1", "10.0.0.9:1"]
    assert made.tiers["eldermoor/silver"].endpoints == ()


def test_a_role_whose_tier_is_not_to_be_had_keeps_its_ladder_and_reaches_nobody() -> None:
    pods = [Replica("eldermoor/missing", Endpoint(address="10.0.0.2:1"))]
    # The tier is there, but the operator says that this world may not use it.
    made = view(tiers=[gold(), gold("missing", "eldermoor")], pods=pods)
    story = made.worlds["eldermoor/moor"].roles["story"]
    assert story.tier == "eldermoor/missing (not available)"
    assert made.tiers[story.tier].endpoints == ()
    assert made.tiers[story.tier].tier_class is LatencyClass.GOLD
    assert made.tiers["eldermoor/missing"].endpoints
    # And here nobody knows of it.
    unknown = made.worlds["eldermoor/moor"].roles["dialogue"]
    assert unknown.tier == "eldermoor/silver (not available)"
    assert (unknown.deadline_ms, made.tiers[unknown.tier].endpoints) == (250, ())


def test_a_world_that_did_not_change_stays_the_same_object() -> None:
    assembly = Assembly()
    configs: list[Any] = [config(each) for each in published(**EVERY)]
    tiers = [gold(), gold("silver", "eldermoor")]
    first = assembly.view(tiers, [], configs, 1)
    pods = [Replica("shared/gold", Endpoint(address="10.0.0.2:1"))]
    second = assembly.view(tiers, pods, configs, 1)
    assert second.worlds["eldermoor/moor"] is first.worlds["eldermoor/moor"]
    assert second != first
    third = assembly.view([gold(latency={"targetMs": 9}), tiers[1]], pods, configs, 1)
    assert third.worlds["eldermoor/moor"] is not first.worlds["eldermoor/moor"]


@pytest.mark.parametrize(
    ("access", "open_to_it"), [({"from": "All"}, True), ({"from": "Same"}, False), ({}, False)]
)
def test_a_tier_that_is_closed_stays_closed_whatever_a_world_says(
    access: dict[str, Any], open_to_it: bool
) -> None:
    made = view(tiers=[gold(access=access), gold("silver", "eldermoor", access={})])
    roles = made.worlds["eldermoor/moor"].roles
    assert (roles["reaction"].tier == "shared/gold") is open_to_it
    assert roles["dialogue"].tier == "eldermoor/silver"


def test_there_is_at_least_one_gateway_and_worlds_have_archetypes() -> None:
    made = view(gateways=0)
    assert made.gateways == 1
    assert set(made.worlds["eldermoor/moor"].archetypes) == {"guard"}


def test_addresses_of_a_slice_count_while_they_are_ready() -> None:
    endpoints = [
        {"addresses": ["10.0.0.1"], "conditions": {"ready": True}},
        {"addresses": ["10.0.0.2"], "conditions": {"ready": False}},
        {"addresses": ["10.0.0.3"]},
    ]
    assert ready_addresses({"endpoints": endpoints}) == ("10.0.0.1", "10.0.0.3")
    assert ready_addresses({}) == ()
