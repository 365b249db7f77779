"""What an ingestion reports through a termination message."""

import json

import pytest
from gameai_contract.knowledge import MOST_REPORT_BYTES, SourceReport, source_report

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
        "null",
        "{}",
        json.dumps(json.loads(REPORT.text()) | {"documents": -1}),
        json.dumps(json.loads(REPORT.text()) | {"chunks": "many"}),
        json.dumps(json.loads(REPORT.text()) | {"failed": 3}),
    ],
)
def test_what_is_no_report_is_none(text: str) -> None:
    assert source_report(text) is None
