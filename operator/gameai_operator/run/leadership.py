"""asyncio: the election of a process: it begins once the cluster is known, and its end is a fault."""

import asyncio
from collections.abc import Awaitable, Callable

from gameai_operator.cluster.lease import Elector


class Leadership:
    """Runs an elector, and knows whether it still runs."""

    def __init__(self, elector: Elector, known: asyncio.Event) -> None:
        self._elector = elector
        self._known = known
        self._ended = False

    def faults(self) -> list[str]:
        """That the election ended, which only a restart can cure."""
        return ["leader election ended"] if self._ended else []

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Run `lead` while leading, from the time that the cluster is known."""
        await self._known.wait()
        try:
            await self._elector.run(lead)
        finally:
            self._ended = True

    async def release(self) -> None:
        """Give the Lease back, so that another process leads at once."""
        await self._elector.release()
