"""EDGE: events and reviews of a database as an archive, and back. Documents are not in it: their sources bring them back."""

import datetime
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

import numpy as np
import psycopg
from pgvector import HalfVector
from psycopg.rows import dict_row

from gameai.knowledge import archive
from gameai.knowledge.archive import ArchiveError, Counts, Line
from gameai.knowledge.store import facts, worlds
from gameai.knowledge.store.errors import first_line
from gameai.knowledge.store.statements import LOCK, SEE

Connection = psycopg.Connection[tuple[Any, ...]]
_BATCH = 200
_COLUMNS = (
    "sequence, key, digest, world_seconds, kind, summary, participants, evidence, confidence, importance, account, recorded_at,"
    " status, reasons, reviewer, model, embedding"
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


def export(connection: Connection, out: TextIO) -> Counts:
    """Write an archive of one moment. Raises psycopg.Error, OSError."""
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    events = 0
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
        for number, name, last in rows:
            out.write(archive.text("world", {"name": name, "last_sequence": last}))
            for event in _events(connection, number):
                out.write(archive.text("event", event))
                events += 1
        reviews = list(_reviews(connection))
        out.writelines(archive.text("review", each) for each in reviews)
        counts = {"worlds": len(rows), "events": events, "reviews": len(reviews)}
        out.write(archive.text("end", counts))
    return Counts(**counts)


def _events(connection: Connection, world: int) -> Iterator[dict[str, Any]]:
    connection.execute(SEE, {"world": world})
    with connection.cursor(name="events", row_factory=dict_row) as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM memory.story_events WHERE world_id = %s ORDER BY sequence",
            (world,),
        )
        for row in cursor:
            vector = row["embedding"].to_numpy().astype("<f2").tobytes()
            when = row["recorded_at"].isoformat()
            yield {**row, "recorded_at": when, "embedding": vector}


def _reviews(connection: Connection) -> Iterator[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(_REVIEWS):
            yield {**row, "reviewed_at": row["reviewed_at"].isoformat()}


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
        self._seen = dict.fromkeys(("world", "event", "review"), 0)
        self._new = dict.fromkeys(("world", "event", "review"), 0)

    def run(self, lines: Iterable[str]) -> Counts:
        kind = ""
        for number, given in enumerate(lines, 1):
            found = archive.line(number, given)
            if (number == 1) is not (found.kind == "head") or kind == "end":
                raise ArchiveError(f"line {number} stands in a wrong place")
            kind = found.kind
            try:
                self._take(number, found)
            except psycopg.DataError as error:
                raise ArchiveError(f"line {number}: {first_line(error)}") from error
        if kind != "end":
            raise ArchiveError(
                "the archive ends early: it was cut off. What came before was imported; import the whole file again"
            )
        return Counts(
            worlds=self._new["world"], events=self._new["event"], reviews=self._new["review"]
        )

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
        elif found.kind == "review":
            self._review(number, found)
        elif found.fields != {f"{key}s": value for key, value in self._seen.items()}:
            raise ArchiveError(
                f"line {number} counts other lines than there are: the file is damaged"
            )

    def _begin(self, found: Line) -> None:
        self._name = found.fields["name"]
        known = worlds.number(self._connection, self._name)
        self._world = worlds.ensure(self._connection, self._name)
        self._last = found.fields["last_sequence"]
        self._seen["world"] += 1
        self._new["world"] += known is None

    def _event(self, number: int, found: Line) -> None:
        if self._world is None:
            raise ArchiveError(f"line {number} stands before the line of its world")
        self._seen["event"] += 1
        fields = found.fields
        vector = archive.data(number, fields["embedding"])
        self._batch.append(
            {
                **fields,
                "world": self._world,
                "digest": archive.data(number, fields["digest"]),
                "recorded_at": _time(number, fields["recorded_at"]),
                "embedding": HalfVector(np.frombuffer(vector, "<f2").astype("<f4")),
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
                f"world {self._name} has other events with the same numbers: import into a database without a history of it"
            ) from error
        self._batch = []

    def _review(self, number: int, found: Line) -> None:
        fields = found.fields
        world = worlds.ensure(self._connection, fields["world"]) if fields["world"] else None
        values = {
            **fields,
            "world": world,
            "content": archive.data(number, fields["content_sha256"]),
            "reviewed_at": _time(number, fields["reviewed_at"]),
        }
        self._seen["review"] += 1
        with self._connection.transaction():
            self._connection.execute(LOCK, {"world": world})
            self._connection.execute(SEE, {"world": world})
            if self._connection.execute(_REVIEW, values).fetchone() is not None:
                self._new["review"] += 1
                self._connection.execute(_APPLY, values)


def _time(number: int, value: str) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(value)
    except ValueError as error:
        raise ArchiveError(f"line {number}: {value!r} is no time") from error
