"""EDGE: events, concepts, relations and reviews of a database as an archive, and back. Documents are not in it: their sources bring them back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

import numpy as np
import psycopg
from pgvector import HalfVector
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from gameai.knowledge import archive
from gameai.knowledge.archive import ArchiveError, Counts
from gameai.knowledge.archive_lines import (
    ConceptLine,
    EndLine,
    EventLine,
    Fields,
    HeadLine,
    RelationLine,
    ReviewLine,
    WorldLine,
)
from gameai.knowledge.concepts import Content, embedded
from gameai.knowledge.embedding.choice import Choice
from gameai.knowledge.embedding.embedder import Embedder, RefusedTextError
from gameai.knowledge.embedding.remote import INGESTING
from gameai.knowledge.store import facts, worlds
from gameai.knowledge.store.archive_statements import (
    ANALYZE,
    APPLY,
    CONCEPT,
    CONCEPTS,
    COUNT_EVENTS,
    COUNT_VERSIONS,
    EVENT,
    EVENT_COLUMNS,
    KNOWN_EVENTS,
    KNOWN_VERSION,
    RELATION,
    RELATIONS,
    REVIEW,
    REVIEWS,
    SAME_RELATION,
    SAME_VERSION,
    VERSION,
)
from gameai.knowledge.store.concepts import LOCK as LOCK_CONCEPTS
from gameai.knowledge.store.errors import first_line
from gameai.knowledge.store.statements import LOCK, SEE

Connection = psycopg.Connection[tuple[Any, ...]]
_BATCH = 200
_MOST_NAMES = 10_000


def export(connection: Connection, out: TextIO) -> Counts:
    """Write an archive of one moment. Raises psycopg.Error, OSError."""
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    written = archive.Written()

    def write(kind: str, rows: Iterable[dict[str, Any]]) -> None:
        out.writelines(written.line(kind, each) for each in rows)

    with connection.transaction():
        known: dict[str, str] = dict(
            connection.execute("SELECT key, value FROM memory_ops.facts").fetchall()
        )
        head = {"model": known.get("model", ""), "dimensions": int(known["dimensions"])}
        write("head", [{"format": archive.FORMAT, "version": archive.VERSION, **head}])
        every = connection.execute(
            "SELECT world_id, name, last_sequence FROM memory.worlds ORDER BY name"
        ).fetchall()
        write("concept", _concepts(connection, None))
        write("relation", _relations(connection, None))
        for number, name, last in every:
            write("world", [{"name": name, "last_sequence": last}])
            write("event", _events(connection, number))
            write("concept", _concepts(connection, number))
            write("relation", _relations(connection, number))
        write("review", _reviews(connection))
    out.write(written.end())
    return written.counts


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
            entries += _number(connection, COUNT_VERSIONS, {"world": world})
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


def load(connection: Connection, lines: Iterable[str], choice: Choice) -> Counts:
    """Add what an archive holds; what is there already stays. Returns how much was new.

    Vectors of another model than the chosen one are computed again. Each 200 events are one transaction, so that an import
    that was cut off can be repeated. Raises `ArchiveError`, `EmbeddingError`, `StoreError` for a database of another model,
    psycopg.Error.
    """
    started = _Import(connection, choice)
    try:
        return started.run(lines)
    except ArchiveError as error:
        raise ArchiveError(f"{error}; what stands before is in the database") from error
    finally:
        started.close()


class _Import:
    """One import: the world whose events come, and those that are not written yet."""

    def __init__(self, connection: Connection, choice: Choice) -> None:
        self._connection = connection
        self._choice = choice
        # What computes the vectors again, where those of the archive are of another model.
        self._embedder: Embedder | None = None
        self._world: int | None = None
        self._name = ""
        self._last = 0
        # The numbers of the world are not written yet.
        self._fresh = False
        self._batch: list[dict[str, Any]] = []
        self._concepts: list[dict[str, Any]] = []
        self._new = dict.fromkeys(archive.COUNTED.values(), 0)

    def run(self, lines: Iterable[str]) -> Counts:
        number = 0
        try:
            for number, found in archive.framed(lines):
                if not isinstance(found, EventLine):
                    self._write()
                if not isinstance(found, ConceptLine):
                    self._write_concepts()
                self._take(number, found)
            self._write()
            self._write_concepts()
        except psycopg.DataError as error:
            raise ArchiveError(f"line {number}: {first_line(error)}") from error
        except RefusedTextError as error:
            raise ArchiveError(f"line {number} or shortly before: {error}") from error
        # Plans for a table that has just been filled would be those for an empty one.
        self._connection.execute(ANALYZE)
        return Counts(**self._new)

    def close(self) -> None:
        """Give up the connections of the model."""
        if self._embedder is not None:
            self._embedder.close()

    def _take(self, number: int, found: Fields) -> None:
        match found:
            case HeadLine():
                self._begin(found)
            case WorldLine():
                self._begin_world(found)
            case EventLine():
                self._event(found)
            case ConceptLine():
                self._concept(number, found)
            case RelationLine():
                self._relation(number, found)
            case ReviewLine():
                self._review(found)
            case EndLine():
                pass

    def _begin(self, found: HeadLine) -> None:
        # A memory that holds no vector yet has no model.
        if not found.model:
            return
        facts.check(self._connection, self._choice.model, self._choice.dimensions)
        if (found.model, found.dimensions) != (self._choice.model, self._choice.dimensions):
            self._embedder = self._choice.embedder(INGESTING)

    def _begin_world(self, found: WorldLine) -> None:
        self._name = found.name
        known = worlds.number(self._connection, self._name)
        self._world = worlds.ensure(self._connection, self._name)
        self._last, self._fresh = found.last_sequence, True
        self._new["worlds"] += known is None

    def _event(self, found: EventLine) -> None:
        self._batch.append(
            {
                **dict(found),
                "world": self._world,
                "embedding": _vector(found.embedding),
            }
        )
        if len(self._batch) == _BATCH:
            self._write()

    def _write(self) -> None:
        """The events that wait, and the numbers of their world."""
        if self._world is None or not (self._batch or self._fresh):
            return
        if self._embedder is not None:
            self._batch = self._unknown_events()
            self._embed(self._batch, "summary")
        try:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                cursor.execute(SEE, {"world": self._world})
                cursor.executemany(EVENT, self._batch)
                self._new["events"] += max(0, cursor.rowcount)
                cursor.execute(COUNT_EVENTS, {"world": self._world, "last": self._last})
        except psycopg.errors.UniqueViolation as error:
            raise ArchiveError(
                f"world {self._name} has other events with the same numbers: delete those events (ForgetEvents), or use a memory without a history of it"
            ) from error
        self._batch, self._fresh = [], False

    def _embed(self, rows: Sequence[dict[str, Any]], field: str) -> None:
        """Give rows vectors of the chosen model; `field` holds the text."""
        assert self._embedder is not None  # noqa: S101 - the callers' condition
        made = self._embedder.embed([each[field] for each in rows])
        for row, vector in zip(rows, made, strict=True):
            row.update(model=self._choice.model, embedding=HalfVector(vector))

    def _unknown_events(self) -> list[dict[str, Any]]:
        """Those of the batch that the database does not have: an import that is repeated computes few vectors again."""
        keys = [each["key"] for each in self._batch]
        with self._connection.transaction():
            self._connection.execute(SEE, {"world": self._world})
            rows = self._connection.execute(KNOWN_EVENTS, {"world": self._world, "keys": keys})
            known = {each[0] for each in rows}
        return [each for each in self._batch if each["key"] not in known]

    def _concept(self, number: int, found: ConceptLine) -> None:
        content = Content(summary=found.summary, attributes=found.attributes)
        values = {
            **dict(found),
            "line": number,
            "world": self._world,
            "attributes": Jsonb(found.attributes),
            "embedding": _vector(found.embedding),
            "text": embedded(found.name, content),
            "known": False,
        }
        self._concepts.append(values)
        if len(self._concepts) == _BATCH:
            self._write_concepts()

    def _write_concepts(self) -> None:
        """The versions of concepts that wait."""
        rows, self._concepts = self._concepts, []
        if self._embedder is not None:
            for each in rows:
                each["known"] = self._has_version(each)
            self._embed([each for each in rows if not each["known"]], "text")
        for each in rows:
            self._write_concept(each)

    def _has_version(self, values: dict[str, Any]) -> bool:
        with self._connection.transaction():
            self._connection.execute(SEE, {"world": self._world})
            return self._connection.execute(KNOWN_VERSION, values).fetchone() is not None

    def _write_concept(self, values: dict[str, Any]) -> None:
        with self._connection.transaction():
            self._connection.execute(LOCK_CONCEPTS, values)
            self._connection.execute(SEE, {"world": self._world})
            row = self._connection.execute(CONCEPT, values).fetchone()
            values["concept"] = row[0] if row else None
            # Of one that is known the vector may be of another length, which no statement takes.
            if not values["known"] and self._connection.execute(VERSION, values).fetchone():
                self._new["concepts"] += 1
            elif self._connection.execute(SAME_VERSION, values).fetchone() != (True,):
                raise ArchiveError(
                    f"line {values['line']}: concept {values['kind']} {values['name']!r} has another version {values['version']}: "
                    "import into a database without it"
                )

    def _relation(self, number: int, found: RelationLine) -> None:
        values = {**dict(found), "world": self._world}
        with self._connection.transaction():
            self._connection.execute(LOCK_CONCEPTS, values)
            self._connection.execute(SEE, {"world": self._world})
            if self._connection.execute(RELATION, values).fetchone() is not None:
                self._new["relations"] += 1
            elif self._connection.execute(SAME_RELATION, values).fetchone() != (True,):
                raise ArchiveError(
                    f"line {number}: relation {found.kind} of {found.subject_name!r} and {found.object_name!r} has"
                    f" another version {found.version}: import into a database without it"
                )

    def _review(self, found: ReviewLine) -> None:
        world = worlds.ensure(self._connection, found.world) if found.world else None
        values = {**dict(found), "world": world, "content": found.content_sha256}
        with self._connection.transaction():
            self._connection.execute(LOCK, {"world": world})
            self._connection.execute(SEE, {"world": world})
            if self._connection.execute(REVIEW, values).fetchone() is not None:
                self._new["reviews"] += 1
                self._connection.execute(APPLY, values)


def _vector(value: bytes) -> HalfVector:
    return HalfVector(np.frombuffer(value, "<f2").astype("<f4"))
