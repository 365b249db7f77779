"""EDGE: statements of one world: their transaction sees its rows, and those of all worlds."""

from collections.abc import Mapping
from typing import Any

from gameai.knowledge.store.connections import Connection
from gameai.knowledge.store.searching import world_number
from gameai.knowledge.store.statements import SEE


async def in_world(
    connection: Connection, world: int | None, statement: str, values: Mapping[str, object]
) -> list[tuple[Any, ...]]:
    """The rows of a statement, which may name `world`. Raises psycopg.Error."""
    async with connection.transaction():
        await connection.execute(SEE, {"world": world})
        cursor = await connection.execute(statement, {**values, "world": world})
        return await cursor.fetchall()


async def ensure_world(connection: Connection, name: str) -> int:
    """The number of a world, which is made where it is not there. Raises psycopg.Error."""
    known = await world_number(connection, name)
    if known is not None:
        # An insertion that meets a conflict uses up a number all the same.
        return known
    await connection.execute(
        "INSERT INTO memory.worlds (name) VALUES (%s) ON CONFLICT (name) DO NOTHING", (name,)
    )
    made = await world_number(connection, name)
    assert made is not None  # noqa: S101 - it was inserted, or there; no statement of ours deletes a world
    return made
