"""KnowledgeService over gRPC."""

import time
from collections.abc import Sequence
from dataclasses import replace

from cachebox import TTLCache
from gameai_contract.knowledge import Rights

from gameai.errors import InvalidArgumentError, NotFoundError
from gameai.knowledge.embedding.queries import QueryVectors
from gameai.knowledge.records import MOST_BATCH, MOST_BATCH_HITS, Hit, Mode, Query, Scope
from gameai.knowledge.rpc import wire
from gameai.knowledge.rpc.admission import Context, Gatekeeper, check_world
from gameai.knowledge.rpc.asking import twice
from gameai.knowledge.store import searching
from gameai.knowledge.store.connections import Connection, Connections
from gameai.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc

# Numbers of worlds are looked up again after so long.
_MOST_WORLDS, _WORLD_SECONDS = 10_000, 5.0


class KnowledgeService(knowledge_pb2_grpc.KnowledgeServiceServicer):
    """Answers from the database. Without an embedder, or while it fails, texts are found by their words: `degraded`."""

    def __init__(
        self,
        connections: Connections,
        vectors: QueryVectors,
        model: str,
        dimensions: int,
        gatekeeper: Gatekeeper,
    ) -> None:
        self._gatekeeper = gatekeeper
        self._connections = connections
        self._vectors = vectors
        self._model = model
        self._dimensions = dimensions
        self._numbers: TTLCache[str, int] = TTLCache(_MOST_WORLDS, global_ttl=_WORLD_SECONDS)

    async def Search(
        self, request: knowledge_pb2.SearchRequest, context: Context
    ) -> knowledge_pb2.SearchResponse:
        """One search."""
        (found,) = await self._answer([request], self._gatekeeper.rights(context))
        return found

    async def BatchSearch(
        self, request: knowledge_pb2.BatchSearchRequest, context: Context
    ) -> knowledge_pb2.BatchSearchResponse:
        """Several searches, one after the other."""
        rights = self._gatekeeper.rights(context)
        if not 1 <= len(request.requests) <= MOST_BATCH:
            raise InvalidArgumentError(
                f"requests must be 1 to {MOST_BATCH}, not {len(request.requests)}", field="requests"
            )
        found = await self._answer(request.requests, rights)
        return knowledge_pb2.BatchSearchResponse(responses=found)

    async def _answer(
        self, requests: Sequence[knowledge_pb2.SearchRequest], rights: Rights
    ) -> list[knowledge_pb2.SearchResponse]:
        queries = [wire.query(each, self._dimensions) for each in requests]
        for request, query in zip(requests, queries, strict=True):
            if query.scope is not Scope.GLOBAL:
                check_world(rights, request.world)
        if sum(each.count for each in queries) > MOST_BATCH_HITS:
            raise InvalidArgumentError(
                f"the counts of all requests must be at most {MOST_BATCH_HITS} together",
                field="requests",
            )
        began = time.perf_counter()
        queries, degraded = await self._embedded(queries, rights.account)
        embedding = time.perf_counter() - began
        return [
            await self._search(request, query, degraded=lost, embedding=embedding)
            for request, query, lost in zip(requests, queries, degraded, strict=True)
        ]

    async def _search(
        self,
        request: knowledge_pb2.SearchRequest,
        query: Query,
        *,
        degraded: bool,
        embedding: float,
    ) -> knowledge_pb2.SearchResponse:
        began = time.perf_counter()

        async def hits_of(connection: Connection) -> tuple[list[Hit], bool]:
            return await self._hits(connection, request, query)

        hits, known = await twice(self._connections, hits_of)
        return knowledge_pb2.SearchResponse(
            hits=map(wire.hit_message, hits),
            degraded=degraded,
            world_unknown=not known,
            model=self._model,
            timings=knowledge_pb2.Timings(
                embedding_microseconds=int(embedding * 1e6),
                database_microseconds=int((time.perf_counter() - began) * 1e6),
            ),
        )

    async def _hits(
        self, connection: Connection, request: knowledge_pb2.SearchRequest, query: Query
    ) -> tuple[list[Hit], bool]:
        """Hits, and whether the world is known: one that is not finds lore, unless its scope was asked for by name."""
        if query.scope is Scope.GLOBAL:
            return await searching.search(connection, query, None), True
        world = await self._world(connection, request.world)
        if world is not None:
            return await searching.search(connection, query, world), True
        if request.scope == knowledge_pb2.SCOPE_UNSPECIFIED:
            lore = replace(query, scope=Scope.GLOBAL)
            return await searching.search(connection, lore, None), False
        raise NotFoundError(
            f"world {request.world!r} has no memory: it is made by the first ingestion of a source of this world, "
            "or by its first event; SCOPE_GLOBAL searches the lore of all worlds",
            field="world",
        )

    async def _world(self, connection: Connection, name: str) -> int | None:
        """The number of a world; None where the memory does not know it."""
        number = self._numbers.get(name)
        if number is None:
            number = await searching.world_number(connection, name)
            if number is not None:
                self._numbers[name] = number
        return number

    async def _embedded(self, queries: list[Query], account: str) -> tuple[list[Query], list[bool]]:
        """The queries with their vectors; those whose text has none now look for its words."""
        needs = [_needs_vector(each) for each in queries]
        texts = [each.text for each, need in zip(queries, needs, strict=True) if need]
        vectors = iter(await self._vectors.of(texts, account))
        found = [
            _with_vector(each, next(vectors)) if need else each
            for each, need in zip(queries, needs, strict=True)
        ]
        return found, [need and not each.vector for each, need in zip(found, needs, strict=True)]


def _with_vector(query: Query, vector: bytes | None) -> Query:
    return replace(query, vector=vector) if vector else replace(query, mode=Mode.TEXT)


def _needs_vector(query: Query) -> bool:
    return query.mode is not Mode.TEXT and not query.vector
