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
from gameai.knowledge.store.statements import LOCK, SEE

Connection = psycopg.Connection[tuple[Any, ...]]
_CHECKED_LATER = "Pending"
_TABLE = "memory.narrative_documents"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a source's rows are. `checked_later`: new rows are found only after the whole source was looked at."""

    source: Source
    world_id: int | None
    model: str
    checked_later: bool

    @property
    def rows(self) -> str:
        """The condition of the source's rows, in a form that indexes serve."""
        world = "world_id IS NULL" if self.world_id is None else "world_id = %(world)s"
        return f"scope = %(scope)s AND {world} AND source = %(source)s"

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


def known_place(connection: Connection, source: Source) -> Place | None:
    """Where the rows of a source are that was ingested before; None where its world is not known."""
    world = worlds.number(connection, source.world) if source.world else None
    if source.world and world is None:
        return None
    return Place(source=source, world_id=world, model="", checked_later=False)


def finished(connection: Connection, where: Place, digest: bytes) -> Report | None:
    """What the last ingestion reported, where it was of the same content."""
    row = connection.execute(
        "SELECT message FROM memory_ops.sources WHERE name = %(source)s AND world_id IS NOT DISTINCT FROM %(world)s"
        " AND digest = %(digest)s AND state <> 'Ingesting'",
        {**where.values, "digest": digest},
    ).fetchone()
    if row is None:
        return None
    documents, chunks, quarantined = counts(connection, where)
    return Report(
        source=where.source.name,
        documents=documents,
        chunks=chunks,
        quarantined=quarantined,
        failed=tuple(row[0].splitlines()),
        unchanged=True,
    )


def begin(connection: Connection, where: Place) -> None:
    """Note that an ingestion has begun. The source's trust holds for all of its rows, also of documents that cannot be read now."""
    with _in_world(connection, where):
        connection.execute(
            f"UPDATE {_TABLE} SET trust = %(trust)s WHERE {where.rows} AND trust <> %(trust)s",
            {**where.values, "trust": where.source.trust},
        )
    connection.execute(
        "INSERT INTO memory_ops.sources (name, world_id, digest, state)"
        " VALUES (%(source)s, %(world)s, '', 'Ingesting')"
        " ON CONFLICT (name, world_id) DO UPDATE SET digest = '', state = 'Ingesting', message = ''",
        where.values,
    )


def finish(connection: Connection, where: Place, digest: bytes, failed: Sequence[str]) -> None:
    """Note the end of an ingestion. With an empty digest the same content is ingested again."""
    connection.execute(
        "UPDATE memory_ops.sources SET digest = %(digest)s, state = %(state)s, message = %(message)s"
        " WHERE name = %(source)s AND world_id IS NOT DISTINCT FROM %(world)s",
        {
            **where.values,
            "digest": digest,
            "state": "Failed" if failed else "Ingested",
            "message": "\n".join(failed)[:10_000],
        },
    )


def counts(connection: Connection, where: Place) -> tuple[int, int, int]:
    """The source's documents, chunks, and chunks in quarantine; without what was rejected."""
    with _in_world(connection, where):
        row = connection.execute(
            "SELECT count(DISTINCT document), count(*), count(*) FILTER (WHERE status = 'quarantined')"
            f" FROM {_TABLE} WHERE {where.rows} AND status <> 'rejected'",
            where.values,
        ).fetchone()
    return row or (0, 0, 0)


def sha256(chunk: Chunk) -> bytes:
    """The hash of everything that is stored of a chunk's text."""
    parts = (chunk.title, chunk.section, chunk.content)
    return hashlib.sha256("".join(f"{len(each)}:{each}" for each in parts).encode()).digest()


def known_vectors(
    connection: Connection, where: Place, hashes: Collection[bytes]
) -> dict[bytes, HalfVector]:
    """Vectors that this source has already, by the hash of their text."""
    with _in_world(connection, where):
        rows = connection.execute(
            f"SELECT content_sha256, embedding FROM {_TABLE} WHERE {where.rows}"
            " AND model = %(model)s AND content_sha256 = ANY(%(hashes)s)",
            {**where.values, "model": where.model, "hashes": list(hashes)},
        ).fetchall()
    return {bytes(row[0]): row[1] for row in rows}


def write(connection: Connection, where: Place, document: Written) -> None:
    """Replace a document. Chunks with the same number and text keep their rows; what reviews have said holds."""
    hashes = [sha256(each) for each in document.chunks]
    values = {**where.values, "document": document.name, "model": where.model, "hashes": hashes}
    with _in_world(connection, where), connection.cursor() as cursor:
        # A review that comes now waits, and finds the rows of this transaction.
        cursor.execute(LOCK, {"world": where.world_id})
        decided = _decided(cursor, where, values)
        rows = [_row(where, document, at, decided) for at in range(len(hashes))]
        cursor.execute(
            f"DELETE FROM {_TABLE} WHERE {where.rows} AND document = %(document)s AND (model <> %(model)s"
            " OR NOT EXISTS (SELECT FROM unnest(%(numbers)s::int[], %(hashes)s::bytea[]) AS kept (number, hash)"
            " WHERE kept.number = chunk_no AND kept.hash = content_sha256))",
            {**values, "numbers": [each["number"] for each in rows]},
        )
        cursor.executemany(_INSERT, rows)


_INSERT = f"""
INSERT INTO {_TABLE} (scope, world_id, source, document, chunk_no, title, section, content, content_sha256, document_sha256,
    begin_byte, end_byte, trust, status, reasons, audience, model, embedding)
VALUES (%(scope)s, %(world)s, %(source)s, %(document)s, %(number)s, %(title)s, %(section)s, %(content)s, %(hash)s,
    %(document_hash)s, %(begin)s, %(end)s, %(trust)s, %(status)s, %(reasons)s, %(audience)s, %(model)s, %(embedding)b)
ON CONFLICT (scope, world_id, source, document, chunk_no) DO UPDATE SET document_sha256 = excluded.document_sha256,
    begin_byte = excluded.begin_byte, end_byte = excluded.end_byte, trust = excluded.trust, status = excluded.status,
    reasons = excluded.reasons, audience = excluded.audience
"""


def _decided(
    cursor: psycopg.Cursor[tuple[Any, ...]], where: Place, values: Mapping[str, object]
) -> dict[bytes, Status]:
    """What is known of these texts: verdicts of reviews, and texts of a source with little trust that are live already."""
    live = f"SELECT content_sha256, 'live' FROM {_TABLE} WHERE {where.rows} AND status = 'live' AND reasons = '{{}}'"
    cursor.execute(
        f"{live} AND %(checked_later)s AND content_sha256 = ANY(%(hashes)s) UNION ALL"
        " SELECT content_sha256, verdict FROM memory_ops.reviews"
        " WHERE source = %(source)s AND world_id IS NOT DISTINCT FROM %(world)s AND content_sha256 = ANY(%(hashes)s)",
        {**values, "checked_later": where.checked_later},
    )
    return {bytes(row[0]): Status(row[1]) for row in cursor.fetchall()}


def _row(
    where: Place, document: Written, at: int, decided: Mapping[bytes, Status]
) -> dict[str, object]:
    chunk = document.chunks[at]
    digest = sha256(chunk)
    status, why = decided.get(digest, chunk.status), chunk.reasons
    if where.checked_later and digest not in decided and status is Status.LIVE:
        status, why = Status.QUARANTINED, (_CHECKED_LATER,)
    return {
        **where.values,
        "document": document.name,
        "number": chunk.number,
        "title": chunk.title,
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
        "model": where.model,
        "embedding": HalfVector(document.vectors[at]),
    }


def remove_others(connection: Connection, where: Place, kept: Collection[str]) -> int:
    """Remove the documents that the source does not have any more; returns how many."""
    with _in_world(connection, where):
        row = connection.execute(
            f"WITH gone AS (DELETE FROM {_TABLE} WHERE {where.rows} AND document <> ALL(%(kept)s)"
            " RETURNING document) SELECT count(DISTINCT document) FROM gone",
            {**where.values, "kept": list(kept)},
        ).fetchone()
    return row[0] if row else 0


def names(connection: Connection) -> list[tuple[str, str]]:
    """Every source by name and world, empty for lore of all worlds."""
    return connection.execute(
        "SELECT s.name, coalesce(w.name, '') FROM memory_ops.sources s LEFT JOIN memory.worlds w USING (world_id) ORDER BY 2, 1"
    ).fetchall()


def forget(connection: Connection, where: Place) -> None:
    """Forget that there is such a source; its reviews stay, for the same text may come again."""
    connection.execute(
        "DELETE FROM memory_ops.sources"
        " WHERE name = %(source)s AND world_id IS NOT DISTINCT FROM %(world)s",
        where.values,
    )


def pending(connection: Connection, where: Place) -> tuple[list[int], list[HalfVector]]:
    """Chunks that wait for the look at the whole source, with those that are live: numbers and vectors."""
    with _in_world(connection, where):
        rows = connection.execute(
            f"SELECT chunk_id, embedding FROM {_TABLE} WHERE {where.rows} AND status <> 'rejected' ORDER BY chunk_id",
            where.values,
        ).fetchall()
    return [row[0] for row in rows], [row[1] for row in rows]


def release(connection: Connection, where: Place, held: Collection[int], reason: str) -> None:
    """Make what waited live, but for the chunks in `held`, which stay in quarantine for this reason."""
    values = {**where.values, "held": list(held), "reason": reason, "pending": _CHECKED_LATER}
    # A review may have decided in the meantime.
    waits = f"{where.rows} AND reasons = ARRAY[%(pending)s] AND status = 'quarantined'"
    with _in_world(connection, where):
        connection.execute(
            f"UPDATE {_TABLE} SET reasons = ARRAY[%(reason)s] WHERE {waits} AND chunk_id = ANY(%(held)s)",
            values,
        )
        connection.execute(
            f"UPDATE {_TABLE} SET status = 'live', reasons = '{{}}' WHERE {waits}", values
        )


@contextmanager
def _in_world(connection: Connection, where: Place) -> Iterator[None]:
    """A transaction that sees the rows of this world."""
    with connection.transaction():
        connection.execute(SEE, {"world": where.world_id})
        yield
