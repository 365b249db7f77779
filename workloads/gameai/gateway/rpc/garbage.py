"""EDGE: what ended calls leave behind is collected before it adds up.

gRPC's objects of a call hold each other, and all unread messages of its client: up to a MiB for each message.
By the number of objects, which is what the collector goes by, that is nothing.
"""

import asyncio
import gc

_CALLS, _SECONDS = 32, 0.1


class Garbage:
    """Metrics calls that ended. Belongs to one loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = 0
        self._due = False

    def ended(self) -> None:
        """A call ended."""
        self._ended += 1
        if self._ended >= _CALLS and not self._due:
            self._due = True
            self._loop.call_later(_SECONDS, self._collect)

    def _collect(self) -> None:
        self._ended, self._due = 0, False
        gc.collect()
