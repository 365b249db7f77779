"""PURE: what the memory holds and returns, and the limits of both."""

from dataclasses import dataclass, field
from enum import StrEnum

# A part of the digest of a source: a release that cuts or cleans in another way ingests again.
PIPELINE = "1"
# Of kinds of events, concepts and relations, and of keys of attributes.
KIND_PATTERN = "[a-z0-9._-]{1,64}"
MOST_HITS = 100
MOST_AUDIENCE, MOST_AUDIENCE_CHARACTERS = 32, 64
MOST_TRUST = 100
MOST_QUERY_CHARACTERS = 4096
MOST_BATCH, MOST_BATCH_HITS = 64, 1000


class Scope(StrEnum):
    """Where a query looks."""

    GLOBAL = "global"
    WORLD = "world"
    GLOBAL_AND_WORLD = "global_and_world"


class Mode(StrEnum):
    """How a query looks: by meaning, by words, or both, ranked together."""

    VECTOR = "vector"
    TEXT = "text"
    HYBRID = "hybrid"


class Status(StrEnum):
    """Only LIVE text is found. QUARANTINED text waits for a review, REJECTED text has had one."""

    LIVE = "live"
    QUARANTINED = "quarantined"
    REJECTED = "rejected"


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """A piece of a document: its content as it is found, and where it stands in the document's bytes."""

    number: int
    title: str
    section: str
    content: str
    begin_byte: int
    end_byte: int
    status: Status = Status.LIVE
    reasons: tuple[str, ...] = ()

    @property
    def embedded(self) -> str:
        """The text that is embedded: the path of sections, or else the title, gives a short piece its subject."""
        return "\n".join(filter(None, (self.section or self.title, self.content)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where documents come from, and what they may do: `world` empty is lore of all worlds; trust is from 0 to 100."""

    name: str
    world: str = ""
    trust: int = 90


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where a hit comes from: a slice of the document's bytes, and the hash of the whole document."""

    source: str
    document: str
    section: str
    document_sha256: bytes
    begin_byte: int
    end_byte: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """One result. Ranks begin with 1; 0: not in that list. `similarity` is a cosine, 0 where only words were compared."""

    chunk_id: int
    scope: Scope
    content: str
    score: float
    similarity: float
    vector_rank: int
    text_rank: int
    trust: int
    provenance: Provenance


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """What to look for. Hits have at least `trust`, and an audience among `audience` or none.

    `vector` is little-endian 32-bit floats, as many as the model has dimensions; empty: not known yet.
    """

    scope: Scope
    mode: Mode
    text: str = ""
    vector: bytes = b""
    count: int = 10
    trust: int = 50
    audience: tuple[str, ...] = ()
    high_quality: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What an ingestion did. `embedded` counts texts that were computed, not those that were kept."""

    source: str
    documents: int = 0
    chunks: int = 0
    quarantined: int = 0
    embedded: int = 0
    removed_documents: int = 0
    failed: tuple[str, ...] = field(default=())
    unchanged: bool = False
