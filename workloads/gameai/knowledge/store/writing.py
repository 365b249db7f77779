"""EDGE: what an ingestion reads and writes. A document is one transaction: it is there as a whole or not at all."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from pgvector import HalfVector
from pgvector.psycopg import register_vector

from gameai.knowledge.embedding.embedder import Vectors
from gameai.knowledge.records import Chunk, Report, Scope, Source, Status
from gameai.knowledge.store import worlds

Connection = psycopg.Connection[tuple[Any, ...]]
_CHECKED_LATER = "Pending"
_TABLE = "memory.narrative_documents"
_OF_DOCUMENT = (
    "scope = %(scope)s AND world_id IS NOT DISTINCT FROM %(world)s AND source = %(source)s"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a source's rows are. `checked_later`: they are found only after the whole source was looked at."""

    source: Source
    world_id: int | None
    model: str
    checked_later: bool

    @property
    def values(self) -> Mapping[str, object]:
        """As parameters of a statement."""
        scope = Scope.GLOBAL if self.world_id is None else Scope.WORLD
        return {"scope": scope.value, "world": self.world_id, "source": self.source.name}


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A document to write: its chunks with a vector each."""

    name: str
    sha256: bytes
    importance: float
    audience: tuple[str, ...]
    chunks: Sequence[Chunk]
    vectors: Vectors


def connect(database: str) -> Connection:
    """A connection for ingestion. Raises psycopg.Error."""
    connection = psycopg.connect(database, autocommit=True, connect_timeout=10)
    register_vector(connection)
    return connection


@contextmanager
def locked(connection: Connection, source: Source) -> Iterator[None]:
    """Hold the lock of a source: two ingestions of it wait for each other."""
    name = f"{source.world}\n{source.name}"
    connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (name,))
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (name,))


def place(connection: Connection, source: Source, model: str, *, checked_later: bool) -> Place:
    """Where the source's rows are; makes its world."""
    world = worlds.ensure(connection, source.world) if source.world else None
    return Place(source=source, world_id=world, model=model, checked_later=checked_later)


def finished(connection: Connection, where: Place, digest: bytes) -> Report | None:
    """What the last ingestion reported, where it was of the same content."""
    row = connection.execute(
        "SELECT documents, chunks, quarantined, message FROM memory_ops.sources"
        " WHERE name = %(source)s AND world_id IS NOT DISTINCT FROM %(world)s"
        " AND digest = %(digest)s AND state <> 'Ingesting'",
        {**where.values, "digest": digest},
    ).fetchone()
    if row is None:
        return None
    documents, chunks, quarantined = (int(each) for each in row[:3])
    return Report(
        source=where.source.name,
        documents=documents,
        chunks=chunks,
        quarantined=quarantined,
        failed=tuple(str(row[3]).splitlines()),
        unchanged=True,
    )


def begin(connection: Connection, where: Place, digest: bytes) -> None:
    """Note that an ingestion has begun."""
    connection.execute(
        "INSERT INTO memory_ops.sources (name, world_id, digest, state)"
        " VALUES (%(source)s, %(world)s, %(digest)s, 'Ingesting')"
        " ON CONFLICT (name, world_id) DO UPDATE SET digest = excluded.digest, state = 'Ingesting', message = ''",
        {**where.values, "digest": digest},
    )


def sha256(chunk: Chunk) -> bytes:
    """The hash of what a chunk's vector was made of."""
    return hashlib.sha256(chunk.embedded.encode()).digest()


def known_vectors(
    connection: Connection, where: Place, hashes: Collection[bytes]
) -> dict[bytes, HalfVector]:
    """Vectors that this source has already, by the hash of their text."""
    with _in_world(connection, where):
        rows = connection.execute(
            f"SELECT content_sha256, embedding FROM {_TABLE} WHERE {_OF_DOCUMENT}"
            " AND model = %(model)s AND content_sha256 = ANY(%(hashes)s)",
            {**where.values, "model": where.model, "hashes": list(hashes)},
        ).fetchall()
    return {bytes(row[0]): row[1] for row in rows}


def verdicts(connection: Connection, where: Place) -> dict[bytes, Status]:
    """What reviews have said of texts of this source."""
    rows = connection.execute(
        "SELECT content_sha256, verdict FROM memory_ops.reviews"
        " WHERE source = %(source)s AND world_id IS NOT DISTINCT FROM %(world)s",
        where.values,
    ).fetchall()
    return {bytes(row[0]): Status(row[1]) for row in rows}


def write(
    connection: Connection, where: Place, document: Written, reviewed: Mapping[bytes, Status]
) -> None:
    """Replace a document. Chunks with the same number and text keep their rows."""
    rows = [_row(where, document, at, reviewed) for at in range(len(document.chunks))]
    with _in_world(connection, where), connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {_TABLE} WHERE {_OF_DOCUMENT} AND document = %(document)s AND (model <> %(model)s"
            " OR NOT EXISTS (SELECT FROM unnest(%(numbers)s::int[], %(hashes)s::bytea[]) AS kept (number, hash)"
            " WHERE kept.number = chunk_no AND kept.hash = content_sha256))",
            {
                **where.values,
                "document": document.name,
                "model": where.model,
                "numbers": [each["number"] for each in rows],
                "hashes": [each["hash"] for each in rows],
            },
        )
        cursor.executemany(_INSERT, rows)


_INSERT = f"""
INSERT INTO {_TABLE} (scope, world_id, source, document, chunk_no, section, content, content_sha256, document_sha256,
    begin_byte, end_byte, trust, status, reasons, audience, importance, model, embedding)
VALUES (%(scope)s, %(world)s, %(source)s, %(document)s, %(number)s, %(section)s, %(content)s, %(hash)s, %(document_hash)s,
    %(begin)s, %(end)s, %(trust)s, %(status)s, %(reasons)s, %(audience)s, %(importance)s, %(model)s, %(embedding)b)
ON CONFLICT (scope, world_id, source, document, chunk_no) DO UPDATE SET document_sha256 = excluded.document_sha256,
    begin_byte = excluded.begin_byte, end_byte = excluded.end_byte, trust = excluded.trust, status = excluded.status,
    reasons = excluded.reasons, audience = excluded.audience, importance = excluded.importance
"""


def _row(
    where: Place, document: Written, at: int, reviewed: Mapping[bytes, Status]
) -> dict[str, object]:
    chunk = document.chunks[at]
    digest = sha256(chunk)
    status, why = reviewed.get(digest, chunk.status), chunk.reasons
    if where.checked_later and digest not in reviewed and status is Status.LIVE:
        status, why = Status.QUARANTINED, (_CHECKED_LATER,)
    return {
        **where.values,
        "document": document.name,
        "number": chunk.number,
        "section": chunk.section,
        "content": chunk.content,
        "hash": digest,
        "document_hash": document.sha256,
        "begin": chunk.begin_byte,
        "end": chunk.end_byte,
        "trust": where.source.trust,
        "status": status.value,
        "reasons": list(why),
        "audience": list(document.audience),
        "importance": document.importance,
        "model": where.model,
        "embedding": HalfVector(document.vectors[at]),
    }


def remove_others(connection: Connection, where: Place, kept: Collection[str]) -> int:
    """Remove the documents that the source does not have any more; returns how many."""
    with _in_world(connection, where):
        rows = connection.execute(
            f"WITH gone AS (DELETE FROM {_TABLE} WHERE {_OF_DOCUMENT} AND document <> ALL(%(kept)s)"
            " RETURNING document) SELECT count(DISTINCT document) FROM gone",
            {**where.values, "kept": list(kept)},
        ).fetchone()
    return int(rows[0]) if rows else 0


def pending(connection: Connection, where: Place) -> tuple[list[int], list[HalfVector]]:
    """Chunks of the source that wait for the look at the whole, with those that are live: numbers and vectors."""
    with _in_world(connection, where):
        rows = connection.execute(
            f"SELECT chunk_id, embedding FROM {_TABLE} WHERE {_OF_DOCUMENT} AND status <> 'rejected' ORDER BY chunk_id",
            where.values,
        ).fetchall()
    return [int(row[0]) for row in rows], [row[1] for row in rows]


def release(connection: Connection, where: Place, held: Collection[int], reason: str) -> None:
    """Make what waited live, but for the chunks in `held`, which stay in quarantine for this reason."""
    values = {**where.values, "held": list(held), "reason": reason, "pending": _CHECKED_LATER}
    with _in_world(connection, where):
        connection.execute(
            f"UPDATE {_TABLE} SET status = 'quarantined', reasons = ARRAY[%(reason)s]"
            f" WHERE {_OF_DOCUMENT} AND chunk_id = ANY(%(held)s) AND reasons = ARRAY[%(pending)s]",
            values,
        )
        connection.execute(
            f"UPDATE {_TABLE} SET status = 'live', reasons = '{{}}'"
            f" WHERE {_OF_DOCUMENT} AND reasons = ARRAY[%(pending)s]",
            values,
        )


def finish(
    connection: Connection, where: Place, failed: Sequence[str], *, empty: bool = False
) -> tuple[int, int, int]:
    """Note the end of an ingestion; returns the source's documents, chunks, and chunks in quarantine."""
    with _in_world(connection, where):
        row = connection.execute(
            "SELECT count(DISTINCT document), count(*), count(*) FILTER (WHERE status = 'quarantined')"
            f" FROM {_TABLE} WHERE {_OF_DOCUMENT}",
            where.values,
        ).fetchone()
        assert row is not None  # noqa: S101 - an aggregate gives a row
        connection.execute(
            "UPDATE memory_ops.sources SET state = %(state)s, message = %(message)s, documents = %(documents)s,"
            " chunks = %(chunks)s, quarantined = %(quarantined)s, ingested_at = now()"
            " WHERE name = %(source)s AND world_id IS NOT DISTINCT FROM %(world)s",
            {
                **where.values,
                "state": "Failed" if failed or empty else "Ingested",
                "message": "\n".join(failed),
                **dict(zip(("documents", "chunks", "quarantined"), row, strict=True)),
            },
        )
    documents, chunks, quarantined = (int(each) for each in row)
    return documents, chunks, quarantined


@contextmanager
def _in_world(connection: Connection, where: Place) -> Iterator[None]:
    """A transaction that sees the rows of this world."""
    world = "" if where.world_id is None else str(where.world_id)
    with connection.transaction():
        connection.execute("SELECT set_config('memory.world', %s, true)", (world,))
        yield
