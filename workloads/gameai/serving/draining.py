"""How a server goes away without losing a call: its callers are sent elsewhere first."""

import asyncio
from collections.abc import Callable
from time import monotonic

# GOAWAY to every connection so often (±10 %): its client resolves the name again, and calls use another one. So
# replicas that are newer are found, and one that is going away has no callers left when it stops.
CONNECTION_SECONDS = 10.0
# Of a caller that came before so long, the connection has had its GOAWAY.
QUIET_SECONDS = 1.1 * CONNECTION_SECONDS
_LOOK_SECONDS = 0.05


async def quiet(
    heard: Callable[[], float], seconds: float, *, busy: Callable[[], bool] = lambda: False
) -> None:
    """Wait until nothing is `busy` and no call came for the lifetime of a connection; `seconds` at most.

    `heard` returns the time of the last call, on the monotonic clock. A call that arrives while a server stops would end
    as CANCELLED, which no client repeats by itself.
    """
    end = monotonic() + seconds
    while monotonic() < end and (  # noqa: ASYNC110 - callers go away by themselves
        busy() or monotonic() < heard() + QUIET_SECONDS
    ):
        await asyncio.sleep(_LOOK_SECONDS)
