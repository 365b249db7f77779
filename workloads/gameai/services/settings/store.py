"""EDGE: settings of a world in the transaction of a call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from gameai.errors import FullError, NotFoundError
from gameai.services.settings import statements
from gameai.services.settings.rules.decision import Delta
from gameai.services.settings.rules.table import Place, Row, Table, Version
from gameai.settings.v1 import settings_pb2 as pb

MOST_KEYS = 2000
# In the layers world, region and rollout.
MOST_VALUES = 5000
# Of all declarations and values of a world, of the history of a world, and of the values of a player.
MOST_BYTES, MOST_HISTORY_BYTES, MOST_PLAYER_BYTES = 512 << 10, 64 << 20, 64 << 10
_SHOWN_KEYS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What is said of a change. `restored` is the revision that a rollback restores; None: it is none."""

    author: str
    reason: str
    world_us: int
    restored: int | None = None


async def lock(db: AsyncConnection, world: str) -> int:
    """The present revision, which no other transaction can change until the end of this one."""
    await db.execute(statements.LOCK_TIMEOUT)
    await db.execute(statements.CREATE_HEAD, (world,))
    row = await (await db.execute(statements.LOCK_HEAD, (world,))).fetchone()
    return int(row[0]) if row is not None else 0


async def known(db: AsyncConnection, world: str, keys: Sequence[str]) -> dict[Place, bytes]:
    """All that is there of these keys."""
    cursor = await db.execute(statements.KNOWN, {"world": world, "keys": list(keys)})
    return _bodies(await cursor.fetchall())


async def present(db: AsyncConnection, world: str) -> dict[Place, bytes]:
    """All that is there."""
    cursor = await db.execute(statements.PRESENT, (world,))
    return _bodies(await cursor.fetchall())


async def before(db: AsyncConnection, world: str, revision: int) -> dict[Place, bytes | None]:
    """What was at each place at a revision, of those that have changed since. Raises `NotFoundError`."""
    row = await (await db.execute(statements.OLDEST, (world,))).fetchone()
    oldest = (row[0] if row is not None else None) or 1
    if revision < oldest - 1:
        raise NotFoundError(
            f"revision {revision} is not kept: the oldest that can be restored is {oldest - 1}",
            field="revision",
        )
    cursor = await db.execute(statements.BEFORE, {"world": world, "revision": revision})
    return {
        Place(layer=layer, scope=scope, key=key): body
        for layer, scope, key, body in await cursor.fetchall()
    }


async def write(
    db: AsyncConnection, world: str, revision: int, deltas: Sequence[Delta], written: Written
) -> None:
    """Do what was decided, as this revision. Raises `FullError`."""
    given = {
        "world": world,
        "revision": revision,
        "layers": [each.place.layer for each in deltas],
        "scopes": [each.place.scope for each in deltas],
        "keys": [each.place.key for each in deltas],
        "befores": [each.before for each in deltas],
        "afters": [each.after for each in deltas],
    }
    for statement in (statements.DELETE, statements.WRITE, statements.RECORD, statements.MOVE_HEAD):
        await db.execute(statement, given)
    said = {
        "author": written.author,
        "reason": written.reason,
        "world_us": written.world_us,
        "restored": written.restored,
        "bytes": sum(each.size for each in deltas),
    }
    await db.execute(statements.RECORD_REVISION, {"world": world, "revision": revision, **said})
    await _require_room(db, world)


async def forget(db: AsyncConnection, world: str, revisions: int) -> None:
    """Forget the oldest revisions where more than these are kept."""
    given = {"world": world, "most": revisions, "most_bytes": MOST_HISTORY_BYTES}
    await db.execute(statements.FORGET, given)


async def revisions(db: AsyncConnection, world: str, under: int, count: int) -> list[pb.Revision]:
    """The last revisions, below one; 0: from the newest."""
    cursor = db.cursor(row_factory=dict_row)
    asked = {"world": world, "before": under, "count": count, "keys": _SHOWN_KEYS}
    await cursor.execute(statements.REVISIONS, asked)
    return [pb.Revision(**row) for row in await cursor.fetchall()]


async def heads(db: AsyncConnection, worlds: Sequence[str]) -> dict[str, Version]:
    """The present versions of worlds."""
    cursor = await db.execute(statements.HEADS, (list(worlds),))
    found = {world: (revision, token) for world, revision, token in await cursor.fetchall()}
    return {each: found.get(each, Table().version) for each in worlds}


async def load(db: AsyncConnection, world: str) -> tuple[int, str, list[Row]]:
    """Revision, token and all settings of a world."""
    rows = await (await db.execute(statements.LOAD, (world,))).fetchall()
    revision, token = rows[0][:2] if rows else Table().version
    return (
        revision,
        token,
        [
            Row(place=Place(layer=layer, scope=scope, key=key), body=bytes(body), revision=since)
            for _, _, layer, scope, key, body, since in rows
            if layer is not None
        ],
    )


async def of_player(db: AsyncConnection, world: str, player: str) -> dict[str, pb.Value]:
    """All values of a player."""
    cursor = await db.execute(statements.OF_PLAYER, (world, player))
    return {key: pb.Value.FromString(body) for key, body in await cursor.fetchall()}


async def locked_player(db: AsyncConnection, world: str, player: str) -> dict[str, bytes]:
    """All values of a player, which no other transaction can change until the end of this one."""
    digest = blake2b(f"{world}\0{player}".encode(), digest_size=8).digest()
    await db.execute(statements.LOCK_PLAYER, (int.from_bytes(digest, signed=True),))
    cursor = await db.execute(statements.OF_PLAYER, (world, player))
    return {key: bytes(body) for key, body in await cursor.fetchall()}


async def write_player(
    db: AsyncConnection,
    world: str,
    player: str,
    values: Mapping[str, bytes],
    removed: Sequence[str],
) -> None:
    """Set and remove values of a player that is locked. Raises `FullError`."""
    named = {"world": world, "player": player}
    if removed:
        await db.execute(statements.DELETE_OF_PLAYER, {**named, "keys": list(removed)})
    if values:
        given = {**named, "keys": list(values), "bodies": list(values.values())}
        await db.execute(statements.WRITE_PLAYER, given)
    row = await (await db.execute(statements.USE_OF_PLAYER, (world, player))).fetchone()
    if values and row is not None and row[0] > MOST_PLAYER_BYTES:
        raise FullError(
            f"the player would have {row[0]} bytes of settings, and the limit is {MOST_PLAYER_BYTES}: remove some first"
        )


async def delete_player(db: AsyncConnection, world: str, player: str) -> int:
    """Remove all values of a player; how many there were."""
    return (await db.execute(statements.DELETE_PLAYER, (world, player))).rowcount


async def _require_room(db: AsyncConnection, world: str) -> None:
    row = await (await db.execute(statements.USE, (world,))).fetchone()
    keys, values, size = row if row is not None else (0, 0, 0)
    if values > MOST_VALUES:
        raise FullError(
            f"the world would have {values} values, and the limit is {MOST_VALUES}: remove some first"
        )
    if keys > MOST_KEYS:
        raise FullError(
            f"the world would have {keys} keys, and the limit is {MOST_KEYS}: remove some first"
        )
    if size > MOST_BYTES:
        raise FullError(
            f"the world's declarations and values would have {size} bytes, and the limit is {MOST_BYTES}: remove some first"
        )


def _bodies(rows: Sequence[tuple[int, str, str, bytes]]) -> dict[Place, bytes]:
    return {
        Place(layer=layer, scope=scope, key=key): bytes(body) for layer, scope, key, body in rows
    }
