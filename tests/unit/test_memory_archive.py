"""The lines of an archive of a memory."""

import json
from typing import Any

import pytest
from gameai.knowledge import archive
from gameai.knowledge.archive import ArchiveError, Counts

HEAD = {"format": "gameai-memory", "version": 2, "model": "m", "dimensions": 384}


def test_a_line_is_read_as_it_was_written() -> None:
    for kind, fields in (("head", HEAD), ("world", {"name": "games/moor", "last_sequence": 3})):
        found = archive.line(1, archive.text(kind, fields))
        assert (found.kind, found.fields) == (kind, fields)


def test_bytes_are_base64() -> None:
    written = json.loads(archive.text("event", {"digest": b"\xff\x00"}))
    assert archive.data(1, written["event"]["digest"]) == b"\xff\x00"
    with pytest.raises(ArchiveError, match="line 7: base64 is expected"):
        archive.data(7, "?")


@pytest.mark.parametrize(
    "given",
    [
        "",
        "[]",
        "{",
        "{}",
        '{"head": {}}',
        '{"head": 1}',
        '{"other": {}}',
        '{"head": {}, "end": {}}',
        json.dumps({"world": {"name": "a/b", "last_sequence": True}}),
        json.dumps({"world": {"name": "a/b", "last_sequence": 1, "more": 1}}),
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
        archive.line(1, archive.text("head", HEAD | change))


WORLD = {"name": "games/moor", "last_sequence": 3}
COUNTS = {"worlds": 1, "events": 0, "concepts": 0, "relations": 0, "reviews": 0}


def whole(*lines: tuple[str, dict[str, Any]]) -> list[str]:
    return [archive.text(kind, fields) for kind, fields in lines]


def test_a_whole_archive_is_counted() -> None:
    given = whole(("head", HEAD), ("world", WORLD), ("end", COUNTS))
    assert archive.checked(given) == Counts(worlds=1)
    assert [number for number, _ in archive.framed(given)] == [1, 2]


def test_an_archive_of_version_1_has_no_relations() -> None:
    counts = {key: value for key, value in COUNTS.items() if key != "relations"}
    given = whole(("head", HEAD | {"version": 1}), ("world", WORLD), ("end", counts))
    assert archive.checked(given) == Counts(worlds=1)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "the file is empty"),
        ([("world", WORLD)], "does not begin with the head"),
        ([("head", HEAD), ("head", HEAD)], "line 2 is in a wrong place"),
        ([("head", HEAD), ("world", WORLD)], "ends early"),
        ([("head", HEAD), ("end", COUNTS)], "line 2 does not match the number of lines"),
        (
            [("head", HEAD), ("world", WORLD), ("end", COUNTS), ("world", WORLD)],
            "line 4 is in a wrong place",
        ),
    ],
)
def test_an_archive_that_is_not_whole_is_refused(
    lines: list[tuple[str, dict[str, Any]]], words: str
) -> None:
    with pytest.raises(ArchiveError, match=words):
        archive.checked(whole(*lines))
