"""Names of archives, what is reported of them, and which are kept."""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from gameai.knowledge.backups import command
from gameai.knowledge.backups.retention import archives, doubtful, lost, outdated
from gameai.knowledge.usage import UsageError
from gameai_contract.archives import (
    ArchiveName,
    archive_name,
    archive_report,
    is_slot,
)
from support.archives import MADE


def made(day: int, appended: int = 5, entries: int = 5) -> ArchiveName:
    return ArchiveName(
        slot=f"202611{day:02}T030000Z", lineage="own", appended=appended, entries=entries
    )


def test_a_name_is_read_as_it_was_written() -> None:
    name = replace(made(29, 12, 15), lineage="0a1b2c3d")
    assert archive_name(str(name)) == name
    assert is_slot(name.slot)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20261129T030000Z.jsonl.gz",
        "20261129T030000Z.0a1b2c3d.1.2.jsonl",
        "20261129T030000Z.0a1b2c3d.-1.2.jsonl.gz",
        "../20261129T030000Z.0a1b2c3d.1.2.jsonl.gz",
        "20261129T030000Z.0a1b2c3d.1.2.jsonl.gz\n",
        "20261129T030000Z.0a1b2c3d.1.2.jsonl.gz.part",
        "20261129T030000Z.0a1b2c3d.01.2.jsonl.gz",
        "20261399T030000Z.0a1b2c3d.1.2.jsonl.gz",
        f"20261129T030000Z.0a1b2c3d.{'9' * 19}.2.jsonl.gz",
    ],
)
def test_another_file_is_no_archive(text: str) -> None:
    assert archive_name(text) is None


def test_a_report_is_read_as_it_was_written() -> None:
    assert archive_report(MADE.text()) == MADE


def test_a_report_fits_a_termination_message() -> None:
    long = replace(MADE, warning="x\n" * 5000)
    assert len(long.text().encode()) <= 4096
    known = archive_report(replace(MADE, warning="e\x1b[0m" * 900).text())
    assert known is not None
    assert known.warning.startswith("e?[0m")


@pytest.mark.parametrize(
    "change",
    [
        {"file": "passwd"},
        {"file": ""},
        {"file": "../20261129T030000Z.0a1b2c3d.12.15.jsonl.gz"},
        {"size": -1},
        {"events": True},
        {"events": "many"},
        {"kept": 1 << 60},
    ],
)
def test_what_is_no_report_is_none(change: dict[str, object]) -> None:
    assert archive_report(json.dumps(asdict(MADE) | change)) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 5000, "null", "Traceback"])
def test_another_text_is_no_report(text: str) -> None:
    assert archive_report(text) is None


def test_archives_are_ordered_by_time_and_others_are_left_out() -> None:
    days = [replace(made(each), lineage="0a1b2c3d") for each in (2, 10, 9)]
    files = ["notes.txt", *map(str, days)]
    assert archives(files) == [days[1], days[2], days[0]]


def test_the_newest_slots_are_kept() -> None:
    known = [made(each) for each in (1, 2, 3, 4)]
    assert outdated(known, 2) == [made(1), made(2)]
    assert outdated(known, 9) == []
    twice = [*known, made(4, 6)]
    assert outdated(twice, 2) == [made(1), made(2)], "two archives of one slot count as one"


def test_nothing_is_removed_where_an_archive_is_not_known() -> None:
    """Of a database that was replaced, of one that was set back, and of two that write to one folder."""
    known = [made(3, 99, 99), made(2, 4, 4), made(1)]
    assert lost(known, {*map(str, known), "another"}) == ""
    assert f"archive {made(3, 99, 99)} was not made by this database" in lost(
        known, set(map(str, known[1:]))
    )
    assert lost([], set()) == ""


def test_a_newest_archive_with_less_is_not_chosen_without_a_word() -> None:
    known = [made(3, 2, 2), made(2, 9, 9), made(1, 5, 5)]
    assert f"fewer events than {made(2, 9, 9)}" in doubtful(made(3, 2, 2), known)
    assert doubtful(made(2, 9, 9), known[1:]) == ""


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "backup needs --repository FOLDER or --repository s3://BUCKET"),
        (["--repository=/tmp", "--keep=0"], "--keep must be from 1 to 366"),
        (["--repository=/tmp", "--slot=today"], "--slot must be a time such as"),
        (["--repository=/tmp", "--report=/none/x"], "--report: /none is not a folder"),
        (["--repository=/tmp", "--owner=lore"], "--owner must be NAMESPACE/NAME"),
    ],
)
def test_a_wrong_flag_is_named(flags: list[str], words: str) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("step")
    parser.add_argument("--owner", default="")
    parser.add_argument("--report", type=Path)
    command.add_flags(parser)
    with pytest.raises(UsageError, match=words):
        command.check(parser.parse_args(["backup", *flags]))
    command.check(parser.parse_args(["export"]))
