"""Searches of a memory with 100,000 chunks: through gRPC, and by the same statement in a loop of one client."""

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psycopg
from gameai.knowledge.embedding.local import DIMENSIONS, MODEL
from gameai.knowledge.migrations import migrate
from gameai.knowledge.records import Mode, Query, Scope
from gameai.knowledge.store import searching
from gameai.knowledge.store.connections import Connections
from gameai.knowledge.v1 import knowledge_pb2 as pb
from gameai.serving import loop
from gameai_devcluster import postgres
from gameai_devcluster.processes import start_in_background
from grpc import aio
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector

from benchmarks.report import Row, median, write

Rows = NDArray[np.float32]
SHARED, OWN, WORLDS, TOPICS, INNER_DIMENSIONS = 50_000, 50_000, 1_000, 1_000, 24
QUERIES, ROUNDS, SECONDS, COUNT = 400, 5, 6.0, 10
CLIENTS, BATCH = 8, 16
_COLUMNS = (
    "scope, world_id, source, document, chunk_no, title, section, content, content_sha256, document_sha256,"
    " begin_byte, end_byte, trust, status, model, embedding"
)
_TYPES = ["text", "int4", "text", "text", "int4", "text", "text", "text", "bytea", "bytea"]
_TYPES += ["int4", "int4", "int2", "text", "text", "halfvec"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """Vectors of the chunks and of queries; `worlds` has the number of each world's chunk, `asks` that of each query."""

    shared: Rows
    own: Rows
    worlds: NDArray[np.int64]
    queries: Rows
    asks: NDArray[np.int64]


def generated(shared: int = SHARED, own: int = OWN) -> Data:
    """So many chunks of lore and of worlds: topics of an inner dimension of 24, as texts have them; worlds by a Zipf law with exponent 0.7."""
    chance = np.random.default_rng(7)
    basis = chance.normal(size=(TOPICS, INNER_DIMENSIONS))
    turn = chance.normal(size=(INNER_DIMENSIONS, DIMENSIONS))

    def vectors(number: int) -> Rows:
        inner = basis[chance.integers(TOPICS, size=number)] + 0.45 * chance.normal(
            size=(number, INNER_DIMENSIONS)
        )
        found = inner @ turn + 0.3 * chance.normal(size=(number, DIMENSIONS))
        made: Rows = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
        return made

    weights = 1 / np.arange(1, WORLDS + 1) ** 0.7
    worlds = np.sort(chance.choice(WORLDS, size=own, p=weights / weights.sum())) + 1
    return Data(
        shared=vectors(shared),
        own=vectors(own),
        worlds=worlds,
        queries=vectors(QUERIES),
        asks=chance.choice(worlds, size=QUERIES),
    )


def load(superuser: str, data: Data) -> None:
    """Fill both partitions; the index of lore is built after its rows, as a bulk load should."""
    with psycopg.connect(superuser, autocommit=True) as connection:
        register_vector(connection)
        connection.execute("DROP INDEX memory.narrative_documents_g_embedding")
        connection.execute("SET maintenance_work_mem = '512MB'")
        names = [(f"games/w{each}",) for each in range(1, WORLDS + 1)]
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO memory.worlds (name) VALUES (%s)", names)
        for scope, rows in (("global", data.shared), ("world", data.own)):
            copy(connection, scope, rows, data.worlds)
        connection.execute(
            "CREATE INDEX narrative_documents_g_embedding ON memory.narrative_documents_g"
            " USING hnsw (embedding halfvec_cosine_ops) WITH (m = 16, ef_construction = 64) WHERE status = 'live'"
        )
        connection.execute(
            "VACUUM ANALYZE memory.narrative_documents_g, memory.narrative_documents_w"
        )


def copy(
    connection: psycopg.Connection[tuple[object, ...]],
    scope: str,
    rows: Rows,
    worlds: NDArray[np.int64],
    table: str = "memory.narrative_documents",
) -> None:
    """Write the rows of one scope."""
    text = "The ferry of Tam crosses the lake Orr at dawn, and the toll is two marks. " * 12
    statement = f"COPY {table} ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(statement) as copied:
        copied.set_types(_TYPES)
        for number, row in enumerate(rows):
            world = int(worlds[number]) if scope == "world" else None
            trust = 90 if world is None else 60
            key = number.to_bytes(32, "big")
            values = (scope, world, "lore", f"{world}/{number}", 0, "", "", text, key, key, 0, 1)
            copied.write_row((*values, trust, "live", MODEL, HalfVector(row)))


def exact(data: Data, *, shared: bool) -> list[set[bytes]]:
    """The ten nearest chunks of each query, by comparing with all that it may see: their rows as text."""
    found = []
    for query, world in zip(data.queries, data.asks, strict=True):
        own = np.flatnonzero(data.worlds == world)
        near = [
            (float(each @ query), ("w", int(at)))
            for at, each in zip(own, data.own[own], strict=True)
        ]
        if shared:
            scores = data.shared @ query
            best = np.argpartition(-scores, COUNT)[:COUNT]
            near += [(float(scores[at]), ("g", int(at))) for at in best]
        near.sort(reverse=True)
        found.append({f"{kind}{at}".encode() for _, (kind, at) in near[:COUNT]})
    return found


def recall(hits: Sequence[Sequence[tuple[str, str]]], wanted: Sequence[set[bytes]]) -> float:
    """The share of the nearest chunks that were found; a world may have fewer than ten."""
    shares = []
    for rows, right in zip(hits, wanted, strict=True):
        got = {
            f"{'g' if scope == 'global' else 'w'}{name.partition('/')[2]}".encode()
            for scope, name in rows
        }
        shares.append(len(got & right) / len(right))
    return statistics.fmean(shares)


@contextlib.contextmanager
def served(url: str, folder: Path) -> Iterator[str]:
    """The address of a service over the database."""
    ports = folder / "ports"
    command = [sys.executable, "-m", "gameai.knowledge", "serve", f"--database={url}"]
    flags = ["--port=0", "--health-port=0", f"--port-file={ports}", "--drain-seconds=0"]
    process = start_in_background([*command, *flags], folder / "log", die_with_parent=True)
    while not ports.exists():
        assert process.poll() is None, (folder / "log").read_text()
        time.sleep(0.1)
    yield f"127.0.0.1:{json.loads(ports.read_text())['grpc']}"
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)


Ask = Callable[[int], Awaitable[list[tuple[str, str]]]]
Call = aio.UnaryUnaryMultiCallable[bytes, bytes]


async def hammered(ask: Callable[[int], Awaitable[object]]) -> tuple[float, list[float]]:
    """Queries each second of so many callers, and their latencies in ms."""
    end, latencies = time.perf_counter() + SECONDS, []

    async def caller(number: int) -> None:
        while (began := time.perf_counter()) < end:
            await ask(number % QUERIES)
            latencies.append((time.perf_counter() - began) * 1000)
            number += CLIENTS

    began = time.perf_counter()
    await asyncio.gather(*(caller(each) for each in range(CLIENTS)))
    return len(latencies) / (time.perf_counter() - began), latencies


class Through:
    """Searches through gRPC. Those whose rate is measured leave the answers as bytes: the service is measured, not its caller."""

    def __init__(self, channel: aio.Channel, data: Data, scope: pb.Scope.ValueType) -> None:
        self._call: Call = channel.unary_unary("/gameai.knowledge.v1.KnowledgeService/Search")
        self._requests = [
            pb.SearchRequest(
                vector_f32=query.astype("<f4").tobytes(),
                world=f"games/w{world}",
                scope=scope,
                count=COUNT,
            )
            for query, world in zip(data.queries, data.asks, strict=True)
        ]
        self._sent = [each.SerializeToString() for each in self._requests]
        self._batch: Call = channel.unary_unary("/gameai.knowledge.v1.KnowledgeService/BatchSearch")
        self._batches = [self._batched(each) for each in range(QUERIES)]

    async def hits(self, number: int) -> list[tuple[str, str]]:
        """What is found, to be compared."""
        answer = pb.SearchResponse.FromString(await self.ask(number))
        names = {pb.SCOPE_GLOBAL: "global", pb.SCOPE_WORLD: "world"}
        return [(names[each.scope], each.provenance.document) for each in answer.hits]

    async def ask(self, number: int) -> bytes:
        """One search."""
        return bytes(await self._call(self._sent[number]))

    async def ask_batch(self, number: int) -> bytes:
        """As many as `BATCH` in one call."""
        return bytes(await self._batch(self._batches[number]))

    def _batched(self, number: int) -> bytes:
        chosen = [self._requests[(number + each) % QUERIES] for each in range(BATCH)]
        return pb.BatchSearchRequest(requests=chosen).SerializeToString()


def alone(connections: Connections, data: Data) -> Ask:
    """The statements of both scopes, without the service."""
    queries = [
        Query(scope=Scope.GLOBAL_AND_WORLD, mode=Mode.VECTOR, vector=each.tobytes(), count=COUNT)
        for each in data.queries
    ]

    async def ask(number: int) -> list[tuple[str, str]]:
        async with connections.take() as connection:
            found = await searching.search(connection, queries[number], int(data.asks[number]))
        return [(each.scope.value, each.provenance.document) for each in found]

    return ask


async def measured(url: str, address: str, data: Data) -> list[Row]:
    """Both scopes and a world's own history, through gRPC; and the statements alone, in turns."""
    async with aio.insecure_channel(address) as channel:
        connections = Connections(url)
        both = Through(channel, data, pb.SCOPE_GLOBAL_AND_WORLD)
        own = Through(channel, data, pb.SCOPE_WORLD)
        asks = {
            "batched": both.ask_batch,
            "both": both.ask,
            "alone": alone(connections, data),
            "own": own.ask,
        }
        hits = {
            name: [await each(number) for number in range(QUERIES)]
            for name, each in (("both", both.hits), ("own", own.hits))
        }
        # Connections and plans of all are there before the first round.
        for ask in (both.ask_batch, asks["alone"]):
            await asyncio.gather(*(ask(number) for number in range(CLIENTS)))
        rates: dict[str, list[float]] = {name: [] for name in asks}
        latencies: dict[str, list[float]] = {name: [] for name in asks}
        for _ in range(ROUNDS):
            for name, ask in asks.items():
                rate, times = await hammered(ask)
                rate *= BATCH if name == "batched" else 1
                rates[name].append(rate)
                latencies[name] += times
        await connections.close()
    return reported(data, hits, rates, latencies)


def reported(
    data: Data,
    hits: dict[str, list[list[tuple[str, str]]]],
    rates: dict[str, list[float]],
    latencies: dict[str, list[float]],
) -> list[Row]:
    """Against the bars."""
    ratios = [a / b for a, b in zip(rates["both"], rates["alone"], strict=True)]
    p99 = statistics.quantiles(latencies["both"], n=100)[98]
    found = recall(hits["both"], exact(data, shared=True))
    own = recall(hits["own"], exact(data, shared=False))
    short = sum(len(each) < COUNT for each in hits["both"])
    return [
        median("two scopes, through gRPC", rates["both"], limit=1000, unit="1/s", least=True),
        median("p99 of these, 8 callers", [p99], limit=20, unit="ms"),
        median(
            "two scopes, 16 searches a call", rates["batched"], limit=1000, unit="1/s", least=True
        ),
        median("the statements alone, one client", rates["alone"], limit=None, unit="1/s"),
        median("through gRPC / the statements alone", ratios, limit=0.6, unit="", least=True),
        median("recall at 10, two scopes", [found], limit=0.95, unit="", least=True),
        median("answers with fewer than 10 hits", [short], limit=0, unit=""),
        median("a world's own history", rates["own"], limit=2000, unit="1/s", least=True),
        median("recall at 10, own history", [own], limit=1, unit="", least=True),
    ]


def main() -> None:
    """Measure and report."""
    data = generated()
    with tempfile.TemporaryDirectory() as name, postgres.running(Path(name) / "pg") as server:
        url = server.database("memory")
        migrate(url, MODEL, DIMENSIONS)
        began = time.perf_counter()
        load(server.url("memory"), data)
        print(f"loaded in {time.perf_counter() - began:.0f} s", flush=True)
        with served(url, Path(name)) as address:
            rows = loop.run(measured(url, address, data))
    write("memory", rows)


if __name__ == "__main__":
    main()
