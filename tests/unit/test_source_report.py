"""What an ingestion reports through a termination message."""

import json

import pytest
from gameai_contract.knowledge import (
    MOST_REPORT_BYTES,
    SourceReport,
    source_names,
    source_names_text,
    source_report,
)

REPORT = SourceReport(
    documents=3,
    chunks=40,
    quarantined=2,
    failed_documents=1,
    failed=("a.md: not UTF-8",),
)


def test_a_report_is_read_as_it_was_written() -> None:
    assert source_report(REPORT.text()) == REPORT


def test_a_report_fits_a_termination_message_whatever_failed() -> None:
    long = SourceReport(failed_documents=900, failed=["ü" * 1000] * 900, error="x" * 5000)
    text = long.text()
    assert len(text.encode()) <= MOST_REPORT_BYTES
    known = source_report(text)
    assert known is not None
    assert known.failed_documents == 900
    assert 0 < len(known.failed) <= 8


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Traceback (most recent call last)",
        "[]",
        "[" * 4096,
        "null",
        "{}",
        json.dumps(json.loads(REPORT.text()) | {"documents": -1}),
        json.dumps(json.loads(REPORT.text()) | {"chunks": "many"}),
        json.dumps(json.loads(REPORT.text()) | {"failed": 3}),
    ],
)
def test_what_is_no_report_is_none(text: str) -> None:
    assert source_report(text) is None


def test_a_report_holds_nothing_that_cannot_be_shown() -> None:
    known = json.loads(REPORT.text()) | {"failed": ["a\ud800b"], "error": "x\n\x1b[0m"}
    report = source_report(json.dumps(known))
    assert report is not None
    assert (report.failed, report.error) == (("a?b",), "x??[0m")


def test_names_of_sources_are_read_as_they_were_written_and_bounded() -> None:
    names = (("histories", ""), ("chronicle", "games/moor"))
    assert source_names(source_names_text(names)) == names
    many = [(f"source-{number}", "games/moor") for number in range(999)]
    text = source_names_text(many)
    assert len(text) <= MOST_REPORT_BYTES
    assert 0 < len(source_names(text)) < 999


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[" * 4096,
        json.dumps({"sources": [["a,b", ""]]}),
        json.dumps({"sources": [["a", "b"]]}),
        json.dumps({"sources": [[3, ""]]}),
        json.dumps({"sources": [["a", 3]]}),
    ],
)
def test_what_no_source_can_be_called_is_passed_over(text: str) -> None:
    assert source_names(text) == ()
