"""EDGE: concepts and their versions. Each transaction sees the rows of one world, and those of all worlds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pgvector import HalfVector
from psycopg.types.json import Jsonb

from gameai.knowledge.concepts import (
    MOST_CONCEPTS,
    MOST_VERSIONS,
    Content,
    Evolution,
    Evolved,
    Found,
    Listing,
    Named,
    Version,
)
from gameai.knowledge.store import searching
from gameai.knowledge.store.concept_statements import FIELDS, SEARCH
from gameai.knowledge.store.connections import Connection
from gameai.knowledge.store.events import bind
from gameai.knowledge.store.relation_statements import FORGET_CONCEPT
from gameai.knowledge.store.scoped import ensure_world, in_world
from gameai.knowledge.store.statements import SEE

# As `FIELDS`, of the tables c and v.
_QUALIFIED = ", ".join(
    f"c.{each}" if each in ("kind", "name", "world_id") else f"v.{each}"
    for each in FIELDS.split(", ")
)
# The concepts that a world sees at a time of it, each in one version; conditions and an order follow.
_SEEN = (
    f"SELECT DISTINCT ON (c.kind, c.name) {_QUALIFIED} FROM memory.narrative_concepts AS c"
    " JOIN LATERAL (SELECT * FROM memory.concept_versions AS versions WHERE versions.concept_id = c.concept_id"
    " AND (versions.world_id IS NULL OR versions.from_seconds <= %(seconds)s) ORDER BY versions.version DESC LIMIT 1) AS v ON true"
    " WHERE (c.world_id = %(world)s OR c.world_id IS NULL)"
)
_SEEN_ORDER = "ORDER BY c.kind, c.name, c.world_id NULLS LAST"
_OF = "world_id IS NOT DISTINCT FROM %(world)s::int AND kind = %(kind)s AND name = %(name)s"
# Two calls that write concepts, or relations between them, of one world wait for each other.
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('concepts of ' || coalesce(%(world)s::text, 'all worlds'), 0))"
_VERSION = (
    "INSERT INTO memory.concept_versions (concept_id, version, world_id, from_seconds, summary, attributes, digest, cause_sequence,"
    " account, tsv, model, embedding) VALUES (%(concept)s, %(version)s, %(world)s, %(from)s, %(summary)s, %(attributes)s, %(digest)s,"
    " %(cause)s, %(account)s, to_tsvector('english', %(text)s), %(model)s, %(embedding)s)"
)


class ConflictError(Exception):
    """Another version was written meanwhile; `current` is its number, 0: there is none."""

    def __init__(self, current: int) -> None:
        super().__init__(current)
        self.current = current


class EarlierError(Exception):
    """The former version holds from a later time of the world; `seconds` is that time."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class NoCauseError(Exception):
    """The world has no event of this number."""


class TooManyError(Exception):
    """The world has as many concepts or relations, or one of them as many versions, as it may have; the message names the limit."""


async def evolve(
    connection: Connection, evolution: Evolution, vector: bytes, *, account: str, model: str
) -> Evolved:
    """Write a version. Raises `ConflictError`, `EarlierError`, `NoCauseError`, `TooManyError`, `OtherModelError`, psycopg.Error."""
    concept = evolution.concept
    async with connection.transaction():
        await bind(connection, model)
        world = await ensure_world(connection, concept.world) if concept.world else None
        values = {"world": world, "kind": concept.kind, "name": concept.name}
        await connection.execute(LOCK, values)
        await connection.execute(SEE, values)
        last = await _last(connection, values)
        if last is not None and _repeats(last, evolution):
            return Evolved(version=last["version"], known=True)
        current = last["version"] if last else 0
        if current != evolution.expected:
            raise ConflictError(current)
        if last is not None and last["from_seconds"] > evolution.stored.from_seconds:
            raise EarlierError(last["from_seconds"])
        if current >= MOST_VERSIONS:
            raise TooManyError(f"a concept has at most {MOST_VERSIONS} versions")
        await check_cause(connection, world, evolution.stored.cause)
        number = await _number(connection, values, current + 1)
        stored = evolution.stored
        version = {
            **values,
            "concept": number,
            "version": current + 1,
            "from": stored.from_seconds,
            "summary": stored.summary,
            "attributes": Jsonb(dict(stored.attributes)),
            "digest": evolution.stored.digest,
            "cause": stored.cause,
            "account": account,
            "text": evolution.embedded,
            "model": model,
            "embedding": HalfVector(np.frombuffer(vector, "<f4")),
        }
        await connection.execute(_VERSION, version)
    return Evolved(version=current + 1, known=False)


async def get(connection: Connection, concept: Named, seconds: int) -> Version | None:
    """The version that a world sees at a time of it; None where there is none. Raises psycopg.Error."""
    world = await known_world(connection, concept.world)
    rows = await in_world(
        connection,
        world,
        f"SELECT {_QUALIFIED} FROM memory.narrative_concepts AS c JOIN memory.concept_versions AS v USING (concept_id)"
        " WHERE (c.world_id = %(world)s OR c.world_id IS NULL) AND kind = %(kind)s AND name = %(name)s"
        " AND (c.world_id IS NULL OR from_seconds <= %(seconds)s) ORDER BY c.world_id NULLS LAST, version DESC LIMIT 1",
        {"kind": concept.kind, "name": concept.name, "seconds": seconds},
    )
    return _version(rows[0], concept.world) if rows else None


async def versions(connection: Connection, concept: Named, after: int, count: int) -> list[Version]:
    """The versions of one concept after a number, in order. Raises psycopg.Error."""
    world = await known_world(connection, concept.world)
    if concept.world and world is None:
        return []
    rows = await in_world(
        connection,
        world,
        f"SELECT {_QUALIFIED} FROM memory.narrative_concepts AS c JOIN memory.concept_versions AS v USING (concept_id)"
        " WHERE c.world_id IS NOT DISTINCT FROM %(world)s::int AND kind = %(kind)s AND name = %(name)s AND version > %(after)s"
        " ORDER BY version LIMIT %(count)s",
        {"kind": concept.kind, "name": concept.name, "after": after, "count": count},
    )
    return [_version(each, concept.world) for each in rows]


async def listed(connection: Connection, wanted: Listing) -> list[Version]:
    """A page of concepts as a world sees them, and one more where there are more. Raises psycopg.Error."""
    world = await known_world(connection, wanted.world)
    kind, name = wanted.after
    rows = await in_world(
        connection,
        world,
        f"SELECT * FROM ({_SEEN} AND (cardinality(%(kinds)s::text[]) = 0 OR c.kind = ANY(%(kinds)s::text[]))"
        f" AND (c.kind, c.name) > (%(kind)s, %(name)s) {_SEEN_ORDER}) AS seen"
        " WHERE attributes @> %(attributes)s ORDER BY kind, name LIMIT %(count)s",
        {
            "kinds": list(wanted.kinds),
            "kind": kind,
            "name": name,
            "attributes": Jsonb(dict(wanted.attributes)),
            "seconds": wanted.seconds,
            "count": wanted.count + 1,
        },
    )
    return [_version(each, wanted.world) for each in rows]


async def named(
    connection: Connection, world: int | None, concepts: Sequence[Named], seconds: int
) -> list[Version]:
    """Those of these concepts of one world, whose number is `world`, that it sees at a time of it, in order of kind and name.

    Raises psycopg.Error.
    """
    if not concepts:
        return []
    name = concepts[0].world
    rows = await in_world(
        connection,
        world,
        f"{_SEEN} AND (c.kind, c.name) IN (SELECT * FROM unnest(%(kinds)s::text[], %(names)s::text[])) {_SEEN_ORDER}",
        {
            "kinds": [each.kind for each in concepts],
            "names": [each.name for each in concepts],
            "seconds": seconds,
        },
    )
    return [_version(each, name) for each in rows]


async def search(
    connection: Connection,
    world: str,
    text: str,
    vector: bytes | None,
    *,
    kinds: Sequence[str],
    seconds: int,
    count: int,
) -> list[Found]:
    """The concepts that a world sees at a time of it and that are nearest, best first. Raises psycopg.Error."""
    values = {
        "world": await known_world(connection, world),
        "vector": HalfVector(np.frombuffer(vector, "<f4")) if vector else None,
        "time": seconds,
        "text": text,
        "kinds": list(kinds),
        "count": count,
    }
    cursor = await connection.execute(SEARCH, values, binary=True)
    return [
        Found(
            score=float(row[0]),
            similarity=0.0 if row[1] is None else 1.0 - float(row[1]),
            version=_version(row[2:], world),
        )
        for row in await cursor.fetchall()
    ]


async def forget(connection: Connection, concept: Named) -> int:
    """Delete a concept of a world, or of all worlds, with the relations that the same has with it; returns how many versions it had. Raises psycopg.Error."""
    world = await known_world(connection, concept.world)
    if concept.world and world is None:
        return 0
    values = {"world": world, "kind": concept.kind, "name": concept.name}
    async with connection.transaction():
        await connection.execute(LOCK, values)
        await connection.execute(SEE, values)
        cursor = await connection.execute(
            f"DELETE FROM memory.narrative_concepts WHERE {_OF} RETURNING current_version", values
        )
        row = await cursor.fetchone()
        if row is not None:
            for each in FORGET_CONCEPT:
                await connection.execute(each, values)
    return int(row[0]) if row else 0


def _repeats(last: Mapping[str, Any], evolution: Evolution) -> bool:
    """Whether the last version was written by the same call."""
    same = bytes(last["digest"]) == evolution.stored.digest
    return same and last["version"] == evolution.expected + 1


async def _last(connection: Connection, values: Mapping[str, Any]) -> dict[str, Any] | None:
    cursor = await connection.execute(
        "SELECT version, digest, from_seconds FROM memory.narrative_concepts AS c JOIN memory.concept_versions AS v"
        " ON v.concept_id = c.concept_id AND v.version = c.current_version"
        " WHERE c.world_id IS NOT DISTINCT FROM %(world)s::int AND kind = %(kind)s AND name = %(name)s",
        values,
    )
    row = await cursor.fetchone()
    return dict(zip(("version", "digest", "from_seconds"), row, strict=True)) if row else None


async def _number(connection: Connection, values: Mapping[str, Any], version: int) -> int:
    """The number of the concept, whose current version this is now."""
    cursor = await connection.execute(
        "SELECT count(*) FROM memory.narrative_concepts WHERE world_id IS NOT DISTINCT FROM %(world)s::int",
        values,
    )
    [many] = await cursor.fetchone() or [0]
    if version == 1 and many >= MOST_CONCEPTS:
        raise TooManyError(
            f"a world, and all worlds together, have at most {MOST_CONCEPTS} concepts"
        )
    cursor = await connection.execute(
        "INSERT INTO memory.narrative_concepts (world_id, kind, name, current_version)"
        " VALUES (%(world)s, %(kind)s, %(name)s, %(version)s)"
        " ON CONFLICT (world_id, kind, name) DO UPDATE SET current_version = excluded.current_version RETURNING concept_id",
        {**values, "version": version},
    )
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - RETURNING after an upsert gives a row
    return int(row[0])


async def check_cause(connection: Connection, world: int | None, cause: int) -> None:
    """Raises `NoCauseError`, psycopg.Error."""
    if not cause:
        return
    cursor = await connection.execute(
        "SELECT FROM memory.story_events WHERE world_id = %s AND sequence = %s AND status = 'live'",
        (world, cause),
    )
    if await cursor.fetchone() is None:
        raise NoCauseError


async def known_world(connection: Connection, name: str) -> int | None:
    """The number of a world; None for all worlds, and where the memory knows none of this name. Raises psycopg.Error."""
    return await searching.world_number(connection, name) if name else None


def _version(row: Sequence[Any], world: str) -> Version:
    """A row of `FIELDS`; `world` is that of the caller, who sees no other."""
    return Version(
        concept=Named(world="" if row[2] is None else world, kind=row[0], name=row[1]),
        number=row[3],
        content=Content(summary=row[4], attributes=dict(row[5]), from_seconds=row[6], cause=row[7]),
        account=row[8],
        recorded_at=row[9],
    )
