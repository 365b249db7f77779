"""Tasks that run as long as a process serves: consumers, timers, readers of files."""

import asyncio
import logging
from collections.abc import Coroutine

_LOG = logging.getLogger(__name__)


class TaskEndedError(RuntimeError):
    """A task that must run as long as the process serves has returned."""


class Background:
    """Tasks by name. The first that ends by itself ends the process, also by returning: a service that misses events restarts."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._first: asyncio.Future[asyncio.Task[None]] = asyncio.get_running_loop().create_future()
        self._stopping = False

    def start(self, name: str, work: Coroutine[None, None, None]) -> None:
        """Run until `stop`, at any time before. It is cancelled then, and may finish what it has begun.

        Raises RuntimeError once the process stops.
        """
        if self._stopping:
            work.close()
            raise RuntimeError(f"{name} cannot start: the process is stopping")
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._done)
        self._tasks.append(task)

    def _done(self, task: asyncio.Task[None]) -> None:
        if not self._stopping and not self._first.done():
            self._first.set_result(task)

    async def ended(self) -> None:
        """Wait until a task ends by itself. Raises its error, or `TaskEndedError`."""
        task = await asyncio.shield(self._first)
        _LOG.error("%s ended", task.get_name())
        task.result()
        raise TaskEndedError(f"{task.get_name()} ended")

    async def stop(self, seconds: float) -> None:
        """Cancel every task, the last started first, and wait for it; each has its share of what is left of `seconds`."""
        self._stopping = True
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        for rest, task in reversed(list(enumerate(self._tasks, start=1))):
            task.cancel()
            share = max(0.0, end - loop.time()) / rest
            _, late = await asyncio.wait([task], timeout=share)
            if late:
                _LOG.error("%s did not end within %.1f s", task.get_name(), share)
            elif not task.cancelled() and task.exception() is not None:
                _LOG.error("%s failed as it ended", task.get_name(), exc_info=task.exception())
