"""PURE: the lines of an archive: what a memory holds that no source brings back, as JSON Lines.

The first line names the format, the last one has the number and a checksum of all others, so that a file that was cut
off or changed is noticed.
"""

import base64
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from gameai.knowledge.archive_lines import (
    ConceptLine,
    EndLine,
    EventLine,
    Fields,
    HeadLine,
    OneLine,
    RelationLine,
    ReviewLine,
    WorldLine,
)

FORMAT, VERSION = "gameai-memory", 2
# Version 1 had no relations.
_READ = (1, VERSION)
# A concept with a summary of 2,000 characters and 32 attributes of 500, each written as two escapes of 6 bytes, and a vector of
# 4,000 dimensions.
MOST_LINE_BYTES = 1 << 19
# Lines that the end counts, by their fields of the end.
COUNTED: Mapping[type[Fields], str] = MappingProxyType(
    {
        WorldLine: "worlds",
        EventLine: "events",
        ConceptLine: "concepts",
        RelationLine: "relations",
        ReviewLine: "reviews",
    }
)
_DAMAGED = f"line {{}} is damaged or cut off, or not of an archive of version {VERSION} or before"
_OF_FORM = frozenset({"json_invalid", "extra_forbidden"})
_MOST_PLACES = 2


class ArchiveError(Exception):
    """The file is no archive that can be imported; the message says where and why."""


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


def line(number: int, given: str) -> Fields:
    """What stands in the line of this number. Raises `ArchiveError`."""
    try:
        found = OneLine.model_validate_json(given).only
    except ValidationError as error:
        raise ArchiveError(_fault(number, error)) from error
    if found is None:
        raise ArchiveError(_DAMAGED.format(number))
    if isinstance(found, HeadLine) and (found.format != FORMAT or found.version not in _READ):
        raise ArchiveError(f"the file is not a {FORMAT} archive of version {VERSION} or before")
    return found


def _fault(number: int, error: ValidationError) -> str:
    """The first value that is wrong; a line of no kind, and one with a field of another release, is damaged."""
    [first, *_] = error.errors(include_url=False, include_input=False, include_context=False)
    if first["type"] in _OF_FORM or len(first["loc"]) < _MOST_PLACES:
        return _DAMAGED.format(number)
    # Keys of attributes are a user's text.
    where = ".".join(map(str, first["loc"][:_MOST_PLACES]))
    return f"line {number}: {where}: {first['msg'].removeprefix('Value error, ')}"


def framed(given: Iterable[str]) -> Iterator[tuple[int, Fields]]:
    """The lines of a whole archive with their numbers: the head first, the end last, as many of each kind as the end says.

    The end itself is not among them. Raises `ArchiveError` at the first line that is wrong.
    """
    order, before = Order(), sha256()
    number = 0
    for number, each in enumerate(given, 1):
        found = line(number, each)
        order.take(number, found)
        if isinstance(found, EndLine):
            _check_sum(number, found, before.digest())
        else:
            yield number, found
        before.update(_bytes(each))
    order.check_end(number)


def _bytes(given: str) -> bytes:
    """A line as it counts for the checksum: an editor or a transfer may end lines otherwise."""
    return given.rstrip("\r\n").encode() + b"\n"


def _check_sum(number: int, found: EndLine, before: bytes) -> None:
    if found.sha256 not in (None, before):
        raise ArchiveError(
            f"line {number}: the checksum is not that of the lines before: the file is damaged, or was edited"
        )


class Written:
    """The lines of an archive that is written, and what its end says of them."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._before = sha256()

    @property
    def counts(self) -> Counts:
        """Lines so far."""
        return Counts(**{kind: self._counts[kind.removesuffix("s")] for kind in COUNTED.values()})

    def line(self, kind: str, fields: Mapping[str, Any]) -> str:
        """The next line, with its end."""
        made = text(kind, fields)
        self._counts[kind] += 1
        self._before.update(_bytes(made))
        return made

    def end(self) -> str:
        """The last line."""
        return text("end", {**asdict(self.counts), "sha256": self._before.digest()})


class Order:
    """What must be so of the lines before a line, and what they say together."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(COUNTED.values(), 0)
        self._head: HeadLine | None = None
        self._ended = False
        self._world: WorldLine | None = None
        self._sequence = 0
        self._worlds: set[str] = set()
        self._keys: set[str] = set()
        self._versions: tuple[object, int, int] = (None, 0, 0)

    def take(self, number: int, found: Fields) -> None:
        """The next line. Raises `ArchiveError`."""
        self._check_place(number, found)
        if type(found) in COUNTED:
            self._counts[COUNTED[type(found)]] += 1
        self._follow(number, found)

    def _follow(self, number: int, found: Fields) -> None:
        match found:
            case HeadLine():
                self._head = found
            case WorldLine():
                self._take_world(number, found)
            case EventLine():
                self._take_event(number, found)
            case ConceptLine():
                self._check_vector(number, found)
                self._take_version(number, found, (found.kind, found.name))
            case RelationLine():
                self._take_version(number, found, _relation(found))
            case EndLine():
                self._end(number, found)
            case _:
                # A review stands alone.
                pass

    def check_end(self, lines: int) -> None:
        """After the last line. Raises `ArchiveError`."""
        if not lines:
            raise ArchiveError("the file is empty")
        if not self._ended:
            raise ArchiveError("the archive ends early: it was cut off; import the whole file")

    def _check_place(self, number: int, found: Fields) -> None:
        first = isinstance(found, HeadLine)
        if number == 1 and not first:
            raise ArchiveError("the file does not begin with the head of an archive")
        if self._ended or (number > 1 and first):
            raise ArchiveError(f"line {number} is in a wrong place")

    def _end(self, number: int, found: EndLine) -> None:
        self._ended = True
        # Those of version 1 have no relations, and say nothing of them.
        first = self._head is not None and self._head.version == 1
        said = "relations" in found.model_fields_set
        if found.model_dump(exclude={"sha256"}) != self._counts or (said is first):
            raise ArchiveError(
                f"line {number} does not match the number of lines: the file is damaged"
            )

    def _take_world(self, number: int, found: WorldLine) -> None:
        if found.name in self._worlds:
            raise ArchiveError(f"line {number}: world {found.name} is there twice")
        self._worlds.add(found.name)
        self._world, self._sequence, self._keys = found, 0, set()

    def _take_event(self, number: int, found: EventLine) -> None:
        if self._world is None:
            raise ArchiveError(f"line {number} is before the line of its world")
        if not self._sequence < found.sequence <= self._world.last_sequence:
            raise ArchiveError(
                f"line {number}: event.sequence must be from {self._sequence + 1} to {self._world.last_sequence}, which"
                f" world {self._world.name} has reached"
            )
        if found.key in self._keys:
            raise ArchiveError(f"line {number}: event.key {found.key!r} is there twice")
        self._keys.add(found.key)
        self._check_vector(number, found)
        self._sequence = found.sequence

    def _check_vector(self, number: int, found: EventLine | ConceptLine) -> None:
        wanted = self._head.dimensions if self._head else 0
        if len(found.embedding) != 2 * wanted:
            raise ArchiveError(f"line {number}: embedding must have {wanted} dimensions")
        if self._head is not None and found.model != self._head.model:
            raise ArchiveError(
                f"line {number}: model must be that of the head, {self._head.model!r}"
            )

    def _take_version(self, number: int, found: ConceptLine | RelationLine, key: object) -> None:
        """Versions of one follow each other without a gap, and never go back in world time."""
        key = (self._world, type(found), key)
        last, version, seconds = self._versions
        if last != key:
            version, seconds = 0, found.from_seconds
        if found.version != version + 1 or found.from_seconds < seconds:
            raise ArchiveError(
                f"line {number} is not the version {version + 1} that must stand here, or holds from an earlier time than"
                " the one before: this line or the one before is damaged"
            )
        self._versions = (key, found.version, found.from_seconds)


def _relation(found: RelationLine) -> tuple[str, ...]:
    """Which relation it is, in its world."""
    subject, target = (
        (found.subject_kind, found.subject_name),
        (found.object_kind, found.object_name),
    )
    return (*subject, found.kind, *target)


def checked(given: Iterable[str]) -> Counts:
    """What a whole archive holds. Raises `ArchiveError`."""
    seen = Counter(COUNTED.get(type(found), "") for _, found in framed(given))
    return Counts(**{kind: seen[kind] for kind in COUNTED.values()})
