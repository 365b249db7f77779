"""EDGE: how calls ask the database: with a connection of the pool, and its errors as errors for the caller."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import psycopg

from gameai.knowledge.rpc.faults import answered
from gameai.knowledge.store.connections import Connection, Connections

T = TypeVar("T")


@asynccontextmanager
async def taken(
    connections: Connections, seconds: float | None = None
) -> AsyncIterator[Connection]:
    """A connection; `seconds` as of `Connections.take`."""
    with answered():
        async with connections.take(seconds) as connection:
            yield connection


async def twice(connections: Connections, call: Callable[[Connection], Awaitable[T]]) -> T:
    """Asked twice where the connection was broken: it may have been since the last call. For calls that may be repeated."""
    with answered():
        try:
            async with connections.take() as connection:
                return await call(connection)
        except psycopg.OperationalError:
            async with connections.take() as connection:
                return await call(connection)
