"""Names of archives, what is reported of them, and which are kept."""

import argparse
import json
from dataclasses import asdict, replace

import pytest
from gameai.knowledge.backups import command
from gameai.knowledge.backups.retention import archives, outdated, shrunk
from gameai.knowledge.usage import UsageError
from gameai_contract.archives import (
    ArchiveName,
    ArchiveReport,
    archive_name,
    archive_report,
    is_slot,
)

REPORT = ArchiveReport(
    file="20261129T030000Z.12.15.jsonl.gz", size=900, worlds=1, events=12, concepts=2, reviews=1
)


def made(day: int, appended: int = 5, entries: int = 5) -> ArchiveName:
    return ArchiveName(slot=f"202611{day:02}T030000Z", appended=appended, entries=entries)


def test_a_name_is_read_as_it_was_written() -> None:
    name = made(29, 12, 15)
    assert archive_name(str(name)) == name
    assert is_slot(name.slot)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20261129T030000Z.jsonl.gz",
        "20261129T030000Z.1.2.jsonl",
        "20261129T030000Z.-1.2.jsonl.gz",
        "../20261129T030000Z.1.2.jsonl.gz",
        "20261129T030000Z.1.2.jsonl.gz\n",
        "20261129T030000Z.1.2.jsonl.gz.part",
        f"20261129T030000Z.{'9' * 19}.2.jsonl.gz",
    ],
)
def test_another_file_is_no_archive(text: str) -> None:
    assert archive_name(text) is None


def test_a_report_is_read_as_it_was_written() -> None:
    assert archive_report(REPORT.text()) == REPORT


def test_a_report_fits_a_termination_message() -> None:
    long = replace(REPORT, warning="x\n" * 5000)
    assert len(long.text().encode()) <= 4096
    known = archive_report(replace(REPORT, warning="e\x1b[0m" * 900).text())
    assert known is not None
    assert known.warning.startswith("e?[0m")


@pytest.mark.parametrize(
    "change",
    [
        {"file": "passwd"},
        {"file": ""},
        {"file": "../20261129T030000Z.12.15.jsonl.gz"},
        {"size": -1},
        {"events": True},
        {"events": "many"},
        {"kept": 1 << 60},
    ],
)
def test_what_is_no_report_is_none(change: dict[str, object]) -> None:
    assert archive_report(json.dumps(asdict(REPORT) | change)) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 5000, "null", "Traceback"])
def test_another_text_is_no_report(text: str) -> None:
    assert archive_report(text) is None


def test_archives_are_ordered_by_time_and_others_are_left_out() -> None:
    files = [str(made(2)), "notes.txt", str(made(10)), str(made(9))]
    assert archives(files) == [made(10), made(9), made(2)]


def test_the_newest_slots_are_kept() -> None:
    known = [made(each) for each in (1, 2, 3, 4)]
    assert outdated(known, 2) == [made(1), made(2)]
    assert outdated(known, 9) == []
    twice = [*known, made(4, 6)]
    assert outdated(twice, 2) == [made(1), made(2)], "two archives of one slot count as one"


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (made(3, 5, 5), ""),
        (made(3, 9, 1), ""),
        (made(3, 5, 2), ""),
        (made(3, 4, 5), "4 events were ever appended, and archive 20261101T030000Z.5.5.jsonl.gz has 5"),
        (made(3, 5, 0), "it is empty, and archive 20261101T030000Z.5.5.jsonl.gz has 5 entries"),
    ],
)  # fmt: skip
def test_nothing_is_removed_after_a_loss(new: ArchiveName, words: str) -> None:
    """Deleted events are no loss: their numbers are not given again."""
    found = shrunk(new, [made(1), made(2, 4, 4), new])
    assert words in found
    assert bool(found) == bool(words)


def test_a_first_archive_loses_nothing() -> None:
    assert shrunk(made(1, 0, 0), []) == ""
    assert shrunk(made(1, 0, 0), [made(1, 0, 0)]) == ""


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "backup needs --repository FOLDER or --repository s3://BUCKET"),
        (["--repository=/tmp", "--keep=0"], "--keep must be from 1 to 366"),
        (["--repository=/tmp", "--slot=today"], "--slot must be a time such as"),
        (["--repository=/tmp", "--owner=lore"], "--owner must be NAMESPACE/NAME"),
    ],
)
def test_a_wrong_flag_is_named(flags: list[str], words: str) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("step")
    parser.add_argument("--owner", default="")
    command.add_flags(parser)
    with pytest.raises(UsageError, match=words):
        command.check(parser.parse_args(["backup", *flags]))
    command.check(parser.parse_args(["export"]))
