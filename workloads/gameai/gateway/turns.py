"""EDGE: how much of one pass of the event loop is spent on frames of questions.

A frame of many questions takes milliseconds. Without a bound a pass lasts as long as there are streams with a frame,
and everything that happens once in a pass waits for it: timers, engines' answers, and gRPC's server, which lets in one
call a pass and ends those that waited for 30 s.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic

PASS_SECONDS = 0.005


class Turns:
    """Pieces of work in the order of their arrival, `seconds` of them and at least one in each pass."""

    def __init__(
        self, seconds: float = PASS_SECONDS, clock: Callable[[], float] = monotonic
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[Callable[[], None], asyncio.Future[None]]] = deque()
        self._until = -1e9

    async def run(self, work: Callable[[], None]) -> None:
        """Do it when its turn comes; raises what it raises. Cancelled before, it is not done."""
        if not self._waiting:
            if self._clock() < self._until:
                work()
                return
            self._loop.call_soon(self._pass)
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((work, turn))
        await turn

    def _pass(self) -> None:
        now = self._clock()
        self._until = now + self._seconds
        while self._waiting and now < self._until:
            work, turn = self._waiting.popleft()
            if not turn.cancelled():
                _settle(work, turn)
            now = self._clock()
        if self._waiting:
            self._loop.call_soon(self._pass)


def _settle(work: Callable[[], None], turn: asyncio.Future[None]) -> None:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits for the turn hears it
        turn.set_exception(error)
    else:
        turn.set_result(None)
