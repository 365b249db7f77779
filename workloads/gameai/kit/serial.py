"""EDGE: changes of a world that are one after the other, and that this process reads once they are answered."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from google.protobuf.message import Message

from gameai.errors import ExhaustedError, UnavailableError
from gameai.kit.cache import WorldCache
from gameai.kit.call import Call
from gameai.kit.kit import Context, Kit

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)


# Calls that read must have places too.
_MOST_WAITING = 128


class Serial:
    """Mutations whose changes lock their world in the database. Their answers have the field `revision`, the one of the world."""

    def __init__(self, kit: Kit, cache: WorldCache[Any]) -> None:
        self._kit, self._cache = kit, cache
        self._turns: dict[str, asyncio.Lock] = {}
        self._waits = Counter[str]()

    @contextlib.contextmanager
    def _waiting(self, world: str) -> Iterator[None]:
        """A change that waits for its turn. Raises `UnavailableError` while the database is away, `ExhaustedError` where many wait."""
        if self._cache.away:
            raise UnavailableError("the database does not answer: call again")
        if self._waits[world] >= _MOST_WAITING:
            raise ExhaustedError(f"{_MOST_WAITING} changes of the world wait here: call again")
        self._waits[world] += 1
        try:
            yield
        finally:
            self._waits[world] -= 1

    async def mutate(
        self, name: str, method: Callable[[Q, Call], Awaitable[A]], request: Q, context: Context
    ) -> A:
        """The answer to a change, which this process has then. Those of a world wait here, and not on connections that others need."""
        with self._kit.from_memory(context) as world, self._waiting(world.name):
            async with self._turns.setdefault(world.name, asyncio.Lock()):
                answer = await self._kit.mutate(name, method, request, context)
            known: Any = answer
            await self._cache.reach(world.name, known.revision)
            return answer
