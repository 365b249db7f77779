"""PURE: events of a world's history, their limits, and what is stored of them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gameai.knowledge.records import Status

MOST_APPENDED = 64
# Of a world. A search compares the vectors of all of them: about 60 ms at this number.
MOST_EVENTS = 100_000
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
    def digest(self) -> bytes:
        """SHA-256 of all of it."""
        known = (
            self.key,
            self.world_seconds,
            self.kind,
            self.summary,
            self.participants,
            self.evidence.value,
            self.confidence,
            self.importance,
        )
        return hashlib.sha256(json.dumps(known).encode()).digest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """An event with its summary as it is stored, and whether that is held for a review."""

    event: Event
    summary: str
    reasons: tuple[str, ...]

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
    """What became of an event: its number, and whether it was there before."""

    sequence: int
    known: bool
    held: bool


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
