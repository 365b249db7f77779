"""EDGE: a search: one statement, whose transaction sees the rows of one world and no other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pgvector import HalfVector

from gameai.knowledge.records import Hit, Mode, Provenance, Query, Scope
from gameai.knowledge.store.connections import Connection
from gameai.knowledge.store.statements import SEARCH

# Candidates that the index of global lore looks at, by quality.
STANDARD_SEARCH, HIGH_SEARCH = 40, 80


async def world_number(connection: Connection, name: str) -> int | None:
    """The number of a world; None where the memory knows none of this name."""
    found = await connection.execute("SELECT world_id FROM memory.worlds WHERE name = %s", (name,))
    row = await found.fetchone()
    return int(row[0]) if row else None


async def search(connection: Connection, query: Query, world: int | None) -> list[Hit]:
    """The hits, best first. Raises psycopg.Error."""
    candidates = HIGH_SEARCH if query.high_quality else STANDARD_SEARCH
    values = {
        "world": world,
        "candidates": str(max(candidates, query.count)),
        "vector": HalfVector(np.frombuffer(query.vector, "<f4")) if query.vector else None,
        "text": query.text,
        "trust": query.trust,
        "audience": list(query.audience),
        "count": query.count,
    }
    cursor = await connection.execute(SEARCH[query.mode, query.scope], values, binary=True)
    return _hits(await cursor.fetchall(), query.mode)


def _hits(rows: Sequence[tuple[Any, ...]], mode: Mode) -> list[Hit]:
    return [
        Hit(
            chunk_id=row[0],
            scope=Scope(row[1]),
            score=float(row[2]),
            similarity=0.0 if mode is Mode.TEXT or row[3] is None else 1.0 - float(row[3]),
            vector_rank=row[4],
            text_rank=row[5],
            content=row[6],
            trust=row[7],
            provenance=Provenance(
                source=row[8],
                document=row[9],
                section=row[10],
                document_sha256=row[11],
                begin_byte=row[12],
                end_byte=row[13],
            ),
        )
        for row in rows
    ]
