"""EDGE: sources, and what is held for a review."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gameai.knowledge.records import Provenance, Status
from gameai.knowledge.store.connections import Connection
from gameai.knowledge.store.scoped import in_world
from gameai.knowledge.store.statements import LOCK

# A roll-back may be of a whole source.
DECIDE_SECONDS = 60.0
_OF_WORLD = "scope = CASE WHEN %(world)s::int IS NULL THEN 'global' ELSE 'world' END AND world_id IS NOT DISTINCT FROM %(world)s::int"


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A chunk in quarantine."""

    chunk_id: int
    content: str
    reasons: tuple[str, ...]
    trust: int
    provenance: Provenance


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceState:
    """How the last ingestion of a source ended."""

    name: str
    state: str
    message: str
    documents: int
    chunks: int
    quarantined: int


async def sources(connection: Connection, world: int | None) -> list[SourceState]:
    """The first 1,000 sources of a world, or of global lore, by name. What was rejected is not counted."""
    rows = await in_world(
        connection,
        world,
        "SELECT name, state, message, coalesce(documents, 0), coalesce(chunks, 0), coalesce(quarantined, 0)"
        " FROM memory_ops.sources LEFT JOIN (SELECT source, count(DISTINCT document) AS documents, count(*) AS chunks,"
        " count(*) FILTER (WHERE status = 'quarantined') AS quarantined FROM memory.narrative_documents"
        f" WHERE {_OF_WORLD} AND status <> 'rejected' GROUP BY source) AS counted ON source = name"
        " WHERE sources.world_id IS NOT DISTINCT FROM %(world)s::int ORDER BY name LIMIT 1000",
        {},
    )
    keys = ("name", "state", "message", "documents", "chunks", "quarantined")
    return [SourceState(**dict(zip(keys, row, strict=True))) for row in rows]


async def has_source(connection: Connection, world: int | None, name: str) -> bool:
    """Is there a source of this name?"""
    cursor = await connection.execute(
        "SELECT FROM memory_ops.sources WHERE name = %s AND world_id IS NOT DISTINCT FROM %s::int",
        (name, world),
    )
    return await cursor.fetchone() is not None


async def held(connection: Connection, world: int | None, after: int, count: int) -> list[Held]:
    """Chunks in quarantine after this identifier."""
    rows = await in_world(
        connection,
        world,
        "SELECT chunk_id, content, reasons, trust, source, document, section, document_sha256, begin_byte, end_byte"
        f" FROM memory.narrative_documents WHERE {_OF_WORLD} AND status = 'quarantined' AND chunk_id > %(after)s"
        " ORDER BY chunk_id LIMIT %(count)s",
        {"after": after, "count": count},
    )
    return [
        Held(
            chunk_id=row[0],
            content=row[1],
            reasons=tuple(row[2]),
            trust=row[3],
            provenance=Provenance(
                source=row[4],
                document=row[5],
                section=row[6],
                document_sha256=bytes(row[7]),
                begin_byte=row[8],
                end_byte=row[9],
            ),
        )
        for row in rows
    ]


async def review(
    connection: Connection,
    world: int | None,
    chunks: Sequence[int],
    verdict: Status,
    reviewer: str,
) -> int:
    """Decide on chunks in quarantine or rejected before; returns on how many. The decision and its record are one write."""
    rows = await _decide(
        connection,
        world,
        _decided("chunk_id = ANY(%(chunks)s) AND status <> %(verdict)s AND status <> 'live'"),
        {"chunks": list(chunks), "verdict": verdict.value, "reviewer": reviewer},
    )
    return int(rows[0][0])


async def roll_back(
    connection: Connection, world: int | None, source: str, document: str, reviewer: str
) -> int:
    """Reject all chunks of a source, or of one document of it; returns how many were not rejected before."""
    rows = await _decide(
        connection,
        world,
        _decided(
            "source = %(source)s AND (%(document)s = '' OR document = %(document)s) AND status <> 'rejected'"
        ),
        {
            "source": source,
            "document": document,
            "verdict": Status.REJECTED.value,
            "reviewer": reviewer,
        },
    )
    return int(rows[0][0])


def _decided(which: str) -> str:
    return (
        "WITH decided AS (UPDATE memory.narrative_documents SET status = %(verdict)s"
        f" WHERE {_OF_WORLD} AND {which} RETURNING source, world_id, content_sha256),"
        " noted AS (INSERT INTO memory_ops.reviews (source, world_id, content_sha256, verdict, reviewer)"
        " SELECT DISTINCT source, world_id, content_sha256, %(verdict)s, %(reviewer)s FROM decided"
        " ON CONFLICT (source, world_id, content_sha256) DO UPDATE SET verdict = excluded.verdict,"
        " reviewer = excluded.reviewer, reviewed_at = now())"
        " SELECT count(*) FROM decided"
    )


async def _decide(
    connection: Connection, world: int | None, statement: str, values: dict[str, object]
) -> list[tuple[Any, ...]]:
    """While no ingestion writes a document of this world."""
    async with connection.transaction():
        await connection.execute(
            "SELECT set_config('statement_timeout', %s, true)", (f"{DECIDE_SECONDS:.0f}s",)
        )
        await connection.execute(LOCK, {"world": world})
        return await in_world(connection, world, statement, values)
