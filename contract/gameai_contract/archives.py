"""PURE: what operator and memory pass to each other about archives: their names, and reports of backups and restores."""

import datetime
import json
import re
from dataclasses import asdict, dataclass

from gameai_contract.knowledge import shown
from gameai_contract.names import PORT_PATTERN

# Where the pods of Jobs find a claim with archives.
ARCHIVES_FOLDER = "/archives"
# Archives of a knowledge base that are kept, at most.
MOST_KEPT = 366
_MOST_SENTENCE = 1000
# `YYYYMMDDTHHMMSSZ.<lineage>.<events so far>.<entries>.jsonl.gz`: sorted by name is sorted by time.
SLOT_PATTERN = "[0-9]{8}T[0-9]{6}Z"
LINEAGE_PATTERN = "[0-9a-f]{8}"
FILE_PATTERN = rf"{SLOT_PATTERN}\.{LINEAGE_PATTERN}\.[0-9]{{1,18}}\.[0-9]{{1,18}}\.jsonl\.gz"
# Of a server that speaks the protocol of S3, and of a bucket.
ENDPOINT_PATTERN = f"https?://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:{PORT_PATTERN})?"
BUCKET_PATTERN = "[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
_FILE = re.compile(FILE_PATTERN)
_SLOT = re.compile(SLOT_PATTERN)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveName:
    """The name of an archive, which says what it holds.

    `slot` is the time for which it was made, in UTC. `lineage` identifies the database
    that made it. `appended` is the number of events that the worlds have ever had: it
    grows, whatever is deleted. `entries` is the number of events, versions of concepts and relations, and reviews.
    """

    slot: str
    lineage: str
    appended: int
    entries: int

    def __str__(self) -> str:
        """The name of the file."""
        return f"{self.slot}.{self.lineage}.{self.appended}.{self.entries}.jsonl.gz"


def archive_name(text: str) -> ArchiveName | None:
    """The name of an archive; None for another file."""
    if not _FILE.fullmatch(text):
        return None
    slot, lineage, appended, entries, *_ = text.split(".")
    if not is_slot(slot):
        return None
    found = ArchiveName(slot=slot, lineage=lineage, appended=int(appended), entries=int(entries))
    return found if str(found) == text else None


def is_slot(text: str) -> bool:
    """Is it the time of an archive, `YYYYMMDDTHHMMSSZ`?"""
    try:
        datetime.datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    except ValueError:
        return False
    return _SLOT.fullmatch(text) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveReport:
    """What an archive holds, after a backup; what was added from it, after a restore.

    `kept` is the number of archives that are kept now. `warning` says why none was removed.
    """

    file: str
    size: int = 0
    worlds: int = 0
    events: int = 0
    concepts: int = 0
    relations: int = 0
    reviews: int = 0
    kept: int = 0
    warning: str = ""

    def text(self) -> str:
        """As JSON that fits a termination message."""
        return json.dumps(asdict(self) | {"warning": self.warning[:_MOST_SENTENCE]})


def archive_report(text: str) -> ArchiveReport | None:
    """The report in a termination message; None where it is none."""
    try:
        known = json.loads(text)
        report = ArchiveReport(
            file=shown(known["file"], _MOST_SENTENCE),
            size=_count(known["size"]),
            worlds=_count(known["worlds"]),
            events=_count(known["events"]),
            concepts=_count(known["concepts"]),
            relations=_count(known.get("relations", 0)),
            reviews=_count(known["reviews"]),
            kept=_count(known["kept"]),
            warning=shown(known["warning"], _MOST_SENTENCE),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return report if archive_name(report.file) else None


def _count(value: object) -> int:
    """Raises ValueError."""
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise ValueError("not a count")
    return value
