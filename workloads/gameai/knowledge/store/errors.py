"""What can be wrong with the database, in words."""

import psycopg

NO_SCHEMA = "the database has no schema of this release: run python -m gameai.knowledge migrate"
NO_SCHEMA_ERRORS = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction)


class StoreError(Exception):
    """The database cannot be used as it is; the message says what to do."""


class BusyError(Exception):
    """No connection became free in time, or a query took too long."""


def first_line(error: psycopg.Error) -> str:
    """The cause, without the statement and its place."""
    return str(error).strip().partition("\n")[0]
