"""The schema of the memory: alembic's revisions, applied under an advisory lock."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

# Two migrations of one database wait for each other.
_LOCK = 0x67616D65
_LOCK_TIMEOUT = "10min"
MOST_DIMENSIONS = 4000


class MigrationError(Exception):
    """The schema cannot be brought to this release; the message says what to do."""


def migrate(database: str, dimensions: int) -> str:
    """Bring the schema to this release and return its revision. `database` is a postgresql:// URL.

    Does nothing where it is there already. Raises `MigrationError`.
    """
    url = "postgresql+psycopg://" + database.partition("://")[2]
    engine = create_engine(url, poolclass=NullPool)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["dimensions"] = dimensions
    try:
        with engine.connect() as connection:
            connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT}'"))
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
            connection.commit()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
            found = connection.execute(text("SELECT version_num FROM memory_ops.alembic_version"))
            return str(found.scalar_one())
    except DBAPIError as error:
        raise MigrationError(_sentence(str(error.orig).strip())) from error
    finally:
        engine.dispose()


def _sentence(message: str) -> str:
    """The database's message, and the remedy where the cause is known."""
    if "extension" in message and ("vector" in message or "permission" in message):
        return (
            f"{message.splitlines()[0]}: install pgvector 0.8 or later and run, as a superuser of this database, "
            "CREATE EXTENSION vector; CREATE EXTENSION btree_gist; CREATE EXTENSION pg_trgm;"
        )
    return message.splitlines()[0]
