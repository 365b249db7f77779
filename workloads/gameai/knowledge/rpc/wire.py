"""PURE: requests of the wire to queries, and hits to messages."""

import re
from types import MappingProxyType

import numpy as np
from gameai_contract.knowledge import is_world

from gameai.errors import InvalidArgumentError
from gameai.knowledge.ingestion.cleaning import clean
from gameai.knowledge.ingestion.redaction import redact
from gameai.knowledge.records import (
    KIND_PATTERN,
    MOST_AUDIENCE,
    MOST_AUDIENCE_CHARACTERS,
    MOST_HITS,
    MOST_QUERY_CHARACTERS,
    MOST_TRUST,
    Hit,
    Mode,
    Provenance,
    Query,
    Scope,
)
from gameai.knowledge.v1 import knowledge_pb2 as pb

KIND = re.compile(KIND_PATTERN)
_SCOPES = MappingProxyType(
    {
        pb.SCOPE_GLOBAL: Scope.GLOBAL,
        pb.SCOPE_WORLD: Scope.WORLD,
        pb.SCOPE_GLOBAL_AND_WORLD: Scope.GLOBAL_AND_WORLD,
    }
)
_OF_SCOPE = MappingProxyType({scope: number for number, scope in _SCOPES.items()})
_MODES = MappingProxyType(
    {pb.MODE_VECTOR: Mode.VECTOR, pb.MODE_TEXT: Mode.TEXT, pb.MODE_HYBRID: Mode.HYBRID}
)
_QUALITIES = (pb.QUALITY_UNSPECIFIED, pb.QUALITY_STANDARD, pb.QUALITY_HIGH)
_COUNT, _TRUST = 10, 50
# What is stored must not change where it is stored again.
_MOST_ROUNDS = 4
_MOST_NAME, _MOST_SHOWN = 253, 130


def query(request: pb.SearchRequest, dimensions: int) -> Query:
    """What is asked for, with every default. Raises `InvalidArgumentError` with the field and what it takes."""
    vector = _vector(request, dimensions)
    text = _text(request)
    return Query(
        scope=_scope(request),
        mode=_mode(request),
        text=text,
        vector=vector,
        count=number("count", request.count or _COUNT, 1, MOST_HITS),
        trust=number(
            "minimum_trust",
            request.minimum_trust if request.HasField("minimum_trust") else _TRUST,
            0,
            MOST_TRUST,
        ),
        audience=_audience(request),
        high_quality=_quality(request),
    )


def world(name: str) -> str:
    """A world's name; empty: none. Raises `InvalidArgumentError`."""
    if name and not is_world(name):
        raise InvalidArgumentError(
            f"world {name[:_MOST_SHOWN]!r} must be namespace/name", field="world"
        )
    return name


def name(value: str, field: str) -> str:
    """The name of a source, a document or a person. Raises `InvalidArgumentError`."""
    if len(value) > _MOST_NAME or "\0" in value:
        raise InvalidArgumentError(
            f"{field} must have at most {_MOST_NAME} characters", field=field
        )
    return value


def kind(value: str, field: str) -> str:
    """The kind of an event, a concept or a relation. Raises `InvalidArgumentError`."""
    if not KIND.fullmatch(value):
        raise InvalidArgumentError(
            f"{field} must be 1 to 64 lower-case letters, digits, '.', '_', '-'", field=field
        )
    return value


def search_text(value: str) -> str:
    """The text of a search of events or concepts. Raises `InvalidArgumentError`."""
    text = value.replace("\0", " ")
    if not text.strip() or len(text) > MOST_QUERY_CHARACTERS:
        raise InvalidArgumentError(
            f"text must have 1 to {MOST_QUERY_CHARACTERS} characters, not {len(text)}", field="text"
        )
    return text


def plain(value: str, field: str, most: int) -> str:
    """A text as it is stored: without personal data, in one form of each character. Raises `InvalidArgumentError`."""
    text = value
    for _ in range(_MOST_ROUNDS):
        # Again redacted: full-width letters and digits are plain ones only now.
        before, text = text, redact(clean(redact(text)))
        if text == before:
            break
    else:
        raise InvalidArgumentError(
            f"{field} has marks within marks: write it without tags", field=field
        )
    if len(text) > most:
        raise InvalidArgumentError(
            f"{field} has {len(text)} characters in plain form (NFKC), at most {most} are allowed",
            field=field,
        )
    return text


def _text(request: pb.SearchRequest) -> str:
    if request.WhichOneof("query") == "vector_f32":
        return ""
    if not request.text.strip():
        raise InvalidArgumentError("text must not be empty; or set vector_f32", field="text")
    if len(request.text) > MOST_QUERY_CHARACTERS:
        raise InvalidArgumentError(
            f"text has {len(request.text)} characters, at most {MOST_QUERY_CHARACTERS} are allowed",
            field="text",
        )
    # Postgres stores no NUL.
    return request.text.replace("\0", " ")


def _vector(request: pb.SearchRequest, dimensions: int) -> bytes:
    data = request.vector_f32
    if request.WhichOneof("query") != "vector_f32":
        return b""
    if len(data) != 4 * dimensions:
        raise InvalidArgumentError(
            f"vector_f32 has {len(data)} bytes; the model has {dimensions} dimensions, so {4 * dimensions} are needed",
            field="vector_f32",
        )
    found = np.frombuffer(data, "<f4")
    # A vector of zeros has no direction, and NaN compares with nothing.
    length = float(np.linalg.norm(found.astype(np.float64)))
    if not 0 < length < np.inf:
        raise InvalidArgumentError(
            "vector_f32 must hold finite numbers that are not all 0", field="vector_f32"
        )
    # Half precision, in which vectors are compared, has neither small nor large numbers.
    return (found / length).astype("<f4").tobytes()


def _scope(request: pb.SearchRequest) -> Scope:
    world(request.world)
    if request.scope == pb.SCOPE_UNSPECIFIED:
        return Scope.GLOBAL_AND_WORLD if request.world else Scope.GLOBAL
    if request.scope not in _SCOPES:
        raise InvalidArgumentError(f"scope {request.scope} is not known", field="scope")
    if request.scope != pb.SCOPE_GLOBAL and not request.world:
        raise InvalidArgumentError(
            "world must be set to search a world; or set scope to SCOPE_GLOBAL", field="world"
        )
    return _SCOPES[request.scope]


def _mode(request: pb.SearchRequest) -> Mode:
    by_vector = request.WhichOneof("query") == "vector_f32"
    if request.mode == pb.MODE_UNSPECIFIED:
        return Mode.VECTOR if by_vector else Mode.HYBRID
    if request.mode not in _MODES:
        raise InvalidArgumentError(f"mode {request.mode} is not known", field="mode")
    if by_vector and request.mode != pb.MODE_VECTOR:
        raise InvalidArgumentError(
            "mode must be MODE_VECTOR with vector_f32: there are no words to compare", field="mode"
        )
    return _MODES[request.mode]


def _quality(request: pb.SearchRequest) -> bool:
    if request.quality not in _QUALITIES:
        raise InvalidArgumentError(f"quality {request.quality} is not known", field="quality")
    return bool(request.quality == pb.QUALITY_HIGH)


def _audience(request: pb.SearchRequest) -> tuple[str, ...]:
    if len(request.audience) > MOST_AUDIENCE or any(
        not each or len(each) > MOST_AUDIENCE_CHARACTERS or "\0" in each
        for each in request.audience
    ):
        raise InvalidArgumentError(
            f"audience takes at most {MOST_AUDIENCE} names of 1 to {MOST_AUDIENCE_CHARACTERS} characters",
            field="audience",
        )
    return tuple(request.audience)


def number(field: str, value: int, least: int, most: int) -> int:
    """A number within its limits. Raises `InvalidArgumentError`."""
    if not least <= value <= most:
        raise InvalidArgumentError(
            f"{field} must be from {least} to {most}, not {value}", field=field
        )
    return value


def hit_message(hit: Hit) -> pb.Hit:
    """The message of a hit."""
    return pb.Hit(
        chunk_id=hit.chunk_id,
        content=hit.content,
        score=hit.score,
        similarity=hit.similarity,
        vector_rank=hit.vector_rank,
        text_rank=hit.text_rank,
        scope=_OF_SCOPE[hit.scope],
        trust=hit.trust,
        provenance=provenance_message(hit.provenance),
    )


def provenance_message(found: Provenance) -> pb.Provenance:
    """The message of a provenance."""
    return pb.Provenance(
        source=found.source,
        document=found.document,
        section=found.section,
        document_sha256=found.document_sha256,
        begin_byte=found.begin_byte,
        end_byte=found.end_byte,
    )
