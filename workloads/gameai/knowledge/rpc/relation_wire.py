"""PURE: relations of the wire to relations, and back."""

from types import MappingProxyType

from gameai.errors import InvalidArgumentError
from gameai.knowledge.concepts import Named
from gameai.knowledge.events import MOST_PAGE, PAGE
from gameai.knowledge.ingestion.suspicion import reasons_of, words
from gameai.knowledge.relations import (
    MOST_DEPTH,
    MOST_STRENGTH,
    Around,
    Direction,
    Neighbourhood,
    Relation,
    RelationVersion,
    State,
)
from gameai.knowledge.rpc import concept_wire, wire
from gameai.knowledge.rpc.wire import number
from gameai.knowledge.v1 import relations_pb2 as pb

_DIRECTIONS = MappingProxyType(
    {
        pb.DIRECTION_UNSPECIFIED: Direction.BOTH,
        pb.DIRECTION_BOTH: Direction.BOTH,
        pb.DIRECTION_OUTGOING: Direction.OUTGOING,
        pb.DIRECTION_INCOMING: Direction.INCOMING,
    }
)


def relation(
    request: pb.WriteRelationRequest | pb.ListRelationVersionsRequest | pb.ForgetRelationRequest,
) -> Relation:
    """Which relation is meant. Raises `InvalidArgumentError` with the field and what it takes."""
    given = request.relation
    subject = _named(request.world, given.subject, "relation.subject.")
    target = _named(request.world, given.object, "relation.object.")
    return Relation(
        world=subject.world,
        subject=subject,
        kind=wire.kind(given.kind, "relation.kind"),
        object=target,
    )


def to_write(request: pb.WriteRelationRequest) -> Relation:
    """Which relation is written. Raises `InvalidArgumentError`."""
    found = relation(request)
    if found.subject == found.object:
        raise InvalidArgumentError(
            "relation.object must be another concept than relation.subject", field="relation.object"
        )
    # A model reads its parts as one sentence.
    parts = (found.subject.name, words(found.kind), found.object.name)
    if why := reasons_of([*parts, " ".join(parts)]):
        raise InvalidArgumentError(
            f"relation addresses the model that will read it ({', '.join(why)}): name what one concept is to the other",
            field="relation.kind",
        )
    return found


def state(request: pb.WriteRelationRequest) -> State:
    """What is said of it. Raises `InvalidArgumentError`."""
    from_seconds, cause = concept_wire.since(request)
    strength = request.relation.strength or MOST_STRENGTH
    strength = number("relation.strength", strength, 1, MOST_STRENGTH)
    return State(
        # Of a relation that has ended it means nothing.
        strength=MOST_STRENGTH if request.ended else strength,
        ended=request.ended,
        from_seconds=from_seconds,
        cause=cause,
    )


def around(request: pb.ListRelationsRequest) -> Around:
    """What to list. Raises `InvalidArgumentError`."""
    if request.direction not in _DIRECTIONS:
        raise InvalidArgumentError(
            "direction must be DIRECTION_BOTH, DIRECTION_OUTGOING or DIRECTION_INCOMING",
            field="direction",
        )
    return Around(
        concept=_named(request.world, request.concept, "concept."),
        kinds=concept_wire.kinds(request.kinds),
        direction=_DIRECTIONS[request.direction],
        depth=number("depth", request.depth or 1, 1, MOST_DEPTH),
        count=number("count", request.count or PAGE, 1, MOST_PAGE),
        seconds=concept_wire.as_of(request),
        ended=request.include_ended,
    )


def response(found: Neighbourhood) -> pb.ListRelationsResponse:
    """The message of what lies around a concept."""
    return pb.ListRelationsResponse(
        relations=map(version_message, found.relations),
        concepts=map(concept_wire.version_message, found.concepts),
        more=found.more,
    )


def version_message(found: RelationVersion) -> pb.RelationVersion:
    """The message of a version."""
    each = found.relation
    made = pb.RelationVersion(
        relation=pb.Relation(
            subject=pb.ConceptName(kind=each.subject.kind, name=each.subject.name),
            kind=each.kind,
            object=pb.ConceptName(kind=each.object.kind, name=each.object.name),
            strength=found.state.strength,
        ),
        version=found.number,
        world=each.world,
        from_world_seconds=found.state.from_seconds,
        cause_sequence=found.state.cause,
        account=found.account,
        depth=found.depth,
        ended=found.state.ended,
    )
    made.recorded_at.FromDatetime(found.recorded_at)
    return made


def _named(world: str, given: pb.ConceptName, where: str) -> Named:
    return concept_wire.named(world, given.kind, given.name, where)
