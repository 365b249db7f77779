"""EDGE: events, concepts, relations and reviews of a database as an archive, and back. Documents are not in it: their sources bring them back."""

import datetime
from collections.abc import Iterable, Iterator, Mapping
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
from gameai.knowledge.store.archive_statements import (
    APPLY,
    CONCEPT,
    CONCEPTS,
    COUNT_EVENTS,
    EVENT,
    EVENT_COLUMNS,
    RELATION,
    RELATIONS,
    REVIEW,
    REVIEWS,
    SAME_RELATION,
    SAME_VERSION,
    VERSION,
    VERSIONS,
)
from gameai.knowledge.store.errors import first_line
from gameai.knowledge.store.statements import LOCK, SEE

Connection = psycopg.Connection[tuple[Any, ...]]
_BATCH = 200
_MOST_NAMES = 10_000


def export(connection: Connection, out: TextIO) -> Counts:
    """Write an archive of one moment. Raises psycopg.Error, OSError."""
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    events = concepts = relations = 0
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
        relations += _write_all(out, "relation", _relations(connection, None))
        for number, name, last in rows:
            out.write(archive.text("world", {"name": name, "last_sequence": last}))
            events += _write_all(out, "event", _events(connection, number))
            concepts += _write_all(out, "concept", _concepts(connection, number))
            relations += _write_all(out, "relation", _relations(connection, number))
        reviews = _write_all(out, "review", _reviews(connection))
        counts = {
            "worlds": len(rows),
            "events": events,
            "concepts": concepts,
            "relations": relations,
            "reviews": reviews,
        }
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
    yield from _streamed(connection, CONCEPTS, world)


def _relations(connection: Connection, world: int | None) -> Iterator[dict[str, Any]]:
    connection.execute(SEE, {"world": world})
    yield from _streamed(connection, RELATIONS, world)


def _events(connection: Connection, world: int) -> Iterator[dict[str, Any]]:
    connection.execute(SEE, {"world": world})
    statement = (
        f"SELECT {EVENT_COLUMNS} FROM memory.story_events WHERE world_id = %s ORDER BY sequence"
    )
    yield from _streamed(connection, statement, world)


def _streamed(
    connection: Connection, statement: str, world: int | None
) -> Iterator[dict[str, Any]]:
    """Rows with a time, and with or without a vector, a few at once."""
    with connection.cursor(name="rows", row_factory=dict_row) as cursor:
        cursor.execute(statement, (world,))
        for row in cursor:
            row["recorded_at"] = row["recorded_at"].isoformat()
            if "embedding" in row:
                row["embedding"] = row["embedding"].to_numpy().astype("<f2").tobytes()
            if "reviewed_at" in row:
                row["reviewed_at"] = row["reviewed_at"].isoformat() if row["reviewed_at"] else ""
            yield row


def _reviews(connection: Connection) -> Iterator[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(REVIEWS):
            yield {**row, "reviewed_at": row["reviewed_at"].isoformat()}


def held(connection: Connection) -> tuple[int, int]:
    """The number of events that were ever appended, and of entries: events, versions of concepts and relations, reviews. Raises psycopg.Error."""
    with connection.transaction():
        rows = connection.execute(
            "SELECT world_id, last_sequence, events FROM memory.worlds"
        ).fetchall()
        entries = _number(connection, "SELECT count(*) FROM memory_ops.reviews")
        entries += sum(events for _, _, events in rows)
        for world in (None, *(number for number, _, _ in rows)):
            connection.execute(SEE, {"world": world})
            entries += _number(connection, VERSIONS, {"world": world})
    return sum(last for _, last, _ in rows), entries


def _number(
    connection: Connection, statement: str, values: Mapping[str, object] | None = None
) -> int:
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
        elif found.kind == "relation":
            self._relation(number, found)
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
                cursor.executemany(EVENT, self._batch)
                self._new["event"] += max(0, cursor.rowcount)
                cursor.execute(COUNT_EVENTS, {"world": self._world, "last": self._last})
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
            row = self._connection.execute(CONCEPT, values).fetchone()
            values["concept"] = row[0] if row else None
            if self._connection.execute(VERSION, values).fetchone() is not None:
                self._new["concept"] += 1
            elif self._connection.execute(SAME_VERSION, values).fetchone() != (True,):
                raise ArchiveError(
                    f"line {number}: concept {fields['kind']} {fields['name']!r} has another version {fields['version']}: "
                    "import into a database without it"
                )

    def _relation(self, number: int, found: Line) -> None:
        fields = found.fields
        values = {
            **fields,
            "world": self._world,
            "recorded_at": _time(number, fields["recorded_at"]),
        }
        with self._connection.transaction():
            self._connection.execute(SEE, {"world": self._world})
            if self._connection.execute(RELATION, values).fetchone() is not None:
                self._new["relation"] += 1
            elif self._connection.execute(SAME_RELATION, values).fetchone() != (True,):
                raise ArchiveError(
                    f"line {number}: relation {fields['kind']} of {fields['subject_name']!r} and {fields['object_name']!r} has"
                    f" another version {fields['version']}: import into a database without it"
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
            if self._connection.execute(REVIEW, values).fetchone() is not None:
                self._new["review"] += 1
                self._connection.execute(APPLY, values)


def _vector(number: int, value: str) -> HalfVector:
    return HalfVector(np.frombuffer(archive.data(number, value), "<f2").astype("<f4"))


def _time(number: int, value: str) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(value)
    except ValueError as error:
        raise ArchiveError(f"line {number}: {value!r} is no time") from error
