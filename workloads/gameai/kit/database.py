"""EDGE: the PostgreSQL of a service: a pool of connections, and transactions whose errors say what a caller can do."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any, LiteralString, Self

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from gameai.errors import ExhaustedError, UnavailableError
from gameai.kit.tables import TABLES

_LOG = logging.getLogger(__name__)
# Number of the lock under which tables are created: "gameai-k".
_CREATING = 0x67616D6561692D6B
_RETRY_SECONDS = 2.0
# More wait in vain: the database has work for longer than a caller would wait.
_MOST_WAITING = 200
_SPARE_SECONDS = 2.0
# Errors of a connection that is well.
_MET = (
    TooManyRequests,
    PoolTimeout,
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.QueryCanceled,
    errors.LockNotAvailable,
)


def connecting(url: str, statement_seconds: float) -> dict[str, Any]:
    """How to connect: transactions by their blocks, a time for a statement, and connections that are silent end after 20 s."""
    milliseconds = round(1000 * statement_seconds)
    own = (
        f"-c statement_timeout={milliseconds} -c idle_in_transaction_session_timeout={milliseconds}"
    )
    # Those of the URL stay, such as a search_path.
    given = conninfo_to_dict(url).get("options") or ""
    return {
        "autocommit": True,
        "connect_timeout": 5,
        "options": f"{given} {own}".strip(),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 2,
    }


class AgainError(Exception):
    """The transaction met another one, and may succeed when it is run again."""


class Database:
    """At most `connections` of this process, each with a time for a statement. An async context manager.

    It connects to PostgreSQL, or to a pooler that gives each client a session of its own.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = 8,
        wait_seconds: float = 1.0,
        statement_seconds: float = 5.0,
    ) -> None:
        self.url = url
        self._seconds = statement_seconds + _SPARE_SECONDS
        self._pool = AsyncConnectionPool(
            url,
            open=False,
            min_size=1,
            max_size=connections,
            timeout=wait_seconds,
            max_waiting=_MOST_WAITING,
            kwargs=connecting(url, statement_seconds),
        )

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def prepare(self, service: str, tables: Sequence[LiteralString] = ()) -> None:
        """Create the tables of the kit and those of the service, once the database answers.

        The statements in `tables` may run at each start. Raises ValueError where the schema has the tables of another
        service, and psycopg.Error where the database refuses a statement.
        """
        while True:
            try:
                await self._create(service, tables)
                return
            except UnavailableError as error:
                _LOG.warning("waiting for the database: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _create(self, service: str, tables: Sequence[LiteralString]) -> None:
        async with self.transaction() as connection:
            # Two replicas that create a table at the same time would both try, and one would fail.
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_CREATING,))
            for statement in (*TABLES, *tables):
                await connection.execute(statement)
            await connection.execute(
                "INSERT INTO gameai_service (name) VALUES (%s) ON CONFLICT DO NOTHING", (service,)
            )
            cursor = await connection.execute("SELECT name FROM gameai_service")
            found = await cursor.fetchone()
            if found is not None and found[0] != service:
                raise ValueError(
                    f"the schema has the tables of the service {found[0]}: give {service} a schema of its own, by search_path in the options of the URL"
                )

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A connection with an open transaction, which is committed at the end of the block.

        Raises `UnavailableError` where the database does not answer, or not in time, `ExhaustedError` where too many wait,
        `AgainError`, and psycopg.Error for what a statement did wrong.
        """
        try:
            # A network that is silent ends no statement.
            async with asyncio.timeout(self._seconds) as limit:
                async with self._pool.connection() as connection, connection.transaction():
                    yield connection
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise UnavailableError(
                f"the database did not answer within {self._seconds:g} s"
            ) from error
        except psycopg.OperationalError as error:
            if not isinstance(error, _MET):
                # What broke one connection has most likely broken all.
                await self._replace_broken()
            raise _named(error) from error

    async def _replace_broken(self) -> None:
        with contextlib.suppress(psycopg.Error, TimeoutError):
            async with asyncio.timeout(_SPARE_SECONDS):
                await self._pool.check()


def _named(error: psycopg.OperationalError) -> Exception:
    """What an error of the database means for a caller."""
    match error:
        case TooManyRequests():
            return ExhaustedError(f"{_MOST_WAITING} calls wait for the database: call again later")
        case PoolTimeout():
            return UnavailableError("no connection to the database became free: call again")
        case errors.SerializationFailure() | errors.DeadlockDetected():
            return AgainError()
        case errors.QueryCanceled() | errors.LockNotAvailable():
            return UnavailableError("the database took too long: call again")
        case _:
            return UnavailableError(f"the database does not answer: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    """The first line of what the database says; later ones may repeat the statement."""
    return next(iter(str(error).splitlines()), type(error).__name__)
