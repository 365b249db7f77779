"""Tasks that run as long as a process serves: consumers, timers, readers of files."""

import asyncio
import logging
from collections.abc import Coroutine

_LOG = logging.getLogger(__name__)


class Background:
    """Tasks by name. The first that ends, for whatever reason, ends the process: a service that misses events restarts."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, work: Coroutine[None, None, None]) -> None:
        """Run until `stop`. It is cancelled then, and may end what it has begun."""
        self._tasks.append(asyncio.create_task(work, name=name))

    async def ended(self) -> None:
        """Wait until a task ends by itself. Raises its error."""
        if not self._tasks:
            await asyncio.Event().wait()
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        task = done.pop()
        _LOG.error("%s ended", task.get_name())
        task.result()

    async def stop(self, seconds: float) -> None:
        """Cancel every task, the last started first, and wait for it; `seconds` in all."""
        end = asyncio.get_running_loop().time() + seconds
        for task in reversed(self._tasks):
            task.cancel()
            left = max(0.0, end - asyncio.get_running_loop().time())
            _, late = await asyncio.wait([task], timeout=left)
            if late:
                _LOG.error("%s did not end within %.0f s", task.get_name(), seconds)
            elif not task.cancelled() and task.exception() is not None:
                _LOG.error("%s failed as it ended", task.get_name(), exc_info=task.exception())
