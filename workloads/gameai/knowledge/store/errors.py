"""What can be wrong with the database, in words."""

import os

import psycopg

NO_SCHEMA = "the database has no schema of this release: run python -m gameai.knowledge migrate"
NO_SCHEMA_ERRORS = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction)

_SECRET = (
    "PGPASSWORD",
    "PGUSER",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SESSION_TOKEN",
)


class StoreError(Exception):
    """The database cannot be used as it is; the message says what to do."""


class BusyError(Exception):
    """No connection became free in time, or a query took too long."""


def first_line(error: psycopg.Error) -> str:
    """The cause, without the statement and its place."""
    return hidden(str(error).strip().partition("\n")[0])


def hidden(text: str) -> str:
    """A message without the values of a Secret: which key of it is the name of a role is a user's choice."""
    for name in _SECRET:
        value = os.environ.get(name, "")
        text = text.replace(value, f"[{name}]") if value else text
    return text
