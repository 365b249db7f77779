"""EDGE: what a database was made for. Vectors of different models are never mixed."""

from collections.abc import Mapping
from typing import Any

import psycopg

from gameai.knowledge.store.errors import StoreError

Connection = psycopg.Connection[tuple[Any, ...]]


def mismatch(facts: Mapping[str, str], model: str, dimensions: int) -> str:
    """Why vectors of this model cannot be compared with those of a database; empty: they can."""
    if int(facts["dimensions"]) != dimensions:
        held = f"the database was migrated for vectors of {facts['dimensions']} dimensions, and {model} has {dimensions}"
    elif facts.get("model", model) != model:
        held = f"the database holds vectors of the model {facts['model']}, not of {model}"
    else:
        return ""
    return f"{held}: use that model, or fill another database with the new one: ingest the sources there, and import an archive"


def value(connection: Connection, key: str) -> str | None:
    """A fact; None where the database does not have it. Raises psycopg.Error."""
    row = connection.execute("SELECT value FROM memory_ops.facts WHERE key = %s", (key,)).fetchone()
    return str(row[0]) if row else None


def keep(connection: Connection, key: str, text: str) -> None:
    """Write a fact, over a former one. Raises psycopg.Error."""
    connection.execute(
        "INSERT INTO memory_ops.facts VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, text),
    )


def check(connection: Connection, model: str, dimensions: int) -> None:
    """Bind the database to this model, or raise `StoreError` where it holds vectors of another one."""
    connection.execute(
        "INSERT INTO memory_ops.facts SELECT 'model', %s FROM memory_ops.facts"
        " WHERE key = 'dimensions' AND value = %s ON CONFLICT (key) DO NOTHING",
        (model, str(dimensions)),
    )
    facts: dict[str, str] = dict(
        connection.execute("SELECT key, value FROM memory_ops.facts").fetchall()
    )
    fault = mismatch(facts, model, dimensions)
    if fault:
        raise StoreError(fault)
