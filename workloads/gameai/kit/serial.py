"""EDGE: changes of a world that are one after the other, and that this process reads once they are answered."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from google.protobuf.message import Message

from gameai.kit.cache import WorldCache
from gameai.kit.call import Call
from gameai.kit.kit import Context, Kit

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)


class Serial:
    """Mutations whose changes lock their world in the database. Their answers have the field `revision`, the one of the world."""

    def __init__(self, kit: Kit, cache: WorldCache[Any]) -> None:
        self._kit, self._cache = kit, cache
        self._turns: dict[str, asyncio.Lock] = {}

    async def mutate(
        self, name: str, method: Callable[[Q, Call], Awaitable[A]], request: Q, context: Context
    ) -> A:
        """The answer to a change, which this process has then. Those of a world wait here, and not on connections that others need."""
        with self._kit.from_memory(context) as world:
            async with self._turns.setdefault(world.name, asyncio.Lock()):
                answer = await self._kit.mutate(name, method, request, context)
            known: Any = answer
            await self._cache.reach(world.name, known.revision)
            return answer
