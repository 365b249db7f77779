"""PURE: what a line of an archive may say: its fields, and the forms, ranges and lengths that the memory writes."""

import base64
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from gameai_contract.knowledge import is_world
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from gameai.knowledge.concepts import (
    MOST_ATTRIBUTES,
    MOST_NAME_CHARACTERS,
    MOST_VALUE_CHARACTERS,
    MOST_VERSIONS,
)
from gameai.knowledge.events import (
    LEAST_SECONDS,
    MOST_PARTICIPANT_CHARACTERS,
    MOST_PARTICIPANTS,
    MOST_SECONDS,
    MOST_SUMMARY_CHARACTERS,
    Evidence,
)
from gameai.knowledge.records import KIND_PATTERN, Status
from gameai.knowledge.relations import MOST_RELATION_VERSIONS, MOST_STRENGTH

# PostgreSQL's bigint holds more; the memory counts in steps of one.
_MOST_SEQUENCE = 1 << 62
# Accounts, sources and reviewers; reasons of one text.
_MOST_NAME, _MOST_REASONS = 1000, 64
_SHA256_BYTES = 32
# Of a half-precision number, in its second byte.
_EXPONENT = 0x7C
# halfvec of pgvector.
_MOST_DIMENSIONS = 4000
# A time zone may move a time out of the years that the database and Python both hold.
_YEARS = range(1970, 9999)


def _bytes(value: object) -> bytes:
    """Raises ValueError."""
    try:
        return base64.b64decode(str(value), validate=True)
    except ValueError as error:
        raise ValueError("base64 is expected") from error


def _world(value: str) -> str:
    if value and not is_world(value):
        raise ValueError("namespace/name is expected")
    return value


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("NUL is not allowed")
    return value


def _time(value: object) -> datetime:
    """Raises ValueError."""
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise ValueError("a time with a zone is expected") from error
    if found.tzinfo is None or found.year not in _YEARS:
        raise ValueError(
            f"a time with a zone, of a year from {_YEARS.start} to {_YEARS.stop - 1}, is expected"
        )
    return found


def _time_or_none(value: object) -> datetime | None:
    return None if value == "" else _time(value)


def _finite(value: bytes) -> bytes:
    # All bits of a number's exponent are set in infinity and NaN.
    if any(each & _EXPONENT == _EXPONENT for each in value[1::2]):
        raise ValueError("numbers that are finite are expected")
    return value


Text = Annotated[str, AfterValidator(_without_nul)]
Kind = Annotated[str, StringConstraints(pattern=f"^{KIND_PATTERN}$")]
Name = Annotated[Text, Field(max_length=_MOST_NAME)]
ConceptName = Annotated[Text, Field(min_length=1, max_length=MOST_NAME_CHARACTERS)]
Summary = Annotated[Text, Field(max_length=MOST_SUMMARY_CHARACTERS)]
Seconds = Annotated[int, Field(ge=LEAST_SECONDS, le=MOST_SECONDS)]
Sequence = Annotated[int, Field(ge=0, le=_MOST_SEQUENCE)]
Percent = Annotated[int, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0)]
Time = Annotated[datetime, BeforeValidator(_time)]
World = Annotated[str, AfterValidator(_world)]
Sha256 = Annotated[
    bytes, BeforeValidator(_bytes), Field(min_length=_SHA256_BYTES, max_length=_SHA256_BYTES)
]
# Two bytes for each dimension, little-endian.
Vector = Annotated[
    bytes,
    BeforeValidator(_bytes),
    Field(max_length=2 * _MOST_DIMENSIONS),
    AfterValidator(_finite),
]


class _Fields(BaseModel):
    """The fields of one kind of line; others are not allowed."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid", frozen=True)


class HeadLine(_Fields):
    """The first line."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="ignore", frozen=True)

    format: str
    version: int
    model: Name
    dimensions: Annotated[int, Field(ge=1, le=_MOST_DIMENSIONS)]


class WorldLine(_Fields):
    """A world; its events, concepts and relations follow."""

    name: Annotated[World, Field(min_length=1)]
    last_sequence: Sequence


class EventLine(_Fields):
    """An event of the world before it."""

    sequence: Annotated[Sequence, Field(ge=1)]
    key: Annotated[Text, Field(min_length=1, max_length=64)]
    digest: Sha256
    world_seconds: Seconds
    kind: Kind
    summary: Summary
    participants: Annotated[
        list[Annotated[Text, Field(min_length=1, max_length=MOST_PARTICIPANT_CHARACTERS)]],
        Field(max_length=MOST_PARTICIPANTS),
    ]
    evidence: Evidence
    confidence: Percent
    importance: Percent
    account: Name
    recorded_at: Time
    status: Status
    reasons: Annotated[list[Name], Field(max_length=_MOST_REASONS)]
    reviewer: Name
    # Empty: not reviewed.
    reviewed_at: Annotated[datetime | None, BeforeValidator(_time_or_none)]
    model: Name
    embedding: Vector


class ConceptLine(_Fields):
    """A version of a concept of the world before it; before the first world of all worlds."""

    kind: Kind
    name: ConceptName
    version: Annotated[int, Field(ge=1, le=MOST_VERSIONS)]
    from_seconds: Seconds
    summary: Summary
    attributes: Annotated[
        dict[Kind, Annotated[Text, Field(max_length=MOST_VALUE_CHARACTERS)]],
        Field(max_length=MOST_ATTRIBUTES),
    ]
    digest: Sha256
    cause_sequence: Sequence
    account: Name
    recorded_at: Time
    model: Name
    embedding: Vector


class RelationLine(_Fields):
    """A version of a relation, of the world before it; before the first world of all worlds."""

    subject_kind: Kind
    subject_name: ConceptName
    kind: Kind
    object_kind: Kind
    object_name: ConceptName
    version: Annotated[int, Field(ge=1, le=MOST_RELATION_VERSIONS)]
    from_seconds: Seconds
    ended: bool
    strength: Annotated[int, Field(ge=1, le=MOST_STRENGTH)]
    cause_sequence: Sequence
    account: Name
    recorded_at: Time


class ReviewLine(_Fields):
    """A decision on a text that was held. `world` empty: of the lore of all worlds."""

    source: Name
    world: World
    content_sha256: Sha256
    verdict: Literal["live", "rejected"]
    reviewer: Name
    reviewed_at: Time


class EndLine(_Fields):
    """The last line: the number of lines of each kind, and the SHA-256 of all lines before. Archives of version 1 have neither relations nor that."""

    worlds: Count
    events: Count
    concepts: Count
    relations: Count = 0
    reviews: Count
    sha256: Sha256 | None = None


Fields = HeadLine | WorldLine | EventLine | ConceptLine | RelationLine | ReviewLine | EndLine


class OneLine(BaseModel):
    """A line: a kind, and its fields."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid", frozen=True)

    head: HeadLine | None = None
    world: WorldLine | None = None
    event: EventLine | None = None
    concept: ConceptLine | None = None
    relation: RelationLine | None = None
    review: ReviewLine | None = None
    end: EndLine | None = None

    @property
    def only(self) -> Fields | None:
        """The fields of the line; None where it is not of exactly one kind."""
        found = [value for _, value in self if value is not None]
        return found[0] if len(found) == 1 else None
