"""EDGE: reads and writes objects in the transaction of a call. Keys are read and locked in one order, so that calls do not lock each other out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import class_row

from gameai.errors import FullError, InvalidArgumentError
from gameai.kit.database import AgainError
from gameai.services.state_manager.rules.checks import MOST_BYTES, Key
from gameai.services.state_manager.rules.decision import Decision, Known
from gameai.services.state_manager.statements import (
    COUNT,
    CREATE,
    DELETE,
    DELETE_OWNER,
    EXPORT,
    LIST,
    LIST_OF,
    LOCK,
    READ,
    REPLACE,
)
from gameai.state.v1 import state_pb2 as pb


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """An object as it is in the table."""

    collection: str
    key: str
    owner: str
    value: bytes
    type: str
    version: int
    written_world_us: int

    def message(self) -> pb.Object:
        """The object on the wire."""
        return pb.Object(
            collection=self.collection,
            key=self.key,
            owner=self.owner,
            value=self.value,
            type=self.type,
            version=self.version,
            written_world_us=self.written_world_us,
        )


async def read(db: AsyncConnection, world: str, keys: Sequence[Key]) -> list[Stored]:
    """The objects that exist, in the order of the keys. Raises `InvalidArgumentError` where they are too large together."""
    asked = {**_named(world, keys), "most": MOST_BYTES}
    cursor = await db.execute(READ, asked)
    rows = await cursor.fetchall()
    if rows and rows[0][-1] > MOST_BYTES:
        raise InvalidArgumentError(
            f"the objects have {rows[0][-1]} bytes together, and an answer has at most {MOST_BYTES}: ask for fewer at a time",
            field="keys",
        )
    names = Stored.__slots__
    found = [Stored(**dict(zip(names, row[:-1], strict=True))) for row in rows]
    places = {key: place for place, key in enumerate(keys)}
    return sorted(found, key=lambda each: places[Key(collection=each.collection, key=each.key)])


async def known(db: AsyncConnection, world: str, keys: Sequence[Key]) -> dict[Key, Known]:
    """The objects that exist, which no other transaction can write until the end of this one."""
    cursor = await db.execute(LOCK, _named(world, keys))
    return {
        Key(collection=collection, key=key): Known(version=version, owner=owner)
        for collection, key, version, owner in await cursor.fetchall()
    }


async def write(
    db: AsyncConnection,
    world: str,
    now_us: int,
    writes: Sequence[pb.Write],
    keys: Sequence[Key],
    decision: Decision,
) -> Mapping[Key, int]:
    """Do what was decided; the new versions. Raises `AgainError` where an object came to be since its version was read."""
    found: dict[Key, int] = {}
    for statement, places in ((CREATE, decision.created), (REPLACE, decision.replaced)):
        if places:
            objects = [writes[place].object for place in places]
            given = {
                **_named(world, [keys[place] for place in places]),
                "owners": [each.owner for each in objects],
                "values": [each.value for each in objects],
                "types": [each.type for each in objects],
                "now": now_us,
            }
            cursor = await db.execute(statement, given)
            made = _versions(await cursor.fetchall())
            if len(made) < len(places):
                raise AgainError
            found |= made
    if decision.deleted:
        await db.execute(DELETE, _named(world, [keys[place] for place in decision.deleted]))
    return found


async def require_room(db: AsyncConnection, world: str, owners: Sequence[str], most: int) -> None:
    """Raises `FullError` where one of the owners has more objects than it may have."""
    if not owners:
        return
    asked = {"world": world, "owners": list(owners), "most": most}
    row = await (await db.execute(COUNT, asked)).fetchone()
    if row is not None:
        raise FullError(
            f"owner {row[0]!r} would have more than {most} objects, which is the limit (setting ownerObjects): delete some first"
        )


async def page(
    db: AsyncConnection,
    world: str,
    collection: str,
    after: str,
    *,
    owner: str,
    prefix: str,
    count: int,
) -> list[Stored]:
    """Objects of a collection behind a key, in order."""
    asked = {
        "world": world,
        "collection": collection,
        "after": after,
        "owner": owner,
        "prefix": prefix,
        "count": count,
        "most": MOST_BYTES,
    }
    cursor = db.cursor(row_factory=class_row(Stored))
    return await (await cursor.execute(LIST_OF if owner else LIST, asked)).fetchall()


async def of_owner(
    db: AsyncConnection, world: str, owner: str, after: Key, count: int
) -> list[Stored]:
    """Objects of an owner behind a key, in order."""
    asked = {
        "world": world,
        "owner": owner,
        "collection": after.collection,
        "after": after.key,
        "count": count,
        "most": MOST_BYTES,
    }
    cursor = db.cursor(row_factory=class_row(Stored))
    return await (await cursor.execute(EXPORT, asked)).fetchall()


async def delete_owner(db: AsyncConnection, world: str, owner: str) -> int:
    """Delete all objects of an owner; how many there were."""
    return (await db.execute(DELETE_OWNER, (world, owner))).rowcount


def _named(world: str, keys: Sequence[Key]) -> dict[str, object]:
    return {
        "world": world,
        "collections": [each.collection for each in keys],
        "keys": [each.key for each in keys],
    }


def _versions(rows: Sequence[tuple[str, str, int]]) -> dict[Key, int]:
    return {Key(collection=collection, key=key): version for collection, key, version in rows}
