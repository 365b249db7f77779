"""RelationService over gRPC: how persons, places and the like relate to each other, and how that changed."""

from gameai.errors import InvalidArgumentError, NotFoundError
from gameai.knowledge.concepts import Evolved
from gameai.knowledge.relations import Relation, State
from gameai.knowledge.rpc import concept_wire, relation_wire
from gameai.knowledge.rpc.admission import (
    Context,
    Gatekeeper,
    check_author,
    check_reader,
    check_reviewer,
)
from gameai.knowledge.rpc.asking import taken, twice
from gameai.knowledge.rpc.concept_wire import absent
from gameai.knowledge.rpc.faults import versioned
from gameai.knowledge.store import relations as store
from gameai.knowledge.store.connections import Connection, Connections
from gameai.knowledge.v1 import relations_pb2 as pb
from gameai.knowledge.v1 import relations_pb2_grpc


class RelationService(relations_pb2_grpc.RelationServiceServicer):
    """Keeps relations between concepts."""

    def __init__(self, connections: Connections, gatekeeper: Gatekeeper) -> None:
        self._connections = connections
        self._gatekeeper = gatekeeper

    async def WriteRelation(
        self, request: pb.WriteRelationRequest, context: Context
    ) -> pb.WriteRelationResponse:
        """Write a version."""
        rights = self._gatekeeper.rights(context)
        relation = relation_wire.to_write(request)
        check_author(rights, relation.world)
        state, expected = relation_wire.state(request), concept_wire.expected(request)
        found = await self._written(relation, state, expected, rights.account)
        return pb.WriteRelationResponse(version=found.version, known=found.known)

    async def ListRelations(
        self, request: pb.ListRelationsRequest, context: Context
    ) -> pb.ListRelationsResponse:
        """The relations around a concept."""
        rights = self._gatekeeper.rights(context)
        wanted = relation_wire.around(request)
        check_reader(rights, wanted.concept.world)
        async with taken(self._connections) as connection:
            found = await store.around(connection, wanted)
        if found is None:
            raise NotFoundError(
                absent(wanted.concept, then=request.HasField("as_of_world_seconds")),
                field="concept.name",
            )
        return relation_wire.response(found)

    async def ListRelationVersions(
        self, request: pb.ListRelationVersionsRequest, context: Context
    ) -> pb.ListRelationVersionsResponse:
        """A page of versions."""
        rights = self._gatekeeper.rights(context)
        relation = relation_wire.relation(request)
        check_reader(rights, relation.world)
        after, count = concept_wire.page(request)
        async with taken(self._connections) as connection:
            found = await store.versions(connection, relation, after, count)
        return pb.ListRelationVersionsResponse(versions=map(relation_wire.version_message, found))

    async def ForgetRelation(
        self, request: pb.ForgetRelationRequest, context: Context
    ) -> pb.ForgetRelationResponse:
        """Delete a relation."""
        rights = self._gatekeeper.rights(context)
        check_reviewer(rights)
        relation = relation_wire.relation(request)
        check_reader(rights, relation.world)
        async with taken(self._connections) as connection:
            count = await store.forget(connection, relation)
        return pb.ForgetRelationResponse(forgotten=count)

    async def _written(
        self, relation: Relation, state: State, expected: int, account: str
    ) -> Evolved:
        what = f"relation {relation.kind} of {relation.subject.name!r} and {relation.object.name!r}"

        async def write(connection: Connection) -> Evolved:
            return await store.write(connection, relation, state, expected, account=account)

        try:
            with versioned(what, expected, "ForgetRelation"):
                return await twice(self._connections, write)
        except store.NoConceptError as error:
            end = "subject" if error.concept == relation.subject else "object"
            raise InvalidArgumentError(
                f"relation.{end}: {absent(error.concept, then=bool(relation.world))}, and EvolveConcept writes one",
                field=f"relation.{end}",
            ) from error
