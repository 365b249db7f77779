"""RelationService over gRPC: how persons, places and the like relate to each other, and how that changed."""

import psycopg

from gameai.errors import InvalidArgumentError, NotFoundError
from gameai.knowledge.concepts import Evolved
from gameai.knowledge.relations import Relation, State
from gameai.knowledge.rpc import relation_wire
from gameai.knowledge.rpc.admission import Context, Gatekeeper, check_author, check_reader
from gameai.knowledge.rpc.concept_wire import absent
from gameai.knowledge.rpc.faults import answered, versioned
from gameai.knowledge.store import relations as store
from gameai.knowledge.store.connections import Connections
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
        relation = relation_wire.relation(request)
        check_author(rights, relation.world)
        state = relation_wire.state(request)
        found = await self._written(relation, state, rights.account)
        return pb.WriteRelationResponse(version=found.version, known=found.known)

    async def ListRelations(
        self, request: pb.ListRelationsRequest, context: Context
    ) -> pb.ListRelationsResponse:
        """The relations around a concept."""
        wanted = relation_wire.around(request)
        check_reader(self._gatekeeper.rights(context), wanted.concept.world)
        with answered():
            async with self._connections.take() as connection:
                found = await store.around(connection, wanted)
        if found is None:
            raise NotFoundError(
                absent(wanted.concept, then=request.HasField("as_of_world_seconds")),
                field="concept.name",
            )
        return relation_wire.response(found)

    async def _written(self, relation: Relation, state: State, account: str) -> Evolved:
        """Asked twice where the connection was broken: a repeated call is recognised."""
        try:
            with answered(), versioned():
                try:
                    return await self._write(relation, state, account)
                except psycopg.OperationalError:
                    return await self._write(relation, state, account)
        except store.NoConceptError as error:
            end = "subject" if error.concept == relation.subject else "object"
            raise InvalidArgumentError(
                f"relation.{end}: {absent(error.concept, then=True)}; write it with EvolveConcept first",
                field=f"relation.{end}",
            ) from error

    async def _write(self, relation: Relation, state: State, account: str) -> Evolved:
        async with self._connections.take() as connection:
            return await store.write(connection, relation, state, account=account)
