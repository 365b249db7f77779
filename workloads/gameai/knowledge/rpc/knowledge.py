"""KnowledgeService over gRPC."""

import time
from collections.abc import Sequence
from dataclasses import replace

import psycopg

from gameai.errors import ExhaustedError, InvalidArgumentError, NotFoundError, UnavailableError
from gameai.knowledge.embedding.embedder import EmbeddingError
from gameai.knowledge.embedding.queries import QueryVectors
from gameai.knowledge.records import MOST_BATCH, Mode, Query
from gameai.knowledge.rpc import wire
from gameai.knowledge.store import searching
from gameai.knowledge.store.connections import Connection, Connections
from gameai.knowledge.store.errors import BusyError
from gameai.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc


class KnowledgeService(knowledge_pb2_grpc.KnowledgeServiceServicer):
    """Answers from the database. Without an embedder, or while it fails, texts are found by their words: `degraded`."""

    def __init__(
        self, connections: Connections, vectors: QueryVectors, model: str, dimensions: int
    ) -> None:
        self._connections = connections
        self._vectors = vectors
        self._model = model
        self._dimensions = dimensions

    async def Search(
        self, request: knowledge_pb2.SearchRequest, context: object
    ) -> knowledge_pb2.SearchResponse:
        """One search."""
        (found,) = await self._answer([request])
        return found

    async def BatchSearch(
        self, request: knowledge_pb2.BatchSearchRequest, context: object
    ) -> knowledge_pb2.BatchSearchResponse:
        """Several searches on one connection."""
        if not 1 <= len(request.requests) <= MOST_BATCH:
            raise InvalidArgumentError(
                f"requests must be 1 to {MOST_BATCH}, not {len(request.requests)}", field="requests"
            )
        return knowledge_pb2.BatchSearchResponse(responses=await self._answer(request.requests))

    async def _answer(
        self, requests: Sequence[knowledge_pb2.SearchRequest]
    ) -> list[knowledge_pb2.SearchResponse]:
        queries = [wire.query(each, self._dimensions) for each in requests]
        began = time.perf_counter()
        queries, degraded = await self._embedded(queries)
        embedded = time.perf_counter()
        try:
            async with self._connections.take() as connection:
                worlds = await _worlds(connection, requests)
                return [
                    await self._search(
                        connection,
                        query,
                        worlds.get(each.world),
                        degraded=lost,
                        embedding=embedded - began,
                    )
                    for each, query, lost in zip(requests, queries, degraded, strict=True)
                ]
        except BusyError as error:
            raise ExhaustedError(str(error)) from error
        except psycopg.OperationalError as error:
            raise UnavailableError("the database cannot be reached; call again") from error

    async def _search(
        self,
        connection: Connection,
        query: Query,
        world: int | None,
        *,
        degraded: bool,
        embedding: float,
    ) -> knowledge_pb2.SearchResponse:
        began = time.perf_counter()
        hits = await searching.search(connection, query, world)
        return knowledge_pb2.SearchResponse(
            hits=map(wire.hit_message, hits),
            degraded=degraded,
            model=self._model,
            timings=knowledge_pb2.Timings(
                embedding_microseconds=int(embedding * 1e6),
                database_microseconds=int((time.perf_counter() - began) * 1e6),
            ),
        )

    async def _embedded(self, queries: list[Query]) -> tuple[list[Query], list[bool]]:
        """The queries with their vectors; those whose text has none now look for its words."""
        texts = [each.text for each in queries if _needs_vector(each)]
        try:
            vectors = iter(await self._vectors.of(texts)) if texts else iter(())
        except EmbeddingError:
            lost = [_needs_vector(each) for each in queries]
            return [
                replace(each, mode=Mode.TEXT) if gone else each
                for each, gone in zip(queries, lost, strict=True)
            ], lost
        found = [
            replace(each, vector=next(vectors)) if _needs_vector(each) else each for each in queries
        ]
        return found, [False] * len(queries)


def _needs_vector(query: Query) -> bool:
    return query.mode is not Mode.TEXT and not query.vector


async def _worlds(
    connection: Connection, requests: Sequence[knowledge_pb2.SearchRequest]
) -> dict[str, int]:
    """The numbers of the worlds that are asked for. Raises `NotFoundError`."""
    found: dict[str, int] = {}
    for name in dict.fromkeys(each.world for each in requests if each.world):
        number = await searching.world_number(connection, name)
        if number is None:
            raise NotFoundError(
                f"world {name!r} has no memory: it is made by the first ingestion of a source of this world",
                field="world",
            )
        found[name] = number
    return found
