"""EDGE: the connections of the service. Each is held open; a caller waits a bounded time for one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import psycopg
from pgvector.psycopg import register_vector_async
from psycopg.rows import tuple_row

from gameai.knowledge.store.errors import BusyError

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
# More wait in vain: the database has work for longer than a caller would wait.
_MOST_WAITING = 200
_SPARE_SECONDS = 2.0


class Connections:
    """At most `size` connections with a statement timeout. Postgres does not become faster beyond two for each of its cores."""

    def __init__(
        self, database: str, *, size: int = 4, wait_seconds: float = 1.0, statement_ms: int = 1000
    ) -> None:
        self._database = database
        self._free: list[Connection] = []
        self._places = asyncio.Semaphore(size)
        self._waiting = 0
        self._wait_seconds = wait_seconds
        self._use_seconds = statement_ms / 1000 + _SPARE_SECONDS
        # A filter should not shorten a result of the index: it is read until enough rows pass, as far as the statement's
        # time allows, which is about half a second for so many rows.
        self._options = (
            f"-c statement_timeout={statement_ms} -c hnsw.iterative_scan=relaxed_order -c jit=off"
            " -c hnsw.max_scan_tuples=100000 -c hnsw.scan_mem_multiplier=8"
        )

    @contextlib.asynccontextmanager
    async def take(self, seconds: float | None = None) -> AsyncIterator[Connection]:
        """A connection for at most so long (default: a statement and a little), which returns afterwards unless it broke.

        Raises `BusyError`, psycopg.Error.
        """
        await self._place()
        try:
            connection = self._free.pop() if self._free else await self._connect()
            try:
                # A network that is silent ends no statement.
                async with asyncio.timeout(seconds or self._use_seconds):
                    yield connection
            except TimeoutError as error:
                raise psycopg.OperationalError("the database does not answer") from error
            finally:
                await self._return(connection)
        except psycopg.errors.QueryCanceled as error:
            raise BusyError("the database took too long; ask for less, or again later") from error
        except psycopg.OperationalError:
            # What broke one connection has most likely broken all.
            await self.close()
            raise
        finally:
            self._places.release()

    async def close(self) -> None:
        """Close those that are free."""
        while self._free:
            await self._free.pop().close()

    async def _place(self) -> None:
        if not self._places.locked():
            await self._places.acquire()
            return
        if self._waiting >= _MOST_WAITING:
            raise BusyError(f"{_MOST_WAITING} requests wait for the database; ask again later")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._places.acquire()
        except TimeoutError as error:
            raise BusyError(
                f"no connection to the database became free in {self._wait_seconds:g} s; ask again later"
            ) from error
        finally:
            self._waiting -= 1

    async def _connect(self) -> Connection:
        try:
            async with asyncio.timeout(self._wait_seconds):
                return await self._opened()
        except TimeoutError as error:
            raise psycopg.OperationalError("the database does not answer") from error

    async def _opened(self) -> Connection:
        connection = await psycopg.AsyncConnection.connect(
            self._database,
            autocommit=True,
            # The first execution of a statement prepares it.
            prepare_threshold=0,
            row_factory=tuple_row,
            options=self._options,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=2,
        )
        try:
            await register_vector_async(connection)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _return(self, connection: Connection) -> None:
        """Keep a connection that is idle: one that was left in a transaction is closed, with what it had begun."""
        if connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE:
            self._free.append(connection)
            return
        with contextlib.suppress(psycopg.Error):
            await connection.close()
