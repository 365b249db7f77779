"""EDGE: the PostgreSQL of a service: a pool of connections, and transactions whose errors say what a caller can do."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from hashlib import blake2b
from typing import Any, LiteralString, Self

import psycopg
from psycopg import AsyncConnection, errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from gameai.errors import ExhaustedError, UnavailableError
from gameai.kit.tables import SERVICE, TABLES

_LOG = logging.getLogger(__name__)
# Number of the lock under which tables are created: "gameai-k".
_CREATING = 0x67616D6561692D6B
_RETRY_SECONDS = 2.0
# A statement that creates a table or an index; and how long it may wait for those who use the table.
_CREATE_SECONDS, _CREATE_LOCK = 1800.0, "SET LOCAL lock_timeout = '3s'"
# More wait in vain: the database has work for longer than a caller would wait.
_MOST_WAITING = 200
_SPARE_SECONDS = 2.0
_RECONNECT_SECONDS = 5.0
# Of both ends: a connection that is silent for 20 s is closed, and the locks of its session go with it.
_ALIVE = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=2 -c tcp_user_timeout=20000"
# SQLSTATEs of a database that is away or restarts: connection errors, operator intervention, no connections, disk or memory left,
# errors of its disk, and a standby that was the primary.
_AWAY = ("08", "57P", "53", "58", "25006")
# Of a transaction in which nothing was done for too long.
_IDLE = ("25P03", "25P04", "57P05")
# What one transaction may have left in a session for the next one.
_RESET = "RESET ALL; SELECT pg_advisory_unlock_all()"


def in_schema(url: str, schema: str) -> str:
    """The URL of a database with the schema in which its tables are; empty: as the URL says."""
    if not schema:
        return url
    given = conninfo_to_dict(url).get("options") or ""
    return make_conninfo(url, options=f"{given} -c search_path={schema}".strip())


def connecting(url: str, statement_seconds: float, idle_seconds: float = 0.0) -> dict[str, Any]:
    """How to connect: transactions by their blocks, a time for a statement, and one in which it must be used (0: any)."""
    milliseconds, idle = round(1000 * statement_seconds), round(1000 * idle_seconds)
    own = (
        f"-c statement_timeout={milliseconds} -c idle_in_transaction_session_timeout={milliseconds}"
        f" -c default_transaction_isolation=read\\ committed -c idle_session_timeout={idle} {_ALIVE}"
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
        "tcp_user_timeout": 20_000,
    }


async def _reset(connection: AsyncConnection) -> None:
    await connection.execute(_RESET)


class AgainError(Exception):
    """The transaction met another one, and may succeed when it is run again."""


class OverdueError(Exception):
    """A statement, or the transaction, took longer than it may."""


class LockedError(OverdueError):
    """Another transaction has held a lock for longer than this one may wait."""


class Database:
    """At most `connections` of this process, each with a time for a statement. An async context manager.

    With a `schema` its tables are there; it is created where it does not exist. It connects to PostgreSQL, or to a pooler that gives each client a session of its own.
    """

    def __init__(
        self,
        url: str,
        *,
        schema: str = "",
        connections: int = 8,
        wait_seconds: float = 1.0,
        statement_seconds: float = 5.0,
    ) -> None:
        self._checking: asyncio.Task[None] | None = None
        # Calls that wait for a connection, and those that have one; and whether the last one that waited got none.
        self._waiting, self._used, self._silent = 0, 0, False
        self._schema, self.connections = schema, connections
        self.url = in_schema(url, schema)
        self._seconds = statement_seconds + _SPARE_SECONDS
        self._pool = AsyncConnectionPool(
            self.url,
            open=False,
            min_size=1,
            max_size=connections,
            timeout=wait_seconds,
            # It counts those that have given up too, and while it is full it does not connect: `_connection` has the limit.
            max_waiting=0,
            # It tries at growing distances. After this time a call that needs a connection begins again.
            reconnect_timeout=_RECONNECT_SECONDS,
            reset=_reset,
            kwargs=connecting(self.url, statement_seconds),
        )

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._checking is not None:
            self._checking.cancel()
        await self._pool.close()

    async def prepare(self, service: str, tables: Sequence[LiteralString] = ()) -> None:
        """Create the tables of the kit and those of the service, once the database answers.

        The statements in `tables` may run again; they do where one of them has changed. Raises ValueError where the schema
        has the tables of another service, and psycopg.Error where the database refuses a statement.
        """
        while True:
            try:
                await self._create(service, tables)
                return
            except (errors.InsufficientPrivilege, errors.LockNotAvailable) as error:
                # Rights may be granted while it waits, and those who use the tables end.
                _LOG.warning("waiting for the tables: %s", _first_line(error))
            except psycopg.OperationalError as error:
                if not is_away(error) and not isinstance(error, errors.DeadlockDetected):
                    raise
                _LOG.warning("waiting for the database: %s", _first_line(error))
            await asyncio.sleep(_RETRY_SECONDS)

    async def _create(self, service: str, tables: Sequence[LiteralString]) -> None:
        """Statements that create lock the tables, also where there is nothing to create: they run where they are new."""
        digest = blake2b("\0".join((*TABLES, *tables)).encode(), digest_size=16).hexdigest()
        how = connecting(self.url, _CREATE_SECONDS)
        async with (
            await AsyncConnection.connect(self.url, **how) as connection,
            connection.transaction(),
        ):
            await connection.execute(_CREATE_LOCK)
            # Two replicas that create a table at the same time would both try, and one would fail.
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_CREATING,))
            await self._create_schema(connection)
            await connection.execute(SERVICE)
            cursor = await connection.execute("SELECT name, digest FROM gameai_service")
            name, known = await cursor.fetchone() or (service, "")
            if name != service:
                raise ValueError(
                    f"the schema has the tables of the service {name}: give {service} a schema of its own, Database(url, schema=…)"
                )
            if known == digest:
                return
            for statement in (*TABLES, *tables):
                await connection.execute(statement)
            await connection.execute(
                "INSERT INTO gameai_service (name, digest) VALUES (%s, %s) ON CONFLICT (single) DO UPDATE SET digest = EXCLUDED.digest",
                (service, digest),
            )

    async def _create_schema(self, connection: AsyncConnection) -> None:
        """`IF NOT EXISTS` would need the right to create one where it exists."""
        known = "SELECT nspowner::regrole::text, has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = %s"
        row = await (await connection.execute(known, (self._schema,))).fetchone()
        if row is not None and not row[1]:
            raise errors.InsufficientPrivilege(
                f"the schema {self._schema} belongs to the role {row[0]}: connect as that role; all worlds of a database do"
            )
        if self._schema and row is None:
            statement = sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(self._schema))
            await connection.execute(statement)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A connection with an open transaction, which is committed at the end of the block.

        Raises `UnavailableError` where the database does not answer, `OverdueError` where it takes too long,
        `ExhaustedError` where too many wait, `AgainError`, and psycopg.Error for what a statement did wrong.
        """
        connection: AsyncConnection | None = None
        try:
            # A network that is silent ends no statement.
            async with asyncio.timeout(self._seconds) as limit:
                async with self._connection() as connection, connection.transaction():
                    yield connection
                    _require_open(connection)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise OverdueError(f"the transaction did not end within {self._seconds:g} s") from error
        except psycopg.Error as error:
            if connection is not None and connection.closed:
                # What broke one connection has most likely broken all.
                self._replace_broken()
            found = _named(error, well=connection is not None and not connection.closed)
            if found is None:
                raise
            raise found from error

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection of the pool. While the database does not answer one call at a time tries it: the pool remembers each.

        Raises `ExhaustedError` where too many wait, `UnavailableError`, PoolTimeout.
        """
        if self._waiting >= _MOST_WAITING:
            raise ExhaustedError(f"{_MOST_WAITING} calls wait for the database: call again later")
        if self._silent and self._waiting and not self._used:
            raise UnavailableError("the database does not answer: call again")
        async with contextlib.AsyncExitStack() as stack:
            self._waiting += 1
            try:
                connection = await stack.enter_async_context(self._pool.connection())
            except PoolTimeout:
                self._silent = True
                raise
            finally:
                self._waiting -= 1
            self._silent = False
            self._used += 1
            try:
                yield connection
            finally:
                self._used -= 1

    def _replace_broken(self) -> None:
        """Look at all connections, in a task of its own: one that is silent may take long."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._checked())

    async def _checked(self) -> None:
        with contextlib.suppress(psycopg.Error):
            await self._pool.check()


def _require_open(connection: AsyncConnection) -> None:
    """A commit of a transaction in which a statement has failed is answered as if it were one. Raises RuntimeError."""
    if connection.info.transaction_status is not TransactionStatus.INTRANS:
        raise RuntimeError(
            "a statement of the transaction failed, or ended it, so that its changes are lost: let its error pass, "
            "or put the statement into a savepoint (async with call.db.transaction())"
        )


def is_away(error: psycopg.Error) -> bool:
    """Whether the database is away, or restarts. Errors of a connection have no SQLSTATE."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate.startswith(_AWAY)


def _named(error: psycopg.Error, *, well: bool) -> Exception | None:
    """What an error of the database means for a caller; None: that a statement is wrong. `well`: its connection is."""
    match error:
        case PoolTimeout():
            return UnavailableError(
                "the database does not answer, or all connections to it are in use: call again"
            )
        case errors.SerializationFailure() | errors.DeadlockDetected():
            return AgainError()
        case errors.QueryCanceled() | errors.LockNotAvailable():
            locked = isinstance(error, errors.LockNotAvailable)
            return (LockedError if locked else OverdueError)("a statement took too long")
        case _ if error.sqlstate in _IDLE:
            return OverdueError("the transaction was idle for too long")
        case _ if is_away(error) and not (well and error.sqlstate is None):
            _LOG.warning("the database does not answer: %s", _first_line(error))
            return UnavailableError("the database does not answer: call again")
        case _:
            return None


def _first_line(error: Exception) -> str:
    """The first line of what the database says; later ones may repeat the statement."""
    return next(iter(str(error).splitlines()), type(error).__name__)
