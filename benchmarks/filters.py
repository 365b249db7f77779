"""Two scopes in one search where the chunks of worlds dominate: two partitions, and one index whose hits are filtered.

The peer is what users of pgvector do: one table, one HNSW index, `world_id IS NULL OR world_id = …`, and an iterative
scan. Worlds search as often as each other, or as often as they have chunks. Both run on one connection with the same
settings, in turns; the cost is the processor time of its server process.
"""

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import psycopg
from gameai.knowledge.embedding.local import DIMENSIONS, MODEL
from gameai.knowledge.migrations import migrate
from gameai.knowledge.records import Mode, Query, Scope
from gameai.knowledge.store import searching
from gameai.knowledge.store.connections import Connection, Connections
from gameai_devcluster import postgres
from pgvector import HalfVector
from pgvector.psycopg import register_vector

from benchmarks.inference import cpu_seconds
from benchmarks.memory import COUNT, QUERIES, Ask, Data, copy, exact, generated, load, recall
from benchmarks.report import Row, median, write

# Of 100,000 chunks.
SHARED, OWN = 5_000, 95_000
TURNS, ROUNDS = 2, 5
_FILTERED = """
SELECT scope, document, content, trust, source, section, document_sha256, begin_byte, end_byte, embedding <=> %(vector)s
FROM public.one_table WHERE status = 'live' AND trust >= 50 AND (world_id IS NULL OR world_id = %(world)s)
ORDER BY embedding <=> %(vector)s LIMIT %(count)s
"""


def load_peer(superuser: str, user: str, data: Data) -> None:
    """The same chunks in one table with one index."""
    with psycopg.connect(superuser, autocommit=True) as connection:
        register_vector(connection)
        connection.execute("SET maintenance_work_mem = '512MB'")
        connection.execute(
            "CREATE TABLE public.one_table (LIKE memory.narrative_documents"
            " INCLUDING DEFAULTS INCLUDING IDENTITY INCLUDING GENERATED INCLUDING STORAGE)"
        )
        for scope, rows in (("global", data.shared), ("world", data.own)):
            copy(connection, scope, rows, data.worlds, "public.one_table")
        connection.execute(
            "CREATE INDEX ON public.one_table USING hnsw (embedding halfvec_cosine_ops)"
            " WITH (m = 16, ef_construction = 64) WHERE status = 'live'"
        )
        connection.execute("VACUUM ANALYZE public.one_table")
        connection.execute(f"GRANT SELECT ON public.one_table TO {user}")


def asked(data: Data, number: int) -> dict[str, object]:
    """The values of a query."""
    vector = HalfVector(data.queries[number])
    return {"vector": vector, "world": int(data.asks[number]), "count": COUNT}


def asks(connection: Connection, data: Data) -> dict[str, Ask]:
    """What is compared: each answers a query with scopes and documents."""

    async def parted(number: int) -> list[tuple[str, str]]:
        vector = data.queries[number].tobytes()
        query = Query(
            scope=Scope.GLOBAL_AND_WORLD, mode=Mode.VECTOR, vector=vector, count=COUNT, trust=50
        )
        found = await searching.search(connection, query, int(data.asks[number]))
        return [(each.scope.value, each.provenance.document) for each in found]

    async def filtered(number: int) -> list[tuple[str, str]]:
        values = asked(data, number)
        found = await connection.execute(_FILTERED, values, binary=True)
        return [(row[0], row[1]) for row in await found.fetchall()]

    return {"parted": parted, "filtered": filtered}


async def measured(url: str, data: Data, what: str) -> list[Row]:
    """In turns on one connection; `what` says which worlds search."""
    connections = Connections(url)
    async with connections.take(seconds=600) as connection:
        # For the peer; a search of ours sets these itself.
        await connection.execute(f"SET hnsw.ef_search = {searching.STANDARD_SEARCH}")
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        await connection.execute("SET enable_seqscan = off")
        plan = await connection.execute(f"EXPLAIN {_FILTERED}", asked(data, 0))
        text = str(await plan.fetchall())
        assert "Index Scan" in text, f"the peer must use its index: {text}"
        compared = asks(connection, data)
        hits = {name: [await ask(n) for n in range(QUERIES)] for name, ask in compared.items()}
        server = psutil.Process(connection.info.backend_pid)
        costs: dict[str, list[float]] = {name: [] for name in compared}
        for _ in range(ROUNDS):
            for name, ask in compared.items():
                before = cpu_seconds(server)
                for number in range(TURNS * QUERIES):
                    await ask(number % QUERIES)
                costs[name].append(1000 * (cpu_seconds(server) - before) / (TURNS * QUERIES))
    await connections.close()
    right = exact(data, shared=True)
    ratios = [b / a for a, b in zip(costs["parted"], costs["filtered"], strict=True)]
    found = {name: recall(each, right) for name, each in hits.items()}
    mine, theirs = f"{what}: two partitions", f"{what}: one index"
    return [
        median(f"{mine}, processor time", costs["parted"], limit=None, unit="ms"),
        median(f"{theirs}, processor time", costs["filtered"], limit=None, unit="ms"),
        median(f"{what}: one index / two partitions", ratios, limit=3, unit="", least=True),
        median(f"{mine}, recall at 10", [found["parted"]], limit=0.95, unit="", least=True),
        median(f"{theirs}, recall at 10", [found["filtered"]], limit=None, unit=""),
    ]


def main() -> None:
    """Measure and report."""
    data = generated(SHARED, OWN)
    with tempfile.TemporaryDirectory() as name, postgres.running(Path(name) / "pg") as server:
        url = server.database("memory")
        migrate(url, MODEL, DIMENSIONS)
        load(server.url("memory"), data)
        load_peer(server.url("memory"), "memory", data)
        chance = np.random.default_rng(8)
        even = replace(data, asks=chance.choice(np.unique(data.worlds), size=QUERIES))
        rows = asyncio.run(measured(url, even, "any world"))
        rows += asyncio.run(measured(url, data, "by size"))
    write("filters", rows)


if __name__ == "__main__":
    main()
