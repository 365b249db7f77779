"""PURE: what an ingestion reports, and how its report is passed through a container's termination message."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

# A kubelet keeps 4,096 bytes of a termination message.
MOST_REPORT_BYTES = 4000
MOST_FAILED = 8
_MOST_SENTENCE = 300
# Where a Job's containers find the documents of its source, and where the kubelet reads the report.
SOURCE_FOLDER = "/source"
REPORT_FILE = "/dev/termination-log"


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceReport:
    """What the memory holds of a source after an ingestion.

    `failed` are sentences about documents that were not ingested, the first `MOST_FAILED` of `failed_documents`;
    `error` says why the source was not ingested at all.
    """

    documents: int = 0
    chunks: int = 0
    quarantined: int = 0
    failed_documents: int = 0
    failed: Sequence[str] = ()
    error: str = ""

    def text(self) -> str:
        """As JSON of at most `MOST_REPORT_BYTES`."""
        known = {
            "documents": self.documents,
            "chunks": self.chunks,
            "quarantined": self.quarantined,
            "failedDocuments": self.failed_documents,
            "failed": [each[:_MOST_SENTENCE] for each in self.failed[:MOST_FAILED]],
            "error": self.error[:_MOST_SENTENCE],
        }
        while len(text := json.dumps(known)) > MOST_REPORT_BYTES:
            known = {**known, "failed": known["failed"][:-1]}  # type: ignore[index] # a list, above
        return text


def source_report(text: str) -> SourceReport | None:
    """The report in a termination message; None where it is none: pods are made of users' images too."""
    try:
        known = json.loads(text)
        return SourceReport(
            documents=_count(known["documents"]),
            chunks=_count(known["chunks"]),
            quarantined=_count(known["quarantined"]),
            failed_documents=_count(known["failedDocuments"]),
            failed=tuple(str(each)[:_MOST_SENTENCE] for each in known["failed"][:MOST_FAILED]),
            error=str(known["error"])[:_MOST_SENTENCE],
        )
    except (ValueError, KeyError, TypeError):
        return None


def _count(value: object) -> int:
    """Raises ValueError."""
    if not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise ValueError("not a count")
    return value
