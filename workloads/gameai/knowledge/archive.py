"""PURE: the lines of an archive: what a memory holds that no source brings back, as JSON Lines.

The first line names the format, the last one counts all others, so that a file that was cut off is noticed.
"""

import base64
import binascii
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

FORMAT, VERSION = "gameai-memory", 2
# Version 1 had no relations.
_READ = (1, VERSION)
# An event with a summary of 2,000 characters of 4 bytes, written as escapes, and a vector of 4,000 dimensions.
MOST_LINE_BYTES = 1 << 17
_EVENT: Mapping[str, type] = MappingProxyType(
    {
        "sequence": int,
        "key": str,
        "digest": str,
        "world_seconds": int,
        "kind": str,
        "summary": str,
        "participants": list,
        "evidence": str,
        "confidence": int,
        "importance": int,
        "account": str,
        "recorded_at": str,
        "status": str,
        "reasons": list,
        "reviewer": str,
        # Empty: not reviewed.
        "reviewed_at": str,
        "model": str,
        "embedding": str,
    }
)
_REVIEW: Mapping[str, type] = MappingProxyType(
    {
        "source": str,
        "world": str,
        "content_sha256": str,
        "verdict": str,
        "reviewer": str,
        "reviewed_at": str,
    }
)
_CONCEPT: Mapping[str, type] = MappingProxyType(
    {
        "kind": str,
        "name": str,
        "version": int,
        "from_seconds": int,
        "summary": str,
        "attributes": dict,
        "digest": str,
        "cause_sequence": int,
        "account": str,
        "recorded_at": str,
        "model": str,
        "embedding": str,
    }
)
_RELATION: Mapping[str, type] = MappingProxyType(
    {
        "subject_kind": str,
        "subject_name": str,
        "kind": str,
        "object_kind": str,
        "object_name": str,
        "version": int,
        "from_seconds": int,
        "ended": bool,
        "strength": int,
        "cause_sequence": int,
        "account": str,
        "recorded_at": str,
    }
)
_WORLD: Mapping[str, type] = MappingProxyType({"name": str, "last_sequence": int})
_COUNTS: Mapping[str, type] = MappingProxyType(
    {"worlds": int, "events": int, "concepts": int, "relations": int, "reviews": int}
)
_HEAD: Mapping[str, type] = MappingProxyType(
    {"format": str, "version": int, "model": str, "dimensions": int}
)
_KINDS = MappingProxyType(
    {
        "head": _HEAD,
        "world": _WORLD,
        "event": _EVENT,
        "concept": _CONCEPT,
        "relation": _RELATION,
        "review": _REVIEW,
        "end": _COUNTS,
    }
)

# Kinds of lines that the end counts.
COUNTED = ("world", "event", "concept", "relation", "review")


class ArchiveError(Exception):
    """The file is no archive that can be imported; the message says where and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """What stands in a line, and its fields.

    An event is of the world before it. So is the version of a concept or of a relation; before the first world it is of all worlds.
    """

    kind: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Lines of each kind; of concepts and relations one for each version."""

    worlds: int = 0
    events: int = 0
    concepts: int = 0
    relations: int = 0
    reviews: int = 0


def text(kind: str, fields: Mapping[str, Any]) -> str:
    """A line, with its end. Bytes are written as base64."""
    plain = {
        key: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for key, value in fields.items()
    }
    return json.dumps({kind: plain}) + "\n"


def line(number: int, given: str) -> Line:
    """What stands in the line of this number. Raises `ArchiveError`."""
    try:
        [(kind, fields)] = json.loads(given).items()
        wanted = _KINDS[kind]
        if kind == "end":
            fields.setdefault("relations", 0)
        right = set(fields) == set(wanted) and all(
            type(fields[key]) is each for key, each in wanted.items()
        )
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        right = False
    if not right:
        raise ArchiveError(
            f"line {number} is damaged or cut off, or not of an archive of version {VERSION} or before"
        )
    if kind == "head" and (fields["format"] != FORMAT or fields["version"] not in _READ):
        raise ArchiveError(f"the file is not a {FORMAT} archive of version {VERSION} or before")
    return Line(kind=kind, fields=fields)


def framed(given: Iterable[str]) -> Iterator[tuple[int, Line]]:
    """The lines of a whole archive with their numbers: the head first, the end last, as many of each kind as the end says.

    The end itself is not among them. Raises `ArchiveError` at the first line that is wrong.
    """
    seen = dict.fromkeys(COUNTED, 0)
    kind = ""
    for number, each in enumerate(given, 1):
        found = line(number, each)
        if number == 1 and found.kind != "head":
            raise ArchiveError("the file does not begin with the head of an archive")
        if number > 1 and (found.kind == "head" or kind == "end"):
            raise ArchiveError(f"line {number} is in a wrong place")
        kind = found.kind
        if kind == "end":
            _check_end(number, found, seen)
            continue
        if kind in seen:
            seen[kind] += 1
        yield number, found
    _check_last(kind)


def _check_end(number: int, found: Line, seen: Mapping[str, int]) -> None:
    if found.fields != {f"{key}s": value for key, value in seen.items()}:
        raise ArchiveError(f"line {number} does not match the number of lines: the file is damaged")


def _check_last(kind: str) -> None:
    if not kind:
        raise ArchiveError("the file is empty")
    if kind != "end":
        raise ArchiveError(
            "the archive ends early: it was cut off. What came before was imported; import the whole file again"
        )


def checked(given: Iterable[str]) -> Counts:
    """What a whole archive holds. Raises `ArchiveError`."""
    seen = Counter(found.kind for _, found in framed(given))
    return Counts(**{f"{kind}s": seen[kind] for kind in COUNTED})


def data(number: int, value: str) -> bytes:
    """The bytes of a field. Raises `ArchiveError`."""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ArchiveError(f"line {number}: base64 is expected") from error
