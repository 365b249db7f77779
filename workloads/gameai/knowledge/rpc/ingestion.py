"""IngestionService over gRPC: sources, and what is held for a review."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gameai.errors import InvalidArgumentError, NotFoundError
from gameai.knowledge.records import Status
from gameai.knowledge.rpc import wire
from gameai.knowledge.rpc.admission import Context, Gatekeeper, check_reviewer, check_world
from gameai.knowledge.rpc.asking import taken
from gameai.knowledge.store import reviewing, searching
from gameai.knowledge.store.connections import Connection, Connections
from gameai.knowledge.v1 import knowledge_pb2 as pb
from gameai.knowledge.v1 import knowledge_pb2_grpc

_PAGE, _MOST_PAGE = 50, 100


class IngestionService(knowledge_pb2_grpc.IngestionServiceServicer):
    """Shows and decides; documents are ingested by a Job or from the command line."""

    def __init__(self, connections: Connections, gatekeeper: Gatekeeper) -> None:
        self._connections = connections
        self._gatekeeper = gatekeeper

    async def ListSources(
        self, request: pb.ListSourcesRequest, context: Context
    ) -> pb.ListSourcesResponse:
        """The sources of a world, or global ones."""
        async with self._in_scope(request.world, context) as (connection, world):
            found = await reviewing.sources(connection, world)
        return pb.ListSourcesResponse(
            sources=[
                pb.Source(
                    name=each.name,
                    state=each.state,
                    message=each.message,
                    documents=each.documents,
                    chunks=each.chunks,
                    quarantined=each.quarantined,
                )
                for each in found
            ]
        )

    async def ListQuarantine(
        self, request: pb.ListQuarantineRequest, context: Context
    ) -> pb.ListQuarantineResponse:
        """A page of what is held."""
        count = request.count or _PAGE
        if count > _MOST_PAGE:
            raise InvalidArgumentError(f"count must be at most {_MOST_PAGE}", field="count")
        async with self._in_scope(request.world, context) as (connection, world):
            found = await reviewing.held(connection, world, request.after_chunk_id, count)
        return pb.ListQuarantineResponse(
            chunks=[
                pb.HeldChunk(
                    chunk_id=each.chunk_id,
                    content=each.content,
                    reasons=each.reasons,
                    trust=each.trust,
                    provenance=wire.provenance_message(each.provenance),
                )
                for each in found
            ]
        )

    async def ReviewQuarantine(
        self, request: pb.ReviewQuarantineRequest, context: Context
    ) -> pb.ReviewQuarantineResponse:
        """Release or reject."""
        if not 1 <= len(request.chunk_ids) <= _MOST_PAGE:
            raise InvalidArgumentError(f"chunk_ids must be 1 to {_MOST_PAGE}", field="chunk_ids")
        verdicts = {pb.VERDICT_RELEASE: Status.LIVE, pb.VERDICT_REJECT: Status.REJECTED}
        if request.verdict not in verdicts:
            raise InvalidArgumentError(
                "verdict must be VERDICT_RELEASE or VERDICT_REJECT", field="verdict"
            )
        reviewer = self._reviewer(request.reviewer, context)
        async with self._in_scope(request.world, context) as (connection, world):
            count = await reviewing.review(
                connection, world, request.chunk_ids, verdicts[request.verdict], reviewer
            )
        return pb.ReviewQuarantineResponse(reviewed=count)

    async def RollbackSource(
        self, request: pb.RollbackSourceRequest, context: Context
    ) -> pb.RollbackSourceResponse:
        """Reject a source, or a document of it."""
        source, document = (
            wire.name(request.source, "source"),
            wire.name(request.document, "document"),
        )
        if not source:
            raise InvalidArgumentError("source must not be empty", field="source")
        reviewer = self._reviewer(request.reviewer, context)
        async with self._in_scope(request.world, context) as (connection, world):
            if not await reviewing.has_source(connection, world, source):
                raise NotFoundError(f"no source {source!r}: ListSources has them", field="source")
            count = await reviewing.roll_back(connection, world, source, document, reviewer)
        return pb.RollbackSourceResponse(rejected=count)

    @asynccontextmanager
    async def _in_scope(
        self, given: str, context: Context
    ) -> AsyncIterator[tuple[Connection, int | None]]:
        """A connection, and the number of the world; none for global. Only reviewers get one."""
        rights = self._gatekeeper.rights(context)
        check_reviewer(rights)
        name = wire.world(given)
        if name:
            check_world(rights, name)
        async with taken(self._connections, reviewing.DECIDE_SECONDS) as connection:
            world = await searching.world_number(connection, name) if name else None
            if name and world is None:
                raise NotFoundError(
                    f"the memory holds nothing of world {name!r}: is the name right?",
                    field="world",
                )
            yield connection, world

    def _reviewer(self, name: str, context: Context) -> str:
        """Who decides: the account of the caller, where callers are known."""
        account = self._gatekeeper.rights(context).account
        if account:
            return account
        if not name:
            raise InvalidArgumentError("reviewer must not be empty: who decides?", field="reviewer")
        return wire.name(name, "reviewer")
