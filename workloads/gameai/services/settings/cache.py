"""EDGE: the settings of worlds in memory, at most a second old while the database answers."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable

import psycopg

from gameai.bus.cancellation import end_if_cancelled
from gameai.errors import ServiceFault, UnavailableError
from gameai.kit import Database
from gameai.kit.database import AgainError, OverdueError
from gameai.kit.worlds import Worlds
from gameai.services.settings import store
from gameai.services.settings.rules.table import Table, Version, table
from gameai.settings.v1 import settings_pb2 as pb

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.5
_STALE_SECONDS = 5.0
_REACH_SECONDS = 2.0
_LEAST_SECONDS = 0.1
# Of eight.
_PLAYER_CONNECTIONS = 2
_AWAY = (ServiceFault, AgainError, OverdueError, psycopg.Error)


class Cache:
    """The settings of the worlds of a process. `notify` is called after each change of one."""

    def __init__(self, database: Database, worlds: Worlds, notify: Callable[[], None]) -> None:
        self._database, self._worlds, self._notify = database, worlds, notify
        self._tables: dict[str, Table] = {}
        self._wanted = asyncio.Event()
        self._changed = asyncio.Event()
        self._polled = asyncio.Event()
        self._read_at = time.monotonic()
        self._away = False
        self._players = asyncio.Semaphore(_PLAYER_CONNECTIONS)
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Read what has changed, until cancelled."""
        while True:
            await self._poll()
            end_if_cancelled()
            self._polled.set()
            self._polled = asyncio.Event()
            # Changes come in groups: one load for several of them.
            await asyncio.sleep(_LEAST_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS - _LEAST_SECONDS):
                    await self._wanted.wait()
            self._wanted.clear()

    async def of(self, world: str) -> Table:
        """The settings of a world. Raises `UnavailableError` where they were never read."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REACH_SECONDS):
                while world not in self._tables:
                    await self._next()
        if world not in self._tables:
            raise UnavailableError("the settings of the world were not read yet: call again")
        return self._tables[world]

    async def fresh(self, world: str) -> Table:
        """The settings of a world as they are in the database now, or after some time as they are known. Raises `UnavailableError`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REACH_SECONDS):
                # One that runs may have read before.
                for _ in range(2):
                    polled = self._polled
                    self._wanted.set()
                    await polled.wait()
        return await self.of(world)

    async def of_player(self, world: str, player: str) -> dict[str, pb.Value] | None:
        """All values of a player; None where they cannot be read now. Uses a part of the connections, so that changes have theirs."""
        if self._away:
            return None
        try:
            async with (
                asyncio.timeout(_REACH_SECONDS),
                self._players,
                self._database.transaction() as connection,
            ):
                return await store.of_player(connection, world, player)
        except (TimeoutError, *_AWAY):
            return None

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One watch at a time computes what it sends, and others are served in between."""
        async with self._turn:
            await asyncio.sleep(0)
            yield

    def is_stale(self) -> bool:
        """Whether the database has not answered for some seconds."""
        return time.monotonic() - self._read_at > _STALE_SECONDS

    async def reach(self, world: str, revision: int) -> None:
        """Wait until what this process has is as new as a change that was made by it, but not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REACH_SECONDS):
                while self._tables.get(world, Table()).revision < revision:
                    await self._next()

    async def _next(self) -> None:
        """Read at once, and wait for a change."""
        changed = self._changed
        self._wanted.set()
        await changed.wait()

    async def _poll(self) -> None:
        try:
            await self._read()
        except _AWAY as error:
            if not self._away:
                _LOG.warning("settings stay as they were: %s", error)
            self._away = True
            return
        if self._away:
            _LOG.info("settings are read again")
        self._away = False

    async def _read(self) -> None:
        names = set(self._worlds.names())
        for gone in self._tables.keys() - names:
            del self._tables[gone]
        async with self._database.transaction() as connection:
            found = await store.heads(connection, sorted(names))
        # Also lower ones: a database may be restored.
        for each in (each for each in names if self._differs(each, found[each])):
            async with self._database.transaction() as connection:
                revision, token, rows = await store.load(connection, each)
            # A large one takes long; others have their turn meanwhile.
            self._tables[each] = await asyncio.to_thread(table, revision, rows, token)
            self._notify()
            self._changed.set()
            self._changed = asyncio.Event()
        self._read_at = time.monotonic()

    def _differs(self, world: str, version: Version) -> bool:
        known = self._tables.get(world)
        return known is None or known.version != version
