"""PURE: concepts of stories, their versions and limits."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

# Of a world, and of all worlds together. A search compares one version of each of both.
MOST_CONCEPTS = 5000
MOST_VERSIONS = 10_000
MOST_NAME_CHARACTERS = 128
MOST_SUMMARY_CHARACTERS = 2000
MOST_ATTRIBUTES, MOST_VALUE_CHARACTERS = 32, 500
# In a request that lists concepts.
MOST_ATTRIBUTES_COMPARED = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """Which concept it is; `world` empty: of all worlds."""

    world: str
    kind: str
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What is said of a concept from a second of world time on; `cause` is the number of an event, 0: none."""

    summary: str
    attributes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    from_seconds: int = 0
    cause: int = 0

    @property
    def digest(self) -> bytes:
        """SHA-256 of all of it. The first part is a version, as in events."""
        known = (1, self.summary, sorted(self.attributes.items()), self.from_seconds, self.cause)
        return hashlib.sha256(json.dumps(known).encode()).digest()

    @property
    def text(self) -> str:
        """Everything in it that a reader may see."""
        return "\n".join(
            (self.summary, *(f"{key}: {value}" for key, value in self.attributes.items()))
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Evolution:
    """A version to write, as it is stored; it follows the version `expected`, 0: none."""

    concept: Named
    expected: int
    stored: Content

    @property
    def embedded(self) -> str:
        """The text that is embedded, and whose words are compared."""
        return embedded(self.concept.name, self.stored)


def embedded(name: str, content: Content) -> str:
    """The text of a version that is embedded."""
    return f"{name}\n{content.text}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A version of a concept."""

    concept: Named
    number: int
    content: Content
    account: str
    recorded_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """Which concepts to list, as a world sees them at a time of it: after a kind and name, in their order, so many."""

    world: str
    kinds: tuple[str, ...]
    attributes: Mapping[str, str]
    after: tuple[str, str]
    seconds: int
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A hit of a search. `similarity` is a cosine, 0 where only words were compared."""

    version: Version
    score: float
    similarity: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Evolved:
    """The number of a version that was written, or was there before by the same call."""

    version: int
    known: bool
