"""EDGE: worlds by name, `namespace/name`."""

from typing import Any

import psycopg
from gameai_contract.knowledge import is_world

from gameai.knowledge.store.errors import StoreError


def ensure(connection: psycopg.Connection[tuple[Any, ...]], name: str) -> int:
    """The number of a world, which is made where it does not exist. Raises `StoreError`."""
    known = number(connection, name)
    if known is not None:
        # An insertion that meets a conflict uses up a number all the same.
        return known
    row = connection.execute(
        "INSERT INTO memory.worlds (name) VALUES (%s) ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING world_id",
        (name,),
    ).fetchone()
    assert row is not None  # noqa: S101 - RETURNING after an upsert gives a row
    return int(row[0])


def number(connection: psycopg.Connection[tuple[Any, ...]], name: str) -> int | None:
    """The number of a world; None where the memory does not know it. Raises `StoreError`."""
    _check(name)
    row = connection.execute(
        "SELECT world_id FROM memory.worlds WHERE name = %s", (name,)
    ).fetchone()
    return None if row is None else int(row[0])


def _check(name: str) -> None:
    if not is_world(name):
        raise StoreError(f"{name!r} is not a world: write namespace/name")
