"""The lines of an archive of a memory."""

import base64
import json
from typing import Any

import pytest
from gameai.knowledge import archive
from gameai.knowledge.archive import ArchiveError, Counts

HEAD = {"format": "gameai-memory", "version": 2, "model": "m", "dimensions": 2}
WORLD = {"name": "games/moor", "last_sequence": 3}
WHEN = "2026-11-29T10:00:00+00:00"
EVENT: dict[str, Any] = {
    "sequence": 1,
    "key": "a",
    "digest": bytes(32),
    "world_seconds": -5,
    "kind": "battle",
    "summary": "The bridge burned.",
    "participants": ["Ilda"],
    "evidence": "witnessed",
    "confidence": 100,
    "importance": 50,
    "account": "games/moor-world",
    "recorded_at": WHEN,
    "status": "live",
    "reasons": [],
    "reviewer": "",
    "reviewed_at": "",
    "model": "m",
    "embedding": bytes(4),
}
CONCEPT: dict[str, Any] = {
    "kind": "person",
    "name": "Ilda Venn",
    "version": 1,
    "from_seconds": 0,
    "summary": "A mason.",
    "attributes": {"trade": "mason"},
    "digest": bytes(32),
    "cause_sequence": 0,
    "account": "",
    "recorded_at": WHEN,
    "model": "m",
    "embedding": bytes(4),
}
RELATION: dict[str, Any] = {
    "subject_kind": "person",
    "subject_name": "Ilda Venn",
    "kind": "knows",
    "object_kind": "person",
    "object_name": "Tam",
    "version": 1,
    "from_seconds": 0,
    "ended": False,
    "strength": 100,
    "cause_sequence": 0,
    "account": "",
    "recorded_at": WHEN,
}
REVIEW: dict[str, Any] = {
    "source": "lore",
    "world": "",
    "content_sha256": bytes(32),
    "verdict": "live",
    "reviewer": "ann",
    "reviewed_at": WHEN,
}
COUNTS = {"worlds": 0, "events": 0, "concepts": 0, "relations": 0, "reviews": 0}
BEFORE = {key: value for key, value in COUNTS.items() if key != "relations"}
Lines = list[tuple[str, dict[str, Any]]]
LINES: Lines = [
    ("head", HEAD),
    ("concept", CONCEPT),
    ("concept", CONCEPT | {"version": 2}),
    ("relation", RELATION),
    ("world", WORLD),
    ("event", EVENT),
    ("event", EVENT | {"sequence": 3, "key": "b", "reviewed_at": WHEN, "status": "rejected"}),
    ("concept", CONCEPT),
    ("relation", RELATION),
    ("review", REVIEW),
]
END = {"worlds": 1, "events": 2, "concepts": 3, "relations": 2, "reviews": 1}


def whole(lines: Lines, end: dict[str, int] | None = None) -> list[str]:
    given = [archive.text(kind, fields) for kind, fields in lines]
    return [*given, archive.text("end", end)] if end is not None else given


def test_a_whole_archive_is_read_as_it_was_written() -> None:
    given = whole(LINES, END)
    assert archive.checked(given) == Counts(worlds=1, events=2, concepts=3, relations=2, reviews=1)
    numbers, found = zip(*archive.framed(given), strict=True)
    assert numbers == tuple(range(1, 11))
    assert found[5].digest == bytes(32)
    assert found[5].recorded_at.isoformat() == WHEN
    assert (found[5].reviewed_at, found[6].reviewed_at) == (None, found[5].recorded_at)


def test_the_longest_lines_fit_the_length_that_is_read() -> None:
    text, vector = "\U0001f409" * 2000, bytes(8000)
    attributes = {f"{number:064}": text[:500] for number in range(32)}
    concept = CONCEPT | {
        "name": text[:128],
        "summary": text,
        "attributes": attributes,
        "embedding": vector,
    }
    event = EVENT | {
        "summary": text,
        "participants": [text[:64]] * 32,
        "reasons": [text[:1000]] * 16,
        "embedding": vector,
    }
    for kind, fields in (("concept", concept), ("event", event)):
        written = archive.text(kind, fields)
        assert archive.line(1, written)
        assert len(written) <= archive.MOST_LINE_BYTES


def test_an_archive_of_version_1_has_no_relations() -> None:
    given = whole([("head", HEAD | {"version": 1}), ("world", WORLD)], BEFORE | {"worlds": 1})
    assert archive.checked(given) == Counts(worlds=1)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "[]",
        "{",
        "{}",
        '{"head": 1}',
        '{"other": {}}',
        '{"world": null}',
        json.dumps({"world": {"name": "a/b", "last_sequence": 1, "more": 1}}),
        json.dumps({"world": {"name": "\ud800", "last_sequence": 1}}),
        json.dumps({"world": WORLD, "end": COUNTS}),
    ],
)
def test_a_line_of_another_form_is_refused(given: str) -> None:
    with pytest.raises(
        ArchiveError,
        match="line 3 is damaged or cut off, or not of an archive of version 2 or before",
    ):
        archive.line(3, given)


@pytest.mark.parametrize("change", [{"format": "other"}, {"version": 3}, {"version": 0}])
def test_a_file_of_another_version_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ArchiveError, match="not a gameai-memory archive of version 2 or before"):
        archive.line(1, archive.text("head", HEAD | change | {"later": 1}))


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        ("world", WORLD | {"name": "moor"}, "world.name: namespace/name is expected"),
        ("world", WORLD | {"name": ""}, "world.name"),
        ("world", WORLD | {"last_sequence": -1}, "world.last_sequence"),
        (
            "world",
            WORLD | {"last_sequence": True},
            "world.last_sequence: Input should be a valid int",
        ),
        ("world", {"name": "games/moor"}, "world.last_sequence: Field required"),
        ("event", EVENT | {"digest": bytes(31)}, "event.digest"),
        ("event", EVENT | {"key": ""}, "event.key"),
        (
            "event",
            EVENT | {"embedding": b"\0\x3c\0\x7e"},
            "event.embedding: numbers that are finite",
        ),
        ("concept", CONCEPT | {"embedding": b"\0\xfc\0\0"}, "concept.embedding: numbers that are"),
        ("event", EVENT | {"world_seconds": 1 << 60}, "event.world_seconds"),
        ("event", EVENT | {"kind": "A B"}, "event.kind"),
        ("event", EVENT | {"summary": "a" * 2001}, "event.summary"),
        ("event", EVENT | {"summary": "a\0b"}, "event.summary: NUL is not allowed"),
        ("event", EVENT | {"participants": ["a"] * 33}, "event.participants"),
        ("event", EVENT | {"evidence": "rumor"}, "event.evidence"),
        ("event", EVENT | {"confidence": 101}, "event.confidence"),
        ("event", EVENT | {"status": "new"}, "event.status"),
        (
            "event",
            EVENT | {"reviewed_at": "x"},
            "event.reviewed_at: a time with a zone is expected",
        ),
        ("concept", CONCEPT | {"attributes": {"a\x1b": "b"}}, "concept.attributes: String"),
        ("event", EVENT | {"recorded_at": "2026-11-29T10:00:00"}, "event.recorded_at: a time with"),
        (
            "event",
            EVENT | {"recorded_at": "0001-01-01T00:00:00+23:00"},
            "event.recorded_at: a time with a zone, of a year from 1970 to 9998, is expected",
        ),
        ("concept", CONCEPT | {"name": ""}, "concept.name"),
        ("concept", CONCEPT | {"version": 0}, "concept.version"),
        ("concept", CONCEPT | {"attributes": {"A": "b"}}, "concept.attributes"),
        ("relation", RELATION | {"strength": 0}, "relation.strength"),
        ("review", REVIEW | {"verdict": "quarantined"}, "review.verdict"),
        ("review", REVIEW | {"world": "moor"}, "review.world: namespace/name is expected"),
        ("end", COUNTS | {"events": -1}, "end.events"),
    ],
)
def test_a_value_that_the_memory_cannot_have_written_is_named(
    kind: str, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(ArchiveError, match=f"line 7: {words}"):
        archive.line(7, archive.text(kind, fields))


@pytest.mark.parametrize("value", ["?", "AAA", "\u00e4"])
def test_bytes_are_base64(value: str) -> None:
    with pytest.raises(ArchiveError, match=r"line 7: review\.content_sha256: base64 is expected"):
        archive.line(7, archive.text("review", REVIEW | {"content_sha256": value}))
    sent = json.loads(archive.text("review", REVIEW))["review"]["content_sha256"]
    assert base64.b64decode(sent) == bytes(32)


@pytest.mark.parametrize(
    "fields",
    [
        EVENT | {"participants": [None]},
        EVENT | {"participants": "Ilda"},
        EVENT | {"digest": 1},
        CONCEPT | {"attributes": {"a": {"b": "c"}}},
        CONCEPT | {"attributes": {"a": None}},
    ],
)
def test_a_value_of_another_type_is_refused(fields: dict[str, Any]) -> None:
    kind = "event" if "sequence" in fields else "concept"
    with pytest.raises(ArchiveError, match="line 7"):
        archive.line(7, archive.text(kind, fields))


def changed(index: int, **fields: Any) -> Lines:
    kind, given = LINES[index]
    return [*LINES[:index], (kind, given | fields), *LINES[index + 1 :]]


@pytest.mark.parametrize(
    ("lines", "end", "words"),
    [
        ([], None, "the file is empty"),
        (LINES[4:], None, "does not begin with the head"),
        ([LINES[0], LINES[0]], None, "line 2 is in a wrong place"),
        (LINES, None, "ends early"),
        (LINES, COUNTS, "line 11 does not match the number of lines"),
        ([LINES[0], ("end", COUNTS), LINES[4]], None, "line 3 is in a wrong place"),
        ([("head", HEAD | {"version": 1}), *LINES[1:]], END, "line 11 does not match"),
        ([LINES[0], ("end", BEFORE)], None, "line 2 does not match"),
        ([LINES[0], LINES[5]], None, "line 2 is before the line of its world"),
        (changed(6, sequence=1), END, "line 7: event.sequence must be from 2 to 3"),
        (changed(6, sequence=4), END, "line 7: event.sequence must be from 2 to 3"),
        (changed(6, key="a"), END, "line 7: event.key 'a' is there twice"),
        ([*LINES[:7], LINES[4]], None, "line 8: world games/moor is there twice"),
        (changed(5, embedding=bytes(2)), END, "line 6: embedding must have 2 dimensions"),
        (changed(7, embedding=b""), END, "line 8: embedding must have 2 dimensions"),
        (changed(5, model="other"), END, "line 6: model must be that of the head, 'm'"),
        (changed(0, model=""), END, "line 2: model must be that of the head, ''"),
        (changed(1, version=2), END, "line 2 is not the version 1 that must stand here"),
        (changed(2, version=3), END, "line 3 is not the version 2 that must stand here"),
        (changed(2, from_seconds=-1), END, "holds from an earlier time than the one before"),
        (changed(8, version=2), END, "line 9 is not the version 1"),
    ],
)
def test_an_archive_that_is_not_whole_is_refused(
    lines: Lines, end: dict[str, int] | None, words: str
) -> None:
    with pytest.raises(ArchiveError, match=words):
        archive.checked(whole(lines, end))


def written(lines: Lines) -> list[str]:
    """An archive with its checksum."""
    made = archive.Written()
    given = [made.line(kind, fields) for kind, fields in lines]
    return [*given, made.end()]


def test_what_is_written_is_read_with_its_counts_and_checksum() -> None:
    given = written(LINES)
    assert archive.checked(given) == Counts(**END)
    assert json.loads(given[-1])["end"]["sha256"]
    assert archive.checked([each.replace("\n", "\r\n") for each in given]) == Counts(**END)


@pytest.mark.parametrize("index", range(1, len(LINES)))
def test_any_change_of_a_line_is_noticed(index: int) -> None:
    """Of a space, which no check of fields can see."""
    given = written(LINES)
    given[index] = given[index].replace(": ", ":  ", 1)
    with pytest.raises(ArchiveError, match="line 11: the checksum is not that of the lines"):
        archive.checked(given)
