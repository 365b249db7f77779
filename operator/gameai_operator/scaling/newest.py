"""asyncio: work by key, one at a time for each: what waits is replaced by what is newer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Work = Callable[[], Awaitable[None]]


class Newest:
    """Runs offered work in tasks of its own, at most so much at a time."""

    def __init__(self, most: int) -> None:
        self._at_once = asyncio.Semaphore(most)
        self._waiting: dict[Any, Work] = {}
        self._tasks: dict[Any, asyncio.Task[None]] = {}

    def offer(self, key: Any, work: Work) -> None:
        """Run this after what runs for the key, and in place of what waits for it. `work` raises nothing."""
        self._waiting[key] = work
        if key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._run(key))

    async def end(self) -> None:
        """Cancel what runs, and forget what waits."""
        self._waiting.clear()
        running = tuple(self._tasks.values())
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        # A task that is cancelled before its first step does not remove itself.
        self._tasks.clear()

    async def _run(self, key: Any) -> None:
        try:
            while key in self._waiting:
                async with self._at_once:
                    # Taken only now: a newer one may have come while this waited for its turn.
                    await self._waiting.pop(key)()
        finally:
            self._tasks.pop(key, None)
