"""EDGE: worlds by name, `namespace/name`."""

from typing import Any

import psycopg

from gameai.knowledge.records import is_name
from gameai.knowledge.store.errors import StoreError


def ensure(connection: psycopg.Connection[tuple[Any, ...]], name: str) -> int:
    """The number of a world, which is made where it does not exist. Raises `StoreError`."""
    if not is_name(name):
        raise StoreError(f"{name!r} is not a world: write namespace/name")
    row = connection.execute(
        "INSERT INTO memory.worlds (name) VALUES (%s) ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING world_id",
        (name,),
    ).fetchone()
    assert row is not None  # noqa: S101 - RETURNING after an upsert gives a row
    return int(row[0])
