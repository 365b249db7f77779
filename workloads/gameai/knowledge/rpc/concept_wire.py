"""PURE: concepts of the wire to concepts, and back."""

from collections.abc import Sequence

from gameai.errors import InvalidArgumentError
from gameai.knowledge.concepts import (
    MOST_ATTRIBUTES,
    MOST_ATTRIBUTES_COMPARED,
    MOST_NAME_CHARACTERS,
    MOST_SUMMARY_CHARACTERS,
    MOST_VALUE_CHARACTERS,
    Content,
    Found,
    Listing,
    Named,
    Version,
)
from gameai.knowledge.events import LEAST_SECONDS, MOST_KINDS, MOST_PAGE, MOST_SECONDS, PAGE
from gameai.knowledge.ingestion.cleaning import clean
from gameai.knowledge.records import MOST_HITS
from gameai.knowledge.rpc import wire
from gameai.knowledge.rpc.wire import KIND, number
from gameai.knowledge.v1 import concepts_pb2 as pb
from gameai.knowledge.v1 import relations_pb2

_COUNT = 10
_MOST_NUMBER = (1 << 31) - 1


def named(world: str, kind: str, name: str, where: str = "") -> Named:
    """Which concept is meant. Raises `InvalidArgumentError` with the field and what it takes."""
    wire.kind(kind, f"{where}kind")
    # One form of each character: names that look the same are one concept.
    name = clean(name)
    if not name or len(name) > MOST_NAME_CHARACTERS or not name.isprintable():
        raise InvalidArgumentError(
            f"{where}name must have 1 to {MOST_NAME_CHARACTERS} printable characters",
            field=f"{where}name",
        )
    return Named(world=wire.world(world), kind=kind, name=name)


def absent(concept: Named, *, then: bool = False) -> str:
    """A sentence for a concept that its world does not see; `then`: at the time that was given."""
    what = f"concept {concept.kind} {concept.name!r}"
    found = (
        f"world {concept.world} has no {what}"
        if concept.world
        else f"no {what} is shared by all worlds"
    )
    return f"{found}{' at that time' if then else ''}: SearchConcepts finds others"


def content(request: pb.EvolveConceptRequest) -> Content:
    """What is said of it. Raises `InvalidArgumentError`."""
    summary = request.concept.summary
    if not 0 < len(summary.strip()) <= len(summary) <= MOST_SUMMARY_CHARACTERS:
        raise InvalidArgumentError(
            f"concept.summary must have 1 to {MOST_SUMMARY_CHARACTERS} characters, not {len(summary)}",
            field="concept.summary",
        )
    from_seconds, cause = since(request)
    return Content(
        summary=summary.replace("\0", " "),
        attributes=_attributes(request.concept),
        from_seconds=from_seconds,
        cause=cause,
    )


def since(
    request: pb.EvolveConceptRequest | relations_pb2.WriteRelationRequest,
) -> tuple[int, int]:
    """From which second of world time a version holds, and the number of the event that caused it. Raises `InvalidArgumentError`."""
    if not request.world and (request.world_seconds or request.cause_sequence):
        raise InvalidArgumentError(
            "world_seconds and cause_sequence are those of a world: set world, or leave them out",
            field="world_seconds",
        )
    from_seconds = number("world_seconds", request.world_seconds, LEAST_SECONDS, MOST_SECONDS)
    return from_seconds, number("cause_sequence", request.cause_sequence, 0, 1 << 62)


def _attributes(given: pb.Concept) -> dict[str, str]:
    field = "concept.attributes"
    if len(given.attributes) > MOST_ATTRIBUTES:
        raise InvalidArgumentError(
            f"{field} must be at most {MOST_ATTRIBUTES}, not {len(given.attributes)}", field=field
        )
    for key, value in given.attributes.items():
        if not KIND.fullmatch(key) or len(value) > MOST_VALUE_CHARACTERS:
            raise InvalidArgumentError(
                f"{field} takes keys of 1 to 64 lower-case letters, digits, '.', '_', '-' and values of at most"
                f" {MOST_VALUE_CHARACTERS} characters",
                field=field,
            )
    return {key: value.replace("\0", " ") for key, value in sorted(given.attributes.items())}


def expected(request: pb.EvolveConceptRequest | relations_pb2.WriteRelationRequest) -> int:
    """The version that is followed. Raises `InvalidArgumentError`."""
    return number("expected_version", request.expected_version, 0, _MOST_NUMBER)


def as_of(
    request: pb.GetConceptRequest
    | pb.SearchConceptsRequest
    | pb.ListConceptsRequest
    | relations_pb2.ListRelationsRequest,
) -> int:
    """The time of the world; the end of time where none is given. Raises `InvalidArgumentError`."""
    if not request.HasField("as_of_world_seconds"):
        return MOST_SECONDS
    return number("as_of_world_seconds", request.as_of_world_seconds, LEAST_SECONDS, MOST_SECONDS)


def page(
    request: pb.ListConceptVersionsRequest | relations_pb2.ListRelationVersionsRequest,
) -> tuple[int, int]:
    """After which version, and how many. Raises `InvalidArgumentError`."""
    after = number("after_version", request.after_version, 0, _MOST_NUMBER)
    return after, number("count", request.count or PAGE, 1, MOST_PAGE)


def search(request: pb.SearchConceptsRequest) -> tuple[str, tuple[str, ...], int]:
    """Text, kinds and number of hits. Raises `InvalidArgumentError`."""
    text = wire.search_text(request.text)
    count = number("count", request.count or _COUNT, 1, MOST_HITS)
    return text, kinds(request.kinds), count


def listing(request: pb.ListConceptsRequest) -> Listing:
    """What to list. Raises `InvalidArgumentError`."""
    if len(request.attributes) > MOST_ATTRIBUTES_COMPARED or not all(
        map(KIND.fullmatch, request.attributes)
    ):
        raise InvalidArgumentError(
            f"attributes must be at most {MOST_ATTRIBUTES_COMPARED}, with keys of lower-case letters, digits, '.', '_', '-'",
            field="attributes",
        )
    for field, value in (("after_kind", request.after_kind), ("after_name", request.after_name)):
        if len(value) > MOST_NAME_CHARACTERS:
            raise InvalidArgumentError(
                f"{field} must be that of the last concept of the page before", field=field
            )
    return Listing(
        world=wire.world(request.world),
        kinds=kinds(request.kinds),
        attributes={key: value.replace("\0", " ") for key, value in request.attributes.items()},
        after=(request.after_kind.replace("\0", " "), request.after_name.replace("\0", " ")),
        seconds=as_of(request),
        count=number("count", request.count or PAGE, 1, MOST_PAGE),
    )


def kinds(given: Sequence[str]) -> tuple[str, ...]:
    """Kinds to choose from; empty: all. Raises `InvalidArgumentError`."""
    if len(given) > MOST_KINDS or not all(map(KIND.fullmatch, given)):
        raise InvalidArgumentError(
            f"kinds must be at most {MOST_KINDS} words of lower-case letters, digits, '.', '_', '-'",
            field="kinds",
        )
    return tuple(given)


def version_message(found: Version) -> pb.ConceptVersion:
    """The message of a version."""
    made = pb.ConceptVersion(
        concept=pb.Concept(
            kind=found.concept.kind,
            name=found.concept.name,
            summary=found.content.summary,
            attributes=found.content.attributes,
        ),
        version=found.number,
        world=found.concept.world,
        from_world_seconds=found.content.from_seconds,
        cause_sequence=found.content.cause,
        account=found.account,
    )
    made.recorded_at.FromDatetime(found.recorded_at)
    return made


def hit_message(found: Found) -> pb.ConceptHit:
    """The message of a hit."""
    return pb.ConceptHit(
        version=version_message(found.version), score=found.score, similarity=found.similarity
    )
