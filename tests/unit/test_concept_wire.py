"""Concepts of the wire: what is taken, what is refused, and what is sent back."""

import datetime
from typing import Any

import pytest
from gameai.errors import InvalidArgumentError
from gameai.knowledge.concepts import Content, Evolution, Found, Named, Version
from gameai.knowledge.events import MOST_SECONDS
from gameai.knowledge.rpc import concept_wire as wire
from gameai.knowledge.rpc import wire as wire_of_texts
from gameai.knowledge.store.concept_statements import FUNCTION, NAME, SEARCH
from gameai.knowledge.v1 import concepts_pb2 as pb

MOOR = "games/moor"
ILDA = Named(world=MOOR, kind="person", name="Ilda Venn")


def request(world: str = MOOR, **fields: Any) -> pb.EvolveConceptRequest:
    given: dict[str, Any] = {"kind": "person", "name": "Ilda Venn", "summary": "A mason."}
    concept = {each: fields.pop(each) for each in ("summary", "attributes") if each in fields}
    return pb.EvolveConceptRequest(world=world, concept=pb.Concept(**(given | concept)), **fields)


def test_a_concept_is_named_by_world_kind_and_name() -> None:
    assert wire.named(MOOR, "person", "Ilda Venn") == ILDA
    assert wire.named("", "place", "\uff34am\u200b").name == "Tam", "one form of each character"


@pytest.mark.parametrize(
    ("world", "kind", "name", "field"),
    [
        (MOOR, "Person", "a", "concept.kind"),
        (MOOR, "", "a", "concept.kind"),
        (MOOR, "person", " ", "concept.name"),
        (MOOR, "person", "a\nb", "concept.name"),
        (MOOR, "person", "a" * 129, "concept.name"),
        ("moor", "person", "a", "world"),
    ],
)
def test_a_wrong_name_names_its_field(world: str, kind: str, name: str, field: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        wire.named(world, kind, name, "concept.")
    assert raised.value.field == field


def test_a_version_is_taken_and_sent_back() -> None:
    given = request(
        attributes={"age": "40", "trade": "ma\0son"}, world_seconds=-3, cause_sequence=7
    )
    found = wire.content(given)
    assert found == Content(
        summary="A mason.", attributes={"age": "40", "trade": "ma son"}, from_seconds=-3, cause=7
    )
    assert found.text == "A mason.\nage: 40\ntrade: ma son"
    version = Version(
        concept=ILDA,
        number=2,
        content=found,
        account="games/moor-world",
        recorded_at=datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC),
    )
    sent = wire.version_message(version)
    assert (sent.concept.name, sent.concept.kind, sent.concept.summary) == (
        "Ilda Venn", "person", "A mason.",
    )  # fmt: skip
    assert dict(sent.concept.attributes) == {"age": "40", "trade": "ma son"}
    assert (sent.version, sent.world, sent.from_world_seconds, sent.cause_sequence) == (
        2, MOOR, -3, 7,
    )  # fmt: skip
    hit = wire.hit_message(Found(version=version, score=0.5, similarity=0.25))
    assert (hit.version, hit.score, hit.similarity) == (sent, 0.5, 0.25)


def test_everything_that_is_sent_counts_for_whether_it_is_the_same() -> None:
    given = [
        Content(summary="a"),
        Content(summary="b"),
        Content(summary="a", attributes={"a": "b"}),
        Content(summary="a", from_seconds=1),
        Content(summary="a", cause=1),
    ]
    assert len({each.digest for each in given}) == len(given)
    # It is stored: another one would not recognise a call that is repeated after an upgrade.
    assert given[0].digest.hex()[:16] == "ab938d2914167437"


def test_the_name_is_embedded_with_the_text() -> None:
    content = Content(summary="A mason.")
    evolution = Evolution(concept=ILDA, expected=0, stored=content)
    assert evolution.embedded == "Ilda Venn\nA mason."


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (request(summary=" "), "concept.summary"),
        (request(summary="x" * 2001), "concept.summary"),
        (request(attributes={"A": "b"}), "concept.attributes"),
        (request(attributes={"a": "x" * 501}), "concept.attributes"),
        (request(attributes={f"a{n}": "b" for n in range(33)}), "concept.attributes"),
        (request(world_seconds=1 << 60), "world_seconds"),
        (request(cause_sequence=-1), "cause_sequence"),
        (request("", world_seconds=1), "world_seconds"),
        (request("", cause_sequence=1), "world_seconds"),
    ],
)
def test_a_wrong_version_names_its_field(given: pb.EvolveConceptRequest, field: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        wire.content(given)
    assert raised.value.field == field


def test_the_version_that_is_followed_is_bounded() -> None:
    assert wire.expected(request(expected_version=3)) == 3
    with pytest.raises(InvalidArgumentError, match="expected_version"):
        wire.expected(request(expected_version=1 << 31))


def test_without_a_time_it_is_now() -> None:
    assert wire.as_of(pb.GetConceptRequest()) == MOST_SECONDS
    assert wire.as_of(pb.GetConceptRequest(as_of_world_seconds=0)) == 0
    with pytest.raises(InvalidArgumentError, match="as_of_world_seconds"):
        wire.as_of(pb.SearchConceptsRequest(as_of_world_seconds=1 << 60))


def test_a_page_has_a_default_and_a_limit() -> None:
    assert wire.page(pb.ListConceptVersionsRequest(after_version=2)) == (2, 50)
    with pytest.raises(InvalidArgumentError, match="count must be from 1 to 100"):
        wire.page(pb.ListConceptVersionsRequest(count=101))


def test_a_search_has_text_kinds_and_count() -> None:
    assert wire.search(pb.SearchConceptsRequest(text="a", kinds=["person"])) == (
        "a",
        ("person",),
        10,
    )
    for field, wrong in (
        ("text", pb.SearchConceptsRequest()),
        ("text", pb.SearchConceptsRequest(text="x" * 4097)),
        ("kinds", pb.SearchConceptsRequest(text="a", kinds=["A"])),
        ("kinds", pb.SearchConceptsRequest(text="a", kinds=["a"] * 17)),
        ("count", pb.SearchConceptsRequest(text="a", count=101)),
    ):
        with pytest.raises(InvalidArgumentError) as raised:
            wire.search(wrong)
        assert raised.value.field == field


def test_a_search_reads_concepts_of_one_world_and_of_all() -> None:
    assert FUNCTION.count("FROM memory.narrative_concepts") == 1
    assert "WHERE (concepts.world_id = $1 OR concepts.world_id IS NULL) AND" in FUNCTION
    assert NAME in SEARCH


def test_a_listing_has_conditions_a_position_and_a_limit() -> None:
    found = wire.listing(
        pb.ListConceptsRequest(
            world=MOOR, kinds=["person"], attributes={"a": "b\0"}, after_kind="k", after_name="n"
        )
    )
    assert (found.world, found.kinds, found.after, found.count) == (
        MOOR,
        ("person",),
        ("k", "n"),
        50,
    )
    assert found.attributes == {"a": "b "}
    for wrong, field in (
        (pb.ListConceptsRequest(kinds=["No"]), "kinds"),
        (pb.ListConceptsRequest(attributes={str(n): "" for n in range(9)}), "attributes"),
        (pb.ListConceptsRequest(attributes={"a\0": ""}), "attributes"),
        (pb.ListConceptsRequest(after_kind="k" * 129), "after_kind"),
        (pb.ListConceptsRequest(after_name="n" * 129), "after_name"),
        (pb.ListConceptsRequest(count=101), "count"),
    ):
        with pytest.raises(InvalidArgumentError) as raised:
            wire.listing(wrong)
        assert raised.value.field == field


def test_a_text_is_stored_as_it_would_be_stored_again_or_refused() -> None:
    assert wire_of_texts.plain("The <b>old</b> king.", "field", 100) == "The old king."
    nested = "<" * 20 + "b>" * 20
    with pytest.raises(InvalidArgumentError, match="marks within marks"):
        wire_of_texts.plain(nested, "field", 100)
