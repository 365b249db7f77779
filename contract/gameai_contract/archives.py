"""PURE: what operator and memory pass to each other about archives: their names, and reports of backups and restores."""

import json
import re
from dataclasses import asdict, dataclass

# Where the pods of Jobs find a claim with archives.
ARCHIVES_FOLDER = "/archives"
# Archives of a knowledge base that are kept, at most.
MOST_KEPT = 366
_MOST_SENTENCE = 1000
# `YYYYMMDDTHHMMSSZ.<events so far>.<entries>.jsonl.gz`: sorted by name is sorted by time.
SLOT_PATTERN = "[0-9]{8}T[0-9]{6}Z"
FILE_PATTERN = rf"{SLOT_PATTERN}\.[0-9]{{1,18}}\.[0-9]{{1,18}}\.jsonl\.gz"
_FILE = re.compile(FILE_PATTERN)
_SLOT = re.compile(SLOT_PATTERN)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveName:
    """The name of an archive, which says what it holds.

    `slot` is the time for which it was made, in UTC. `appended` is the number of events that the worlds have ever had: it
    grows, whatever is deleted. `entries` is the number of events, versions of concepts, and reviews.
    """

    slot: str
    appended: int
    entries: int

    def __str__(self) -> str:
        """The name of the file."""
        return f"{self.slot}.{self.appended}.{self.entries}.jsonl.gz"


def archive_name(text: str) -> ArchiveName | None:
    """The name of an archive; None for another file."""
    if not _FILE.fullmatch(text):
        return None
    slot, appended, entries, *_ = text.split(".")
    return ArchiveName(slot=slot, appended=int(appended), entries=int(entries))


def is_slot(text: str) -> bool:
    """Is it the time of an archive, `YYYYMMDDTHHMMSSZ`?"""
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
            file=_plain(known["file"]),
            size=_count(known["size"]),
            worlds=_count(known["worlds"]),
            events=_count(known["events"]),
            concepts=_count(known["concepts"]),
            reviews=_count(known["reviews"]),
            kept=_count(known["kept"]),
            warning=_plain(known["warning"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return report if archive_name(report.file) else None


def _count(value: object) -> int:
    """Raises ValueError."""
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise ValueError("not a count")
    return value


def _plain(value: object) -> str:
    """A text that can be stored and shown."""
    text = str(value)[:_MOST_SENTENCE]
    return "".join(each if each.isprintable() else "?" for each in text)
