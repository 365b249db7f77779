"""What the gateway reads off a cluster's objects, and the view that they make."""

from typing import Any

import pytest
from gameai.gateway.routing.archetypes import NONE, Archetypes, Library
from gameai.gateway.routing.snapshot import Endpoint, View
from gameai.gateway.sources import decode
from gameai.gateway.sources.decode import (
    Assembly,
    Replica,
    WorldFound,
    ready_addresses,
    replicas,
    tier,
)
from gameai_contract import archetypes
from gameai_contract.inference import FALLBACK_CHAIN, FallbackStep, LatencyClass
from gameai_contract.names import TIER_LABEL
from gameai_devcluster.testing.rendering import decided, owned
from support import worlds
from support.tiers import resource as tier_resource

SERVICE = "kubernetes.io/service-name"


def slice_of(*endpoints: dict[str, Any], **changes: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": "gold-x",
        "namespace": "shared",
        "labels": {TIER_LABEL: "gold", SERVICE: "gold"},
    }
    ports = [{"name": "metrics", "port": 1}, {"name": "http", "port": 8000}]
    return {"metadata": metadata, "ports": ports, "endpoints": list(endpoints)} | changes


# Of another Service, which somebody labelled.
OTHERS = {
    "name": "x",
    "namespace": "shared",
    "labels": {TIER_LABEL: "gold", SERVICE: "mine"},
}


def endpoint(address: str = "10.0.0.7", pod: str = "gold-spot-6f7-x2k", **conditions: bool) -> Any:
    made: dict[str, Any] = {"addresses": [address], "conditions": conditions}
    return made | ({"targetRef": {"kind": "Pod", "name": pod}} if pod else {})


@pytest.mark.parametrize(
    ("document", "addresses"),
    [
        (slice_of(endpoint()), ["10.0.0.7:8000"]),
        (slice_of(endpoint(ready=True)), ["10.0.0.7:8000"]),
        (slice_of(endpoint("fd00::7")), ["[fd00::7]:8000"]),
        (slice_of(endpoint(), endpoint("10.0.0.8")), ["10.0.0.7:8000", "10.0.0.8:8000"]),
        (slice_of(endpoint(ready=False)), []),
        (slice_of(endpoint(ready=True, terminating=True)), []),
        (slice_of(), []),
        (slice_of(endpoint(), endpoints=None), []),
        (slice_of(endpoint(), ports=None), []),
        (slice_of(endpoint(), ports=[{"name": "rpc", "port": 9000}]), []),
        (slice_of(endpoint(), metadata={"name": "x", "namespace": "n"}), []),
        (slice_of(endpoint(), metadata=OTHERS), []),
    ],
)
def test_replicas_are_the_addresses_of_a_tiers_slice_that_answer(
    document: dict[str, Any], addresses: list[str]
) -> None:
    found = replicas(document)
    assert [each.endpoint.address for each in found] == addresses
    assert {each.tier for each in found} <= {"shared/gold"}


def test_a_replicas_revision_is_its_replica_set() -> None:
    found = replicas(slice_of(endpoint(), endpoint("10.0.0.8", pod="")))
    assert [each.endpoint.revision for each in found] == ["gold-spot-6f7", ""]


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
        (["--max-num-seqs", "²"], 128),
        (["--max-num-seqs=" + "9" * 5000], 128),
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
    decoded = tier(given)
    assert decoded is not None
    assert (decoded.view.target_ms, decoded.view.context_tokens) == (40, 9000)


def test_a_tier_of_a_class_that_only_a_newer_operator_knows_is_passed_over() -> None:
    assert tier(tier_resource(**{"class": "Iron"})) is None


def published(**spec: Any) -> dict[str, Any]:
    """What the operator itself tells gateways of a world."""
    root = worlds.resource(**spec)
    decision = decided(root, references=worlds.READY_TIERS)
    return next(each for each in owned(root, decision) if each["kind"] == "WorldView")


def found(document: dict[str, Any]) -> WorldFound:
    decoded = decode.world(document, Library())
    assert decoded is not None
    return decoded


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
    "callers": [
        {"namespace": "servers", "serviceAccount": "match"},
        {"namespace": "servers", "serviceAccount": "two", "uid": "u-1"},
    ],
    "archetypes": {"configMap": {"name": "eldermoor-archetypes"}},
}


def test_what_the_operator_shows_of_a_world_the_gateway_reads() -> None:
    decoded = found(published(**EVERY))
    assert decoded.view.key == "eldermoor/moor"
    assert decoded.view.epoch == worlds.UID
    assert decoded.view.callers == {"eldermoor/moor-world", "servers/match", "servers/two@u-1"}
    assert decoded.open == {"reaction", "dialogue"}
    reaction, dialogue = decoded.view.roles["reaction"], decoded.view.roles["dialogue"]
    assert (reaction.tier, reaction.deadline_ms, reaction.fallback_chain) == (
        "shared/gold",
        20,
        (FallbackStep.DEFAULT,),
    )
    assert (reaction.deferred_to, reaction.weight, reaction.most_in_flight) == ("dialogue", 3, 9)
    assert (dialogue.tier, dialogue.deadline_ms, dialogue.fallback_chain) == (
        "eldermoor/silver",
        0,
        FALLBACK_CHAIN,
    )
    assert decoded.archetypes == Archetypes(archetypes.parse({"npcs.yaml": worlds.GUARDS}))


@pytest.mark.parametrize(
    "change",
    [
        {"ownerReferences": []},
        {"ownerReferences": None},
        {"deletionTimestamp": "2026-11-27T10:00:00Z"},
        {"name": "another"},
    ],
)
def test_a_view_without_its_world_is_not_believed(change: dict[str, Any]) -> None:
    document = published(**EVERY)
    document["metadata"] = {**document["metadata"], **change}
    assert decode.world(document, Library()) is None


@pytest.mark.parametrize(
    "change", [{"uid": "of an earlier one"}, {"kind": "Deployment"}, {"apiVersion": "a.example/v1"}]
)
def test_a_view_of_another_owner_is_not_believed(change: dict[str, Any]) -> None:
    document = published(**EVERY)
    [owner] = document["metadata"]["ownerReferences"]
    document["metadata"]["ownerReferences"] = [owner | change]
    assert decode.world(document, Library()) is None


def test_a_pod_that_stands_in_two_slices_is_one_replica() -> None:
    twice = [Replica("shared/gold", Endpoint(address="10.0.0.2:1")) for _ in range(2)]
    assert len(view(pods=twice).tiers["shared/gold"].endpoints) == 1


def test_a_role_without_a_ladder_has_none_and_a_world_may_have_nothing() -> None:
    role = {"name": "strict", "tierRef": {"name": "silver"}, "fallback": []}
    decoded = found(published(roles=[role]))
    assert decoded.view.roles["strict"].fallback_chain == ()
    assert decoded.archetypes is NONE
    assert found(published(roles=[])).view.roles == {}


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
    document = published(**EVERY)
    document["spec"]["roles"][1][field] = value
    with pytest.raises(ValueError, match=f"{field} must be"):
        found(document)


def test_rungs_of_a_newer_operator_are_passed_over() -> None:
    document = published(**EVERY)
    document["spec"]["roles"][1]["fallback"] = ["FreshCache", "Oracle", "Default"]
    assert found(document).view.roles["dialogue"].fallback_chain == (
        FallbackStep.FRESH_CACHE,
        FallbackStep.DEFAULT,
    )


DECODED = found(published(**EVERY))


def gold(name: str = "gold", namespace: str = "shared", **spec: Any) -> Any:
    root = tier_resource(**({"access": {"from": "All"}} | spec))
    root["metadata"] |= {"name": name, "namespace": namespace}
    return tier(root)


def view(
    assembly: Assembly | None = None, tiers: Any = None, pods: Any = (), gateways: int = 2
) -> View:
    seen = [gold(), gold("silver", "eldermoor", latency={"targetMs": 300})]
    return (assembly or Assembly()).view(
        seen if tiers is None else tiers, pods, [DECODED], gateways
    )


def test_a_role_without_a_deadline_has_its_tiers() -> None:
    roles = view().worlds["eldermoor/moor"].roles
    assert (roles["reaction"].deadline_ms, roles["dialogue"].deadline_ms) == (20, 300)


def test_replicas_belong_to_their_tier_in_a_steady_order() -> None:
    pods = [Replica("shared/gold", Endpoint(address=each)) for each in ("10.0.0.9:1", "10.0.0.2:1")]
    made = view(pods=[*pods, Replica("shared/iron", Endpoint(address="10.0.0.1:1"))])
    found = [each.address for each in made.tiers["shared/gold"].endpoints]
    assert found == ["10.0.0.2:1", "10.0.0.9:1"]
    assert made.tiers["eldermoor/silver"].endpoints == ()


def test_a_role_whose_tier_is_not_to_be_had_keeps_its_ladder_and_reaches_no_engine() -> None:
    pods = [Replica("eldermoor/missing", Endpoint(address="10.0.0.2:1"))]
    # The tier is there, but the operator says that this world may not use it.
    made = view(tiers=[gold(), gold("missing", "eldermoor")], pods=pods)
    story = made.worlds["eldermoor/moor"].roles["story"]
    assert story.tier == "eldermoor/missing (not available)"
    assert made.tiers[story.tier].endpoints == ()
    assert made.tiers[story.tier].tier_class is LatencyClass.GOLD
    assert made.tiers["eldermoor/missing"].endpoints
    # And here the tier is not known at all.
    unknown = made.worlds["eldermoor/moor"].roles["dialogue"]
    assert unknown.tier == "eldermoor/silver (not available)"
    assert (unknown.deadline_ms, made.tiers[unknown.tier].endpoints) == (250, ())


def test_a_world_that_did_not_change_stays_the_same_object() -> None:
    assembly = Assembly()
    tiers = [gold(), gold("silver", "eldermoor")]
    first = assembly.view(tiers, [], [DECODED], 1)
    pods = [Replica("shared/gold", Endpoint(address="10.0.0.2:1"))]
    second = assembly.view(tiers, pods, [DECODED], 1)
    assert second.worlds["eldermoor/moor"] is first.worlds["eldermoor/moor"]
    assert second != first
    third = assembly.view([gold(latency={"targetMs": 9}), tiers[1]], pods, [DECODED], 1)
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
