"""EDGE: how much of one pass of the event loop is spent on frames of questions, and on whose.

A frame of many questions takes milliseconds. Without a bound a pass lasts as long as there are streams with a frame,
and everything that happens once in a pass waits for it: timers, engines' answers, and gRPC's server, which lets in one
call a pass and ends those that waited for 30 s. Frames of the namespace, and in it of the world, that had least time go
first: five hundred streams of one get no more of the loop than two of another.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic

from gameai.errors import ServiceFault
from gameai.gateway.ledger import namespace

PASS_SECONDS = 0.005
Work = Callable[[], None]
_Turn = tuple[Work, asyncio.Future[None]]


class Used:
    """Seconds of the loop by group. One that was away begins with what the busiest least had: idle time is not saved up."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def join(self, name: str) -> None:
        """A group has something to do."""
        if name not in self._seconds:
            self._seconds[name] = min(self._seconds.values(), default=0.0)

    def leave(self, name: str) -> None:
        """A group has nothing left to do."""
        self._seconds.pop(name, None)

    def add(self, name: str, seconds: float) -> None:
        """It was at work."""
        if name in self._seconds:
            self._seconds[name] += seconds

    def least(self) -> str:
        """The group that had least."""
        return min(self._seconds, key=self._seconds.__getitem__)


class _Space:
    """The waiting frames of a namespace."""

    def __init__(self) -> None:
        self.used = Used()
        self.worlds: dict[str, deque[_Turn]] = {}

    def add(self, world: str, turn: _Turn) -> None:
        self.used.join(world)
        self.worlds.setdefault(world, deque()).append(turn)

    def take(self) -> tuple[str, _Turn]:
        world = self.used.least()
        return world, self.worlds[world].popleft()

    def spent(self, world: str, seconds: float) -> None:
        self.used.add(world, seconds)
        if not self.worlds[world]:
            del self.worlds[world]
            self.used.leave(world)


class Turns:
    """Pieces of work, `seconds` of them and at least one in each pass."""

    def __init__(
        self, seconds: float = PASS_SECONDS, clock: Callable[[], float] = monotonic
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._spaces: dict[str, _Space] = {}
        self._used = Used()
        self._until = -1e9

    async def run(self, work: Work, world: str = "") -> None:
        """Do it when its world's turn comes; raises what it raises. Cancelled before, it is not done."""
        if not self._spaces:
            if self._clock() < self._until:
                work()
                return
            self._loop.call_soon(self._pass)
        turn: asyncio.Future[None] = self._loop.create_future()
        space = namespace(world)
        self._used.join(space)
        self._spaces.setdefault(space, _Space()).add(world, (work, turn))
        try:
            await turn
        finally:
            # An error and this call would hold each other, and the frame, until the collector comes by.
            del turn

    def _pass(self) -> None:
        now = self._clock()
        self._until = now + self._seconds
        while self._spaces and now < self._until:
            name = self._used.least()
            space = self._spaces[name]
            world, (work, turn) = space.take()
            if not turn.cancelled():
                _settle(work, turn)
            before, now = now, self._clock()
            space.spent(world, now - before)
            self._used.add(name, now - before)
            if not space.worlds:
                del self._spaces[name]
                self._used.leave(name)
        if self._spaces:
            self._loop.call_soon(self._pass)


def _settle(work: Work, turn: asyncio.Future[None]) -> None:
    try:
        work()
    except ServiceFault as fault:
        # Where it was raised is of no interest, and holds the frame that was refused.
        turn.set_exception(fault.with_traceback(None))
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits for the turn hears it
        turn.set_exception(error)
    else:
        turn.set_result(None)
