"""asyncio: how late the event loop is."""

import asyncio
import time

from gameai_operator import telemetry

_PERIOD_SECONDS = 0.5
_MOST_LATE_SECONDS = 10.0


class Heartbeat:
    """Beats while the event loop runs; a loop that hangs misses beats."""

    def __init__(self) -> None:
        self._beat = time.monotonic()

    async def run(self) -> None:
        """Beat until cancelled, and publish the lag of each beat."""
        while True:
            await asyncio.sleep(_PERIOD_SECONDS)
            telemetry.LOOP_LAG.set(max(0.0, self._late_seconds()))
            self._beat = time.monotonic()

    def faults(self) -> list[str]:
        """Whether the loop was blocked for more than 10 s, until just before this call."""
        late = self._late_seconds()
        return (
            [f"the event loop has been blocked for {late:.0f} s"]
            if late > _MOST_LATE_SECONDS
            else []
        )

    def _late_seconds(self) -> float:
        return time.monotonic() - self._beat - _PERIOD_SECONDS
