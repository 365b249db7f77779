import struct
from dataclasses import replace
from typing import Any

import pytest
from gameai.errors import InvalidArgumentError
from gameai.knowledge.records import Chunk, Hit, Mode, Provenance, Query, Scope
from gameai.knowledge.rpc import wire
from gameai.knowledge.store.statements import FUNCTIONS, SEARCH
from gameai.knowledge.v1 import knowledge_pb2 as pb

HALVES = struct.pack("<2f", 0.5, -0.5)
UNIT = struct.pack("<2f", 0.5**0.5, -(0.5**0.5))


def query(**request: Any) -> Query:
    return wire.query(pb.SearchRequest(**request), 2)


def test_a_text_is_searched_by_meaning_and_words_with_defaults() -> None:
    assert query(text="who") == Query(scope=Scope.GLOBAL, mode=Mode.HYBRID, text="who")
    found = query(text="who", world="games/moor")
    assert found.scope is Scope.GLOBAL_AND_WORLD
    assert query(text="a\0b").text == "a b"


def test_a_vector_is_searched_by_meaning() -> None:
    found = query(vector_f32=HALVES, scope=pb.SCOPE_WORLD, world="games/moor")
    assert (found.mode, found.vector, found.scope) == (Mode.VECTOR, UNIT, Scope.WORLD)
    assert query(vector_f32=HALVES, mode=pb.MODE_VECTOR).mode is Mode.VECTOR


def test_everything_of_a_request_is_taken() -> None:
    found = query(
        text="who",
        scope=pb.SCOPE_GLOBAL,
        count=3,
        mode=pb.MODE_TEXT,
        quality=pb.QUALITY_HIGH,
        minimum_trust=0,
        audience=["smith"],
    )
    assert found == Query(
        scope=Scope.GLOBAL,
        mode=Mode.TEXT,
        text="who",
        count=3,
        trust=0,
        audience=("smith",),
        high_quality=True,
    )


@pytest.mark.parametrize(
    ("request_", "field", "words"),
    [
        ({}, "text", "text must not be empty; or set vector_f32"),
        ({"text": " "}, "text", "text must not be empty"),
        ({"text": "x" * 100_000}, "text", "text has 100000 characters, at most 4096"),
        ({"vector_f32": b"abc"}, "vector_f32", "has 3 bytes; the model has 2 dimensions, so 8"),
        ({"vector_f32": bytes(8)}, "vector_f32", "finite numbers that are not all 0"),
        ({"vector_f32": struct.pack("<2f", 1, float("nan"))}, "vector_f32", "finite numbers"),
        ({"vector_f32": struct.pack("<2f", 1, float("inf"))}, "vector_f32", "finite numbers"),
        ({"vector_f32": HALVES, "mode": pb.MODE_HYBRID}, "mode", "must be MODE_VECTOR with vector_f32"),
        ({"text": "a", "mode": 9}, "mode", "mode 9 is not known"),
        ({"text": "a", "scope": 9}, "scope", "scope 9 is not known"),
        ({"text": "a", "quality": 9}, "quality", "quality 9 is not known"),
        ({"text": "a", "scope": pb.SCOPE_WORLD}, "world", "or set scope to SCOPE_GLOBAL"),
        ({"text": "a", "world": "Moor"}, "world", "world 'Moor' must be namespace/name"),
        ({"text": "a", "count": 10_000}, "count", "count must be from 1 to 100, not 10000"),
        ({"text": "a", "minimum_trust": 101}, "minimum_trust", "from 0 to 100, not 101"),
        ({"text": "a", "audience": [""]}, "audience", "at most 32 names of 1 to 64 characters"),
        ({"text": "a", "audience": ["x"] * 33}, "audience", "at most 32 names"),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_request_names_its_field(request_: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        query(**request_)
    assert raised.value.field == field
    assert words in str(raised.value)


def test_a_hit_carries_where_it_comes_from() -> None:
    provenance = Provenance(
        source="lore",
        document="a.md",
        section="A > B",
        document_sha256=b"x",
        begin_byte=1,
        end_byte=9,
    )
    hit = Hit(
        chunk_id=7,
        scope=Scope.WORLD,
        content="text",
        score=0.5,
        similarity=0.25,
        vector_rank=1,
        text_rank=0,
        trust=60,
        provenance=provenance,
    )
    message = wire.hit_message(hit)
    assert (message.chunk_id, message.scope, message.trust) == (7, pb.SCOPE_WORLD, 60)
    assert message.provenance.section == "A > B"
    assert message.provenance.end_byte == 9


def test_the_path_of_sections_is_embedded_with_the_text() -> None:
    chunk = Chunk(number=0, title="T", section="A > B", content="text", begin_byte=0, end_byte=4)
    assert chunk.embedded == "A > B\ntext"
    assert replace(chunk, section="").embedded == "T\ntext"
    assert replace(chunk, title="", section="").embedded == "text"


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda each: each.split("(")[0].split()[-1])
def test_rows_of_worlds_are_read_for_one_world_alone(function: str) -> None:
    scope = function.split("(", maxsplit=1)[0]
    reads = function.count("FROM memory.narrative_documents_w")
    assert (reads > 0) == scope.endswith("world")
    assert reads == function.count("world_id = $1")
    assert ("narrative_documents_g" in function) == ("_global" in scope)
    assert "set_config('memory.world', coalesce($1::text, ''), true)" in function


def test_every_mode_and_scope_has_its_function() -> None:
    assert len(FUNCTIONS) == len(SEARCH) == len(Mode) * len(Scope)


def test_a_vector_is_made_a_unit_vector_before_it_loses_digits() -> None:
    small = query(vector_f32=struct.pack("<2f", 1e-9, -1e-9)).vector
    assert struct.unpack("<2f", small) == pytest.approx((0.5**0.5, -(0.5**0.5)))


def test_names_are_bounded_and_have_no_nul() -> None:
    assert wire.name("lore", "source") == "lore"
    for each in ("x" * 254, "a\0"):
        with pytest.raises(InvalidArgumentError, match="source must have at most 253 characters"):
            wire.name(each, "source")
    assert wire.world("") == ""


def test_a_text_is_stored_without_personal_data_and_bounded_in_plain_form() -> None:
    assert wire.plain("\uff21nn, ann@example.com", "f", 100) == "Ann, [removed: e-mail]"
    with pytest.raises(InvalidArgumentError, match=r"f has 18 characters in plain form \(NFKC\)"):
        wire.plain("\ufdfa", "f", 17)
