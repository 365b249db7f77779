"""EDGE: the connections that one world may use at a time, so that the others have the rest."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from gameai.errors import UnavailableError
from gameai.kit.worlds import Worlds

_WAIT_SECONDS = 1.0


@dataclass(slots=True, kw_only=True)
class _Own:
    places: asyncio.Semaphore
    users: int = 0


class Places:
    """Half of the connections for each world; all of them where there is one world."""

    def __init__(self, connections: int, worlds: Worlds) -> None:
        self._connections, self._worlds = connections, worlds
        self._own: dict[str, _Own] = {}

    @contextlib.asynccontextmanager
    async def held(self, world: str) -> AsyncIterator[None]:
        """A place for a transaction of this world. Raises `UnavailableError` where none becomes free within a second."""
        own = self._own.get(world)
        if own is None:
            share = self._connections if len(self._worlds.names()) == 1 else self._connections // 2
            own = self._own[world] = _Own(places=asyncio.Semaphore(max(share, 1)))
        own.users += 1
        try:
            await _taken(own, world)
            try:
                yield
            finally:
                own.places.release()
        finally:
            own.users -= 1
            if not own.users:
                self._own.pop(world, None)


async def _taken(own: _Own, world: str) -> None:
    try:
        async with asyncio.timeout(_WAIT_SECONDS):
            await own.places.acquire()
    except TimeoutError as error:
        raise UnavailableError(
            f"{world} uses all connections that it may use: call again"
        ) from error
