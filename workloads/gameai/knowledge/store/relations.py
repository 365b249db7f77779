"""EDGE: relations between concepts. Each transaction sees the rows of one world, and those of all worlds."""

from collections.abc import Mapping, Sequence
from typing import Any

from gameai.knowledge.concepts import Evolved, Named
from gameai.knowledge.relations import (
    MOST_RELATION_VERSIONS,
    MOST_RELATIONS,
    MOST_RELATIONS_OF_CONCEPT,
    Around,
    Direction,
    Neighbourhood,
    Relation,
    RelationVersion,
    State,
    Walk,
)
from gameai.knowledge.store import concepts
from gameai.knowledge.store.concepts import ConflictError, EarlierError, TooManyError
from gameai.knowledge.store.connections import Connection
from gameai.knowledge.store.relation_statements import COUNT, FORGET, INSERT, LAST, STEP, VERSIONS
from gameai.knowledge.store.scoped import ensure_world, in_world
from gameai.knowledge.store.statements import SEE


class NoConceptError(Exception):
    """The world does not see a concept of the relation."""

    def __init__(self, concept: Named) -> None:
        super().__init__(concept)
        self.concept = concept


async def write(
    connection: Connection, relation: Relation, state: State, expected: int, *, account: str
) -> Evolved:
    """Write the version that follows `expected`, 0: none.

    Raises `ConflictError`, `NoConceptError`, `EarlierError`, `NoCauseError`, `TooManyError`, psycopg.Error.
    """
    async with connection.transaction():
        world = await ensure_world(connection, relation.world) if relation.world else None
        values = {**_key(world, relation), **_stated(state)}
        await connection.execute(concepts.LOCK, values)
        await connection.execute(SEE, values)
        cursor = await connection.execute(LAST, values)
        row = await cursor.fetchone()
        current, last = (row[0], _state(row[1:])) if row else (0, None)
        if last == state and current == expected + 1:
            return Evolved(version=current, known=True)
        if current != expected:
            raise ConflictError(current)
        if last is not None and last.from_seconds > state.from_seconds:
            raise EarlierError(last.from_seconds)
        await _check_concepts(connection, world, relation, state.from_seconds)
        await concepts.check_cause(connection, world, state.cause)
        await _check_room(connection, values, current)
        version = {**values, "version": current + 1, "account": account}
        await connection.execute(INSERT, version)
    return Evolved(version=current + 1, known=False)


async def versions(
    connection: Connection, relation: Relation, after: int, count: int
) -> list[RelationVersion]:
    """The versions of one relation after a number, in order. Raises psycopg.Error."""
    world = await concepts.known_world(connection, relation.world)
    if relation.world and world is None:
        return []
    values = {**_key(world, relation), "after": after, "count": count}
    rows = await in_world(connection, world, VERSIONS, values)
    return [_version(each, relation.world, 0) for each in rows]


async def forget(connection: Connection, relation: Relation) -> int:
    """Delete a relation of a world, or of all worlds; returns how many versions it had. Raises psycopg.Error."""
    world = await concepts.known_world(connection, relation.world)
    if relation.world and world is None:
        return 0
    async with connection.transaction():
        values = _key(world, relation)
        await connection.execute(concepts.LOCK, values)
        await connection.execute(SEE, values)
        cursor = await connection.execute(FORGET, values)
    return cursor.rowcount


async def around(connection: Connection, wanted: Around) -> Neighbourhood | None:
    """The relations around a concept; None where its world does not see it. Raises psycopg.Error."""
    async with connection.transaction():
        # All depths are of one moment.
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        world = await concepts.known_world(connection, wanted.concept.world)
        if not await concepts.named(connection, world, [wanted.concept], wanted.seconds):
            return None
        walk = Walk(wanted)
        while not walk.done:
            walk.take(await _step(connection, world, wanted, walk))
        found = await concepts.named(connection, world, walk.reached, wanted.seconds)
    return Neighbourhood(relations=walk.relations, concepts=found, more=walk.more)


async def _step(
    connection: Connection, world: int | None, wanted: Around, walk: Walk
) -> list[RelationVersion]:
    rows = await in_world(
        connection,
        world,
        STEP,
        {
            "concept_kinds": [each.kind for each in walk.frontier],
            "concept_names": [each.name for each in walk.frontier],
            "kinds": list(wanted.kinds),
            "seconds": wanted.seconds,
            "ended": wanted.ended,
            "by_subject": wanted.direction is not Direction.INCOMING,
            "by_object": wanted.direction is not Direction.OUTGOING,
            "most": walk.rows_needed,
        },
    )
    return [_version(each, wanted.concept.world, walk.depth + 1) for each in rows]


async def _check_concepts(
    connection: Connection, world: int | None, relation: Relation, seconds: int
) -> None:
    ends = (relation.subject, relation.object)
    seen = await concepts.named(connection, world, ends, seconds)
    names = {(each.concept.kind, each.concept.name) for each in seen}
    for each in ends:
        if (each.kind, each.name) not in names:
            raise NoConceptError(each)


async def _check_room(connection: Connection, values: Mapping[str, Any], current: int) -> None:
    if current >= MOST_RELATION_VERSIONS:
        raise TooManyError(f"a relation has at most {MOST_RELATION_VERSIONS} versions")
    if current:
        return
    cursor = await connection.execute(COUNT, values)
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - counts without a table of their own are one row
    many, *of_ends = row
    if many >= MOST_RELATIONS:
        raise TooManyError(
            f"a world, and all worlds together, have at most {MOST_RELATIONS} relations"
        )
    if max(of_ends[0] + of_ends[1], of_ends[2] + of_ends[3]) >= MOST_RELATIONS_OF_CONCEPT:
        raise TooManyError(
            f"a concept has at most {MOST_RELATIONS_OF_CONCEPT} relations in a world, and in all worlds together"
        )


def _key(world: int | None, relation: Relation) -> dict[str, Any]:
    return {
        "world": world,
        "subject_kind": relation.subject.kind,
        "subject_name": relation.subject.name,
        "kind": relation.kind,
        "object_kind": relation.object.kind,
        "object_name": relation.object.name,
    }


def _stated(state: State) -> dict[str, Any]:
    return {
        "from": state.from_seconds,
        "ended": state.ended,
        "strength": state.strength,
        "cause": state.cause,
    }


def _state(row: Sequence[Any]) -> State:
    return State(from_seconds=row[0], ended=row[1], strength=row[2], cause=row[3])


def _version(row: Sequence[Any], world: str, depth: int) -> RelationVersion:
    """A row of `FIELDS`; `world` is that of the caller, who sees no other."""
    return RelationVersion(
        relation=Relation(
            world="" if row[5] is None else world,
            subject=Named(world=world, kind=row[0], name=row[1]),
            kind=row[2],
            object=Named(world=world, kind=row[3], name=row[4]),
        ),
        number=row[6],
        state=_state(row[7:11]),
        account=row[11],
        recorded_at=row[12],
        depth=depth,
    )
