"""Keeps a method from a connection that is another's by now: a task that it has started would write in the transaction of another world."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, cast

from psycopg import AsyncConnection


class _Guard:
    """All that the connection has, until the end of the call."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection: AsyncConnection | None = connection

    def end(self) -> None:
        """The call has ended."""
        self._connection = None

    def __getattr__(self, name: str) -> Any:
        if self._connection is None:
            raise RuntimeError(
                "call.db was used after its method had returned: wait for all that the method starts"
            )
        return getattr(self._connection, name)


@contextlib.asynccontextmanager
async def guarded(connection: AsyncConnection) -> AsyncIterator[AsyncConnection]:
    """The connection, for the length of the block."""
    guard = _Guard(connection)
    try:
        yield cast("AsyncConnection", guard)
    finally:
        guard.end()
