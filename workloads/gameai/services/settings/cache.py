"""EDGE: the settings of worlds in memory, at most a second old while the database answers."""

import asyncio
from collections.abc import Callable

from gameai.kit import Database
from gameai.kit.cache import AWAY, Source, WorldCache
from gameai.kit.worlds import Worlds
from gameai.services.settings import store
from gameai.services.settings.rules.table import Table, table
from gameai.settings.v1 import settings_pb2 as pb

_POLL_SECONDS, _LEAST_SECONDS = 0.5, 0.1
_REACH_SECONDS = 2.0
_MOST_WATCHES = 100
# Of eight.
_PLAYER_CONNECTIONS = 2


async def _load(database: Database, world: str, _: Table | None) -> Table:
    async with database.transaction() as connection:
        revision, token, rows = await store.load(connection, world)
    # A large one takes long; others have their turn meanwhile.
    return await asyncio.to_thread(table, revision, rows, token)


_SOURCE = Source(
    name="settings",
    heads=store.heads,
    load=_load,
    least_seconds=_LEAST_SECONDS,
    busy_seconds=_POLL_SECONDS,
    seconds=_POLL_SECONDS,
    most_watches=_MOST_WATCHES,
)


class Cache(WorldCache[Table]):
    """The settings of the worlds of a process. `notify` is called after each change of one."""

    def __init__(self, database: Database, worlds: Worlds, notify: Callable[[], None]) -> None:
        super().__init__(database, worlds, _SOURCE, notify)
        self._players = asyncio.Semaphore(_PLAYER_CONNECTIONS)

    async def of_player(self, world: str, player: str) -> dict[str, pb.Value] | None:
        """All values of a player; None where they cannot be read now. Uses a part of the connections, so that changes have theirs."""
        if self.away:
            return None
        try:
            async with (
                asyncio.timeout(_REACH_SECONDS),
                self._players,
                self._database.transaction() as connection,
            ):
                return await store.of_player(connection, world, player)
        except (TimeoutError, *AWAY):
            return None
