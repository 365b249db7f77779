"""The schema of the memory: alembic's revisions, applied under an advisory lock."""

from collections.abc import Callable
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

from gameai.knowledge.store import concept_statements, event_statements, facts
from gameai.knowledge.store.errors import StoreError, hidden
from gameai.knowledge.store.statements import FUNCTIONS

# Two migrations of one database wait for each other.
_LOCK = 0x67616D65
_LOCK_TIMEOUT = "10min"
# The oldest schema whose release works with this one: later revisions only add. Raise it with one that does not.
_COMPATIBLE_FROM = "0001"
# Earlier ones ignore hnsw.iterative_scan.
_LEAST_PGVECTOR = (0, 8)


class MigrationError(StoreError):
    """The schema cannot be brought to this release; the message says what to do."""


def migrate(
    database: str,
    model: str,
    dimensions: int,
    owner: str = "",
    probe: Callable[[], None] = lambda: None,
) -> str:
    """Bring the schema to this release, for vectors of a model, and return its revision. `database` is a postgresql:// URL.

    Does nothing where it is there already, or where a later release has made one that this one can use. With an `owner` the database is bound to that knowledge base,
    `namespace/name`: two would remove each other's sources. `probe` is called before a new database is made for this model; what it raises ends
    the migration. Raises `MigrationError`.
    """
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(database), poolclass=NullPool
    )
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["dimensions"] = dimensions
    try:
        with engine.connect() as connection:
            connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT}'"))
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
            connection.commit()
            config.attributes["connection"] = connection
            if not _has_model(connection, model, dimensions):
                probe()
            if newer := _newer(connection, config):
                return newer
            command.upgrade(config, "head")
            connection.execute(
                text(
                    "INSERT INTO memory_ops.facts VALUES ('compatible_from', :revision)"
                    " ON CONFLICT (key) DO UPDATE SET value = excluded.value"
                ),
                {"revision": _COMPATIBLE_FROM},
            )
            _check_pgvector(connection)
            _check_owner(connection, owner)
            for each in (*FUNCTIONS, event_statements.FUNCTION, concept_statements.FUNCTION):
                connection.exec_driver_sql(each)
            connection.commit()
            found = connection.execute(text("SELECT version_num FROM memory_ops.alembic_version"))
            return str(found.scalar_one())
    except (DBAPIError, psycopg.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise MigrationError(hidden(_sentence(str(cause).strip()))) from error
    except CommandError as error:
        raise MigrationError(
            f"{error}: the database was migrated by another release; use that one or a later one"
        ) from error
    finally:
        engine.dispose()


def _newer(connection: Connection, config: Config) -> str:
    """The revision of a schema that a later release has made and this one can use; else empty."""
    if (
        connection.execute(text("SELECT to_regclass('memory_ops.alembic_version')")).scalar()
        is None
    ):
        return ""
    revision = connection.execute(text("SELECT version_num FROM memory_ops.alembic_version"))
    found = str(revision.scalar_one_or_none() or "")
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    if not found or found in known:
        return ""
    row = connection.execute(
        text("SELECT value FROM memory_ops.facts WHERE key = 'compatible_from'")
    )
    oldest = str(row.scalar_one_or_none() or "")
    return found if oldest and oldest <= max(known) else ""


def _has_model(connection: Connection, model: str, dimensions: int) -> bool:
    """Whether the database was made for vectors of this model; False: it is new. Raises `MigrationError` where it was made for others."""
    if connection.execute(text("SELECT to_regclass('memory_ops.facts')")).scalar() is None:
        return False
    rows = connection.execute(text("SELECT key, value FROM memory_ops.facts"))
    known: dict[str, str] = {each.key: each.value for each in rows}
    if fault := facts.mismatch(known, model, dimensions):
        raise MigrationError(fault)
    return True


def _check_owner(connection: Connection, owner: str) -> None:
    if not owner:
        return
    connection.execute(
        text("INSERT INTO memory_ops.facts VALUES ('owner', :owner) ON CONFLICT (key) DO NOTHING"),
        {"owner": owner},
    )
    held = connection.execute(text("SELECT value FROM memory_ops.facts WHERE key = 'owner'"))
    other = str(held.scalar_one())
    if other != owner:
        raise MigrationError(
            f"the database belongs to the knowledge base {other}: use another database, "
            "or, if that one is gone, delete the row 'owner' of memory_ops.facts"
        )


def _check_pgvector(connection: Connection) -> None:
    found = connection.exec_driver_sql(
        "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
    )
    version = str(found.scalar_one())
    if tuple(map(int, version.split(".")[:2])) < _LEAST_PGVECTOR:
        raise MigrationError(f"pgvector {version} is too old: 0.8 or later is needed")


def _sentence(message: str) -> str:
    """The database's message, and the remedy where the cause is known."""
    if "extension" in message and ("vector" in message or "permission" in message):
        return (
            f"{message.splitlines()[0]}: install pgvector 0.8 or later and run, as a superuser of this database, "
            "CREATE EXTENSION vector;"
        )
    return message.splitlines()[0]
