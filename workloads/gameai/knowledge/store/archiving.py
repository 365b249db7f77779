"""EDGE: events, concepts and reviews of a database as an archive, and back. Documents are not in it: their sources bring them back."""

import datetime
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

import numpy as np
import psycopg
from pgvector import HalfVector
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from gameai.knowledge import archive
from gameai.knowledge.archive import ArchiveError, Counts, Line
from gameai.knowledge.concepts import Content, embedded
from gameai.knowledge.store import facts, worlds
from gameai.knowledge.store.errors import first_line
from gameai.knowledge.store.statements import LOCK, SEE

Connection = psycopg.Connection[tuple[Any, ...]]
_BATCH = 200
_MOST_NAMES = 10_000
_COLUMNS = (
    "sequence, key, digest, world_seconds, kind, summary, participants, evidence, confidence, importance, account, recorded_at,"
    " status, reasons, reviewer, reviewed_at, model, embedding"
)
_INSERT = (
    f"INSERT INTO memory.story_events (world_id, {_COLUMNS}) VALUES (%(world)s, "
    + ", ".join(f"%({each.strip()})s" for each in _COLUMNS.split(","))
    + ") ON CONFLICT (world_id, key) DO NOTHING"
)
_COUNT = (
    "UPDATE memory.worlds SET last_sequence = greatest(last_sequence, %(last)s), events ="
    " (SELECT count(*) FROM memory.story_events WHERE world_id = %(world)s) WHERE world_id = %(world)s"
)
_CONCEPTS = (
    "SELECT kind, name, version, from_seconds, summary, attributes, digest, cause_sequence, account, recorded_at, model, embedding"
    " FROM memory.narrative_concepts AS concepts JOIN memory.concept_versions AS versions USING (concept_id)"
    " WHERE concepts.world_id IS NOT DISTINCT FROM %s::int ORDER BY kind, name, version"
)
_CONCEPT = (
    "INSERT INTO memory.narrative_concepts AS known (world_id, kind, name, current_version)"
    " VALUES (%(world)s, %(kind)s, %(name)s, %(version)s) ON CONFLICT (world_id, kind, name)"
    " DO UPDATE SET current_version = greatest(known.current_version, excluded.current_version) RETURNING concept_id"
)
_VERSION = (
    "INSERT INTO memory.concept_versions (concept_id, version, world_id, from_seconds, summary, attributes, digest, cause_sequence,"
    " account, recorded_at, tsv, model, embedding) VALUES (%(concept)s, %(version)s, %(world)s, %(from_seconds)s, %(summary)s,"
    " %(attributes)s, %(digest)s, %(cause_sequence)s, %(account)s, %(recorded_at)s, to_tsvector('english', %(text)s), %(model)s,"
    " %(embedding)s) ON CONFLICT (concept_id, version) DO NOTHING RETURNING version"
)
_SAME = "SELECT digest = %(digest)s FROM memory.concept_versions WHERE concept_id = %(concept)s AND version = %(version)s"
_REVIEWS = (
    "SELECT source, coalesce(worlds.name, '') AS world, content_sha256, verdict, reviewer, reviewed_at"
    " FROM memory_ops.reviews LEFT JOIN memory.worlds USING (world_id) ORDER BY 2, 1, 3"
)
_REVIEW = (
    "INSERT INTO memory_ops.reviews (source, world_id, content_sha256, verdict, reviewer, reviewed_at)"
    " VALUES (%(source)s, %(world)s, %(content)s, %(verdict)s, %(reviewer)s, %(reviewed_at)s)"
    " ON CONFLICT (source, world_id, content_sha256) DO NOTHING RETURNING verdict"
)
# What was ingested before the import: its text has had a verdict.
_APPLY = (
    "UPDATE memory.narrative_documents SET status = %(verdict)s WHERE source = %(source)s AND content_sha256 = %(content)s"
    " AND scope = CASE WHEN %(world)s::int IS NULL THEN 'global' ELSE 'world' END AND world_id IS NOT DISTINCT FROM %(world)s::int"
    " AND status <> 'live'"
)

_VERSIONS = (
    "SELECT count(*) FROM memory.concept_versions WHERE world_id IS NOT DISTINCT FROM %s::int"
)


def export(connection: Connection, out: TextIO) -> Counts:
    """Write an archive of one moment. Raises psycopg.Error, OSError."""
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    events = concepts = 0
    with connection.transaction():
        known: dict[str, str] = dict(
            connection.execute("SELECT key, value FROM memory_ops.facts").fetchall()
        )
        head = {"model": known.get("model", ""), "dimensions": int(known["dimensions"])}
        out.write(
            archive.text("head", {"format": archive.FORMAT, "version": archive.VERSION, **head})
        )
        rows = connection.execute(
            "SELECT world_id, name, last_sequence FROM memory.worlds ORDER BY name"
        ).fetchall()
        concepts += _write_all(out, "concept", _concepts(connection, None))
        for number, name, last in rows:
            out.write(archive.text("world", {"name": name, "last_sequence": last}))
            events += _write_all(out, "event", _events(connection, number))
            concepts += _write_all(out, "concept", _concepts(connection, number))
        reviews = _write_all(out, "review", _reviews(connection))
        counts = {"worlds": len(rows), "events": events, "concepts": concepts, "reviews": reviews}
        out.write(archive.text("end", counts))
    return Counts(**counts)


def _write_all(out: TextIO, kind: str, rows: Iterable[dict[str, Any]]) -> int:
    number = 0
    for each in rows:
        out.write(archive.text(kind, each))
        number += 1
    return number


def _concepts(connection: Connection, world: int | None) -> Iterator[dict[str, Any]]:
    connection.execute(SEE, {"world": world})
    yield from _streamed(connection, _CONCEPTS, world)


def _events(connection: Connection, world: int) -> Iterator[dict[str, Any]]:
    connection.execute(SEE, {"world": world})
    statement = f"SELECT {_COLUMNS} FROM memory.story_events WHERE world_id = %s ORDER BY sequence"
    yield from _streamed(connection, statement, world)


def _streamed(
    connection: Connection, statement: str, world: int | None
) -> Iterator[dict[str, Any]]:
    """Rows with a vector and a time, a few at once."""
    with connection.cursor(name="rows", row_factory=dict_row) as cursor:
        cursor.execute(statement, (world,))
        for row in cursor:
            vector = row["embedding"].to_numpy().astype("<f2").tobytes()
            when = row["recorded_at"].isoformat()
            if "reviewed_at" in row:
                row["reviewed_at"] = row["reviewed_at"].isoformat() if row["reviewed_at"] else ""
            yield {**row, "recorded_at": when, "embedding": vector}


def _reviews(connection: Connection) -> Iterator[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(_REVIEWS):
            yield {**row, "reviewed_at": row["reviewed_at"].isoformat()}


def held(connection: Connection) -> tuple[int, int]:
    """The number of events that were ever appended, and of entries: events, versions of concepts, reviews. Raises psycopg.Error."""
    with connection.transaction():
        rows = connection.execute(
            "SELECT world_id, last_sequence, events FROM memory.worlds"
        ).fetchall()
        entries = _number(connection, "SELECT count(*) FROM memory_ops.reviews")
        entries += sum(events for _, _, events in rows)
        for world in (None, *(number for number, _, _ in rows)):
            connection.execute(SEE, {"world": world})
            entries += _number(connection, _VERSIONS, world)
    return sum(last for _, last, _ in rows), entries


def _number(connection: Connection, statement: str, *values: object) -> int:
    row = connection.execute(statement, values).fetchone()
    return int(row[0]) if row else 0


def lineage(connection: Connection) -> str:
    """Identifier of this database among those that write to one repository: eight hexadecimal digits. Raises psycopg.Error."""
    connection.execute(
        "INSERT INTO memory_ops.facts VALUES ('lineage', substr(md5(gen_random_uuid()::text), 1, 8)) ON CONFLICT (key) DO NOTHING"
    )
    return facts.value(connection, "lineage") or ""


def archive_names(connection: Connection) -> set[str]:
    """Archives that this database made, and those that were there when it was restored. Raises psycopg.Error."""
    return set((facts.value(connection, "archives") or "").split())


def add_archive_names(connection: Connection, names: Iterable[str]) -> None:
    """Remember more of them, the newest so many. Raises psycopg.Error."""
    known = sorted({*archive_names(connection), *names}, reverse=True)[:_MOST_NAMES]
    facts.keep(connection, "archives", "\n".join(known))


def lock(connection: Connection) -> None:
    """Wait for another restore of this database; until the connection ends, others wait for this one. Raises psycopg.Error."""
    connection.execute("SELECT pg_advisory_lock(hashtextextended('restore of the memory', 0))")


def restored(connection: Connection, once: str) -> str | None:
    """What was said of the restore of this name; None where there was none. Raises psycopg.Error."""
    return facts.value(connection, f"restored {once}")


def set_restored(connection: Connection, once: str, text: str) -> None:
    """Say that the restore of this name is done. Raises psycopg.Error."""
    facts.keep(connection, f"restored {once}", text)


def load(connection: Connection, lines: Iterable[str]) -> Counts:
    """Add what an archive holds; what is there already stays. Returns how much was new.

    Each 200 events are one transaction, so that an import that was cut off can be repeated. Raises `ArchiveError`,
    `StoreError` for an archive of another model, psycopg.Error.
    """
    return _Import(connection).run(lines)


class _Import:
    """One import: the world whose events come, and those that are not written yet."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._world: int | None = None
        self._name = ""
        self._last = 0
        self._batch: list[dict[str, Any]] = []
        self._new = dict.fromkeys(archive.COUNTED, 0)

    def run(self, lines: Iterable[str]) -> Counts:
        number = 0
        try:
            for number, found in archive.framed(lines):
                self._take(number, found)
            self._write()
        except psycopg.DataError as error:
            raise ArchiveError(f"line {number}: {first_line(error)}") from error
        return Counts(**{f"{key}s": value for key, value in self._new.items()})

    def _take(self, number: int, found: Line) -> None:
        if found.kind == "event":
            self._event(number, found)
            return
        self._write()
        if found.kind == "head":
            # A memory that holds no vector yet has no model.
            if found.fields["model"]:
                facts.check(self._connection, found.fields["model"], found.fields["dimensions"])
        elif found.kind == "world":
            self._begin(found)
        elif found.kind == "concept":
            self._concept(number, found)
        else:
            self._review(number, found)

    def _begin(self, found: Line) -> None:
        self._name = found.fields["name"]
        known = worlds.number(self._connection, self._name)
        self._world = worlds.ensure(self._connection, self._name)
        self._last = found.fields["last_sequence"]
        self._new["world"] += known is None

    def _event(self, number: int, found: Line) -> None:
        if self._world is None:
            raise ArchiveError(f"line {number} is before the line of its world")
        fields = found.fields
        self._batch.append(
            {
                **fields,
                "world": self._world,
                "digest": archive.data(number, fields["digest"]),
                "recorded_at": _time(number, fields["recorded_at"]),
                "reviewed_at": _time(number, fields["reviewed_at"])
                if fields["reviewed_at"]
                else None,
                "embedding": _vector(number, fields["embedding"]),
            }
        )
        if len(self._batch) == _BATCH:
            self._write()

    def _write(self) -> None:
        """The events that wait, and the numbers of their world."""
        if self._world is None:
            return
        try:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                cursor.execute(SEE, {"world": self._world})
                cursor.executemany(_INSERT, self._batch)
                self._new["event"] += max(0, cursor.rowcount)
                cursor.execute(_COUNT, {"world": self._world, "last": self._last})
        except psycopg.errors.UniqueViolation as error:
            raise ArchiveError(
                f"world {self._name} has other events with the same numbers: delete those events (ForgetEvents), or use a memory without a history of it"
            ) from error
        self._batch = []

    def _concept(self, number: int, found: Line) -> None:
        fields = found.fields
        content = Content(summary=fields["summary"], attributes=fields["attributes"])
        values = {
            **fields,
            "world": self._world,
            "attributes": Jsonb(fields["attributes"]),
            "digest": archive.data(number, fields["digest"]),
            "recorded_at": _time(number, fields["recorded_at"]),
            "embedding": _vector(number, fields["embedding"]),
            "text": embedded(fields["name"], content),
        }
        with self._connection.transaction():
            self._connection.execute(SEE, {"world": self._world})
            row = self._connection.execute(_CONCEPT, values).fetchone()
            values["concept"] = row[0] if row else None
            if self._connection.execute(_VERSION, values).fetchone() is not None:
                self._new["concept"] += 1
            elif self._connection.execute(_SAME, values).fetchone() != (True,):
                raise ArchiveError(
                    f"line {number}: concept {fields['kind']} {fields['name']!r} has another version {fields['version']}: "
                    "import into a database without it"
                )

    def _review(self, number: int, found: Line) -> None:
        fields = found.fields
        world = worlds.ensure(self._connection, fields["world"]) if fields["world"] else None
        values = {
            **fields,
            "world": world,
            "content": archive.data(number, fields["content_sha256"]),
            "reviewed_at": _time(number, fields["reviewed_at"]),
        }
        with self._connection.transaction():
            self._connection.execute(LOCK, {"world": world})
            self._connection.execute(SEE, {"world": world})
            if self._connection.execute(_REVIEW, values).fetchone() is not None:
                self._new["review"] += 1
                self._connection.execute(_APPLY, values)


def _vector(number: int, value: str) -> HalfVector:
    return HalfVector(np.frombuffer(archive.data(number, value), "<f2").astype("<f4"))


def _time(number: int, value: str) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(value)
    except ValueError as error:
        raise ArchiveError(f"line {number}: {value!r} is no time") from error
