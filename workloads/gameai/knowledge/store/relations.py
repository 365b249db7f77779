"""EDGE: relations between concepts. Each transaction sees the rows of one world, and those of all worlds."""

from collections.abc import Mapping, Sequence
from typing import Any

from gameai.knowledge.concepts import Evolved, Named
from gameai.knowledge.relations import (
    MOST_RELATION_VERSIONS,
    MOST_RELATIONS,
    Around,
    Direction,
    Neighbourhood,
    Relation,
    RelationVersion,
    State,
    Walk,
)
from gameai.knowledge.store import concepts
from gameai.knowledge.store.concepts import EarlierError, TooManyError
from gameai.knowledge.store.connections import Connection
from gameai.knowledge.store.relation_statements import COUNT, INSERT, STEP, VERSIONS
from gameai.knowledge.store.scoped import ensure_world, in_world
from gameai.knowledge.store.statements import SEE

# What all worlds share is not deleted while a relation to it is written.
_LOCK_SHARED = "SELECT pg_advisory_xact_lock_shared(hashtextextended('concepts of all worlds', 0))"


class NoConceptError(Exception):
    """The world does not see a concept of the relation."""

    def __init__(self, concept: Named) -> None:
        super().__init__(concept)
        self.concept = concept


async def write(
    connection: Connection, relation: Relation, state: State, *, account: str
) -> Evolved:
    """Write a version, or none where it is so already.

    Raises `NoConceptError`, `EarlierError`, `NoCauseError`, `TooManyError`, psycopg.Error.
    """
    async with connection.transaction():
        world = await ensure_world(connection, relation.world) if relation.world else None
        values = _values(world, relation, state)
        await connection.execute(concepts.LOCK, values)
        if world is not None:
            await connection.execute(_LOCK_SHARED)
        await connection.execute(SEE, values)
        cursor = await connection.execute(VERSIONS, values)
        rows = await cursor.fetchall()
        known = _known(rows, state)
        if known:
            return Evolved(version=known, known=True)
        await _check_concepts(connection, relation, state.from_seconds)
        await concepts.check_cause(connection, world, state.cause)
        if not rows:
            await _check_room(connection, values)
        elif rows[0][0] >= MOST_RELATION_VERSIONS:
            raise TooManyError(f"a relation has at most {MOST_RELATION_VERSIONS} versions")
        version = rows[0][0] + 1 if rows else 1
        await connection.execute(INSERT, {**values, "version": version, "account": account})
    return Evolved(version=version, known=False)


async def around(connection: Connection, wanted: Around) -> Neighbourhood | None:
    """The relations around a concept; None where its world does not see it. Raises psycopg.Error."""
    async with connection.transaction():
        if not await concepts.named(connection, [wanted.concept], wanted.seconds):
            return None
        world = await concepts.known_world(connection, wanted.concept.world)
        walk = Walk(wanted)
        while not walk.done:
            walk.take(await _step(connection, world, wanted, walk))
        found = await concepts.named(connection, walk.reached, wanted.seconds)
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
            "by_subject": wanted.direction is not Direction.INCOMING,
            "by_object": wanted.direction is not Direction.OUTGOING,
            "most": walk.most,
        },
    )
    return [_version(each, wanted.concept.world, walk.depth + 1) for each in rows]


def _known(rows: Sequence[Sequence[Any]], state: State) -> int:
    """The number of the version that says so already; 0: it must be written. The last version is the first row."""
    if not rows:
        return 0
    found = [
        State(from_seconds=row[1], ended=row[2], strength=row[3], cause=row[4]) for row in rows
    ]
    last = found[0]
    if last.from_seconds <= state.from_seconds:
        return int(rows[0][0]) if last.says_the_same(state) else 0
    if state in found:
        # The call is repeated, after another one.
        return int(rows[found.index(state)][0])
    raise EarlierError(last.from_seconds)


async def _check_concepts(connection: Connection, relation: Relation, seconds: int) -> None:
    ends = (relation.subject, relation.object)
    seen = {each.concept for each in await concepts.named(connection, ends, seconds)}
    names = {(each.kind, each.name) for each in seen}
    for each in ends:
        if (each.kind, each.name) not in names:
            raise NoConceptError(each)


async def _check_room(connection: Connection, values: Mapping[str, Any]) -> None:
    cursor = await connection.execute(COUNT, values)
    [many] = await cursor.fetchone() or [0]
    if many >= MOST_RELATIONS:
        raise TooManyError(
            f"a world, and all worlds together, have at most {MOST_RELATIONS} relations"
        )


def _values(world: int | None, relation: Relation, state: State) -> dict[str, Any]:
    return {
        "world": world,
        "subject_kind": relation.subject.kind,
        "subject_name": relation.subject.name,
        "kind": relation.kind,
        "object_kind": relation.object.kind,
        "object_name": relation.object.name,
        "from": state.from_seconds,
        "ended": state.ended,
        "strength": state.strength,
        "cause": state.cause,
    }


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
        state=State(from_seconds=row[7], ended=row[8], strength=row[9], cause=row[10]),
        account=row[11],
        recorded_at=row[12],
        depth=depth,
    )
