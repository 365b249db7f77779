"""PURE: conditions: what is true of an object, folded so that times change only when states do."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MOST_MESSAGE = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """A condition as it is decided, without time or generation."""

    type: str
    status: bool | None
    reason: str
    message: str = ""

    @property
    def word(self) -> str:
        """True, False or Unknown, as the API spells it."""
        return "Unknown" if self.status is None else str(self.status)


@dataclass(frozen=True, kw_only=True, slots=True)
class Transition:
    """A change worth an event: of a condition's status, or of its reason."""

    type: str
    before: str | None
    word: str
    reason: str
    message: str


def fold(
    before: Iterable[Mapping[str, Any]],
    wanted: Iterable[Condition],
    *,
    generation: int,
    now: str,
) -> list[dict[str, Any]]:
    """The conditions to report: `now` (RFC 3339) only where a status changed, else the time it had."""
    old = {entry["type"]: entry for entry in before}
    return [_folded(old.get(each.type), each, generation, now) for each in wanted]


def _folded(
    old: Mapping[str, Any] | None, wanted: Condition, generation: int, now: str
) -> dict[str, Any]:
    kept = old is not None and old["status"] == wanted.word
    return {
        "type": wanted.type,
        "status": wanted.word,
        "reason": wanted.reason,
        "message": wanted.message[:MOST_MESSAGE],
        "lastTransitionTime": old["lastTransitionTime"] if old is not None and kept else now,
        "observedGeneration": generation,
    }


def transitions(
    before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]]
) -> list[Transition]:
    """Conditions whose status or reason differs; a changed message alone is not a change of state."""
    old = {entry["type"]: entry for entry in before}
    return [
        Transition(
            type=entry["type"],
            before=_get(old.get(entry["type"]), "status"),
            word=entry["status"],
            reason=entry["reason"],
            message=entry["message"],
        )
        for entry in after
        if _state(old.get(entry["type"])) != _state(entry)
    ]


def _state(entry: Mapping[str, Any] | None) -> tuple[str | None, str | None]:
    return _get(entry, "status"), _get(entry, "reason")


def _get(entry: Mapping[str, Any] | None, name: str) -> str | None:
    return None if entry is None else entry[name]
