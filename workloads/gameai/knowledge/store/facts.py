"""EDGE: what a database was made for. Vectors of different models are never mixed."""

from typing import Any

import psycopg

from gameai.knowledge.store.errors import StoreError

Connection = psycopg.Connection[tuple[Any, ...]]


def check(connection: Connection, model: str, dimensions: int) -> None:
    """Bind the database to this model, or raise `StoreError` where it holds vectors of another one."""
    rows = connection.execute("SELECT key, value FROM memory_ops.facts").fetchall()
    facts = {str(key): str(value) for key, value in rows}
    if int(facts["dimensions"]) != dimensions:
        raise StoreError(
            f"the database was migrated for vectors of {facts['dimensions']} dimensions, and {model} has {dimensions}: "
            "use another database for this model"
        )
    row = connection.execute(
        "INSERT INTO memory_ops.facts VALUES ('model', %s)"
        " ON CONFLICT (key) DO UPDATE SET value = memory_ops.facts.value RETURNING value",
        (model,),
    ).fetchone()
    if row is not None and row[0] != model:
        raise StoreError(
            f"the database holds vectors of the model {row[0]}, not of {model}: use that model, or another database"
        )
