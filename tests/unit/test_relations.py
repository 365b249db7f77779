"""Relations between concepts: what is taken of the wire, a walk along them, and what is sent back."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from gameai.errors import InvalidArgumentError
from gameai.knowledge.concepts import Content, Named, Version
from gameai.knowledge.events import MOST_SECONDS
from gameai.knowledge.relations import (
    Around,
    Direction,
    Neighbourhood,
    Relation,
    RelationVersion,
    State,
    Walk,
)
from gameai.knowledge.rpc import relation_wire as wire
from gameai.knowledge.rpc.concept_wire import absent
from gameai.knowledge.v1 import concepts_pb2
from gameai.knowledge.v1 import relations_pb2 as pb

MOOR = "games/moor"
WHEN = datetime.datetime(2026, 11, 29, tzinfo=datetime.UTC)


def named(name: str) -> Named:
    return Named(world=MOOR, kind="person", name=name)


ADA, BRAN, COLE, DARA = map(named, ("Ada", "Bran", "Cole", "Dara"))


def version(subject: Named, target: Named, depth: int = 1) -> RelationVersion:
    return RelationVersion(
        relation=Relation(world=MOOR, subject=subject, kind="knows", object=target),
        number=3,
        state=State(strength=40, from_seconds=7, cause=2),
        account="games/moor-world",
        recorded_at=WHEN,
        depth=depth,
    )


def request(world: str = MOOR, **fields: Any) -> pb.WriteRelationRequest:
    given: dict[str, Any] = {
        "subject": {"kind": "person", "name": "Ada"},
        "kind": "knows",
        "object": {"kind": "person", "name": "Bran"},
        **fields.pop("relation", {}),
    }
    return pb.WriteRelationRequest(world=world, relation=pb.Relation(**given), **fields)


def test_a_relation_is_taken_with_its_defaults() -> None:
    given = request(world_seconds=7, cause_sequence=2)
    assert wire.to_write(given) == Relation(world=MOOR, subject=ADA, kind="knows", object=BRAN)
    assert wire.state(given) == State(strength=100, from_seconds=7, cause=2)
    assert wire.state(request(relation={"strength": 1})) == State(strength=1)
    ended = wire.state(request(relation={"strength": 1}, ended=True))
    assert ended == State(ended=True), "of one that has ended a strength means nothing"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"relation": {"kind": "Knows"}}, "relation.kind"),
        ({"relation": {"kind": "ignore_all_previous.instructions"}}, "relation.kind"),
        (
            {
                "relation": {
                    "kind": "ignore_all",
                    "object": {"kind": "person", "name": "previous instructions"},
                }
            },
            "relation.kind",
        ),
        ({"relation": {"subject": {"kind": "person", "name": ""}}}, "relation.subject.name"),
        ({"relation": {"object": {"kind": "", "name": "Bran"}}}, "relation.object.kind"),
        ({"relation": {"object": {"kind": "person", "name": "Ada "}}}, "relation.object"),
        ({"relation": {"strength": 101}}, "relation.strength"),
        ({"world": "moor"}, "world"),
        ({"world": "", "world_seconds": 1}, "world_seconds"),
        ({"world": "", "cause_sequence": 1}, "world_seconds"),
        ({"world_seconds": MOST_SECONDS + 1}, "world_seconds"),
        ({"cause_sequence": -1}, "cause_sequence"),
    ],
)
def test_a_wrong_relation_names_its_field(fields: dict[str, Any], field: str) -> None:
    given = request(**fields)
    with pytest.raises(InvalidArgumentError) as raised:
        _ = wire.to_write(given), wire.state(given)
    assert raised.value.field == field


def test_a_relation_that_may_not_be_written_today_can_still_be_read_and_deleted() -> None:
    name = pb.RelationName(
        subject=pb.ConceptName(kind="person", name="Ada"),
        kind="ignore.all.previous.instructions",
        object=pb.ConceptName(kind="person", name="Ada"),
    )
    assert wire.relation(pb.ForgetRelationRequest(world=MOOR, relation=name)).object == ADA


def test_what_to_list_is_taken_with_its_defaults() -> None:
    asked = pb.ListRelationsRequest(world=MOOR, concept=pb.ConceptName(kind="person", name="Ada"))
    found = wire.around(asked)
    assert found == Around(
        concept=ADA,
        kinds=(),
        direction=Direction.BOTH,
        depth=1,
        count=50,
        seconds=MOST_SECONDS,
    )
    asked.MergeFrom(
        pb.ListRelationsRequest(
            kinds=["knows"],
            direction=pb.DIRECTION_INCOMING,
            depth=3,
            count=100,
            as_of_world_seconds=-5,
            include_ended=True,
        )
    )
    assert wire.around(asked) == replace(
        found,
        kinds=("knows",),
        direction=Direction.INCOMING,
        depth=3,
        count=100,
        seconds=-5,
        ended=True,
    )


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"concept": pb.ConceptName(kind="person")}, "concept.name"),
        ({"kinds": ["Knows"]}, "kinds"),
        ({"direction": 9}, "direction"),
        ({"depth": 4}, "depth"),
        ({"count": 101}, "count"),
    ],
)
def test_a_wrong_list_names_its_field(fields: dict[str, Any], field: str) -> None:
    given = {"concept": pb.ConceptName(kind="person", name="Ada"), **fields}
    with pytest.raises(InvalidArgumentError) as raised:
        wire.around(pb.ListRelationsRequest(world=MOOR, **given))
    assert raised.value.field == field


def test_what_was_found_is_sent_back() -> None:
    bran = Version(
        concept=BRAN, number=1, content=Content(summary="A mason."), account="", recorded_at=WHEN
    )
    found = wire.response(Neighbourhood(relations=[version(ADA, BRAN)], concepts=[bran], more=True))
    [sent] = found.relations
    assert found.more
    assert [each.concept for each in found.concepts] == [
        concepts_pb2.Concept(kind="person", name="Bran", summary="A mason.")
    ]
    assert (sent.relation.subject.name, sent.relation.object.name) == ("Ada", "Bran")
    assert (sent.relation.strength, sent.version, sent.depth, sent.world) == (40, 3, 1, MOOR)
    assert (sent.from_world_seconds, sent.cause_sequence) == (7, 2)
    assert sent.recorded_at.ToDatetime(datetime.UTC) == WHEN


GRAPH: Mapping[Named, Sequence[Named]] = {ADA: [BRAN], BRAN: [COLE], COLE: [DARA, ADA]}


def walked(**fields: Any) -> Walk:
    wanted = Around(
        concept=ADA, kinds=(), direction=Direction.OUTGOING, depth=3, count=50, seconds=0
    )
    walk = Walk(replace(wanted, **fields))
    while not walk.done:
        edges = [version(e, to, walk.depth + 1) for e in walk.frontier for to in GRAPH.get(e, ())]
        walk.take(edges[: walk.rows_needed])
    return walk


@pytest.mark.parametrize(
    ("fields", "reached", "more"),
    [
        ({"depth": 1}, [BRAN], False),
        ({"depth": 2}, [BRAN, COLE], False),
        ({}, [BRAN, COLE, DARA], False),
        ({"count": 3}, [BRAN, COLE, DARA], True),
        ({"count": 1}, [BRAN], True),
        ({"concept": DARA}, [], False),
    ],
)
def test_a_walk_ends_at_its_depth_its_count_or_where_nothing_is_left(
    fields: dict[str, Any], reached: list[Named], more: bool
) -> None:
    walk = walked(**fields)
    assert (walk.reached, walk.more) == (reached, more)
    assert [each.depth for each in walk.relations] == sorted(e.depth for e in walk.relations)


def test_a_relation_is_found_once() -> None:
    walk = Walk(
        Around(concept=ADA, kinds=(), direction=Direction.BOTH, depth=3, count=2, seconds=0)
    )
    walk.take([version(ADA, BRAN)])
    assert (walk.frontier, walk.rows_needed) == ([BRAN], 4)
    walk.take([version(ADA, BRAN, 2), version(BRAN, COLE, 2)])
    assert [each.depth for each in walk.relations] == [1, 2]
    assert (walk.frontier, walk.more) == ([COLE], False)


def test_a_concept_that_is_not_seen_is_named() -> None:
    assert (
        absent(ADA) == "world games/moor has no concept person 'Ada': SearchConcepts finds others"
    )
    shared = absent(replace(ADA, world=""), then=True)
    assert shared.startswith("no concept person 'Ada' is shared by all worlds at that time")
