"""PURE: events of a world's history, their limits, and what is stored of them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from gameai.knowledge.records import Status

MOST_APPENDED = 32
# Characters of all events of a call: patterns and the embedding take up to a tenth of a millisecond for each.
MOST_APPENDED_CHARACTERS = 8_000
# Of a world. A search compares all of them: 30 to 100 ms at this number, with the length of the summaries.
MOST_EVENTS = 20_000
MOST_PAGE, PAGE = 100, 50
MOST_SUMMARY_CHARACTERS = 2000
MOST_PARTICIPANTS, MOST_PARTICIPANT_CHARACTERS = 32, 64
MOST_KINDS = 16
LEAST_SECONDS, MOST_SECONDS = -(2**53), 2**53


class Evidence(StrEnum):
    """How an event is known."""

    WITNESSED = "witnessed"
    REPORTED = "reported"
    RUMOUR = "rumour"
    SYSTEM = "system"


# Of an event that is sent without a confidence.
CONFIDENCE: Mapping[Evidence, int] = MappingProxyType(
    {
        Evidence.WITNESSED: 100,
        Evidence.SYSTEM: 100,
        Evidence.REPORTED: 70,
        Evidence.RUMOUR: 30,
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """What happened, as a caller sends it. `key` makes an append repeatable; times are seconds of the world's clock.

    `confidence` and `importance` are from 0 to 100.
    """

    key: str
    world_seconds: int
    kind: str
    summary: str
    participants: tuple[str, ...] = ()
    evidence: Evidence = Evidence.WITNESSED
    confidence: int = 100
    importance: int = 50

    @property
    def characters(self) -> int:
        """Of the texts that are checked."""
        return len(self.summary) + sum(map(len, self.participants))


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """An event with its summary as it is stored, and whether that is held for a review."""

    event: Event
    summary: str
    reasons: tuple[str, ...]

    @property
    def digest(self) -> bytes:
        """SHA-256 of the event as it is stored: what was removed from its summary cannot be guessed from it.

        The first part is a version: a release that adds a field must leave it out where it has its default.
        """
        event = self.event
        known = (
            1,
            event.world_seconds,
            event.kind,
            self.summary,
            event.participants,
            event.evidence.value,
            event.confidence,
            event.importance,
        )
        return hashlib.sha256(json.dumps(known).encode()).digest()

    @property
    def status(self) -> Status:
        """Held where there is a reason."""
        return Status.QUARANTINED if self.reasons else Status.LIVE


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """An event of a history. `sequence` counts from 1 in each world; `account` wrote it."""

    sequence: int
    event: Event
    account: str
    recorded_at: datetime
    status: Status
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A hit of a search. `similarity` is a cosine, 0 where only words were compared."""

    recorded: Recorded
    score: float
    similarity: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Appended:
    """What became of an event: its number, whether it was there before, and whether it is found."""

    sequence: int
    known: bool
    status: Status


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """Which events: from one second of world time to another, both included, and of a confidence or more."""

    from_seconds: int = LEAST_SECONDS
    until_seconds: int = MOST_SECONDS
    confidence: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A page of a history: events after a number, in order. Empty `kinds` and `participant` are all."""

    window: Window
    after: int = 0
    count: int = PAGE
    kinds: Sequence[str] = ()
    participant: str = ""
    held: bool = False
