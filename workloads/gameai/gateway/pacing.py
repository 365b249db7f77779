"""EDGE: which work the event loop does next, and for how long in one pass.

A frame of many questions takes milliseconds, and so does a long reply of an engine. Without a bound a pass lasts as long
as there are streams with a frame, and everything that happens once in a pass waits for it: timers, engines' answers, and
gRPC's server, which accepts one call a pass and ends those that waited for 30 s. Work of the namespace, and in it of the
world, that had the least time goes first: five hundred streams of one get no more of the loop than two of another. A
namespace whose pieces take more than twice the bound then waits for as long as they were too long, unless it is alone.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Container
from time import monotonic, thread_time

from gameai.errors import ServiceFault
from gameai.gateway.memory import namespace

PASS_SECONDS = 0.005
# The garbage collector runs in the piece of some namespace: so much is forgiven at once, and this part of all time.
_FORGIVEN_SECONDS, _FORGIVEN_PART = 0.03, 0.1
# A namespace that had no company for so long does not wait.
_ALONE_SECONDS = 1.0
_MOST_REMEMBERED = 1000
# Before a tier's key: dispatch works for all who use the tier, so it does not wait for its owner.
DISPATCH = "\0dispatch/"
_DISPATCH_SPACE = namespace(DISPATCH)
_LOG = logging.getLogger(__name__)
Work = Callable[[], None]
_Turn = tuple[Work, asyncio.Future[None] | None]


class Used:
    """Seconds of the loop by group. A group that comes back starts with the least of the others: idle time is not saved."""

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
        """A group was at work."""
        if name in self._seconds:
            self._seconds[name] += seconds

    def least(self, but: Container[str] = ()) -> str | None:
        """The group with the least time, except those in `but`; None if no group is left."""
        names = [name for name in self._seconds if name not in but] if but else self._seconds
        return min(names, key=self._seconds.__getitem__, default=None)


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
        assert world is not None  # noqa: S101 - a space without work is removed
        return world, self.worlds[world].popleft()

    def spent(self, world: str, seconds: float) -> None:
        self.used.add(world, seconds)
        if not self.worlds[world]:
            del self.worlds[world]
            self.used.leave(world)


class Pacer:
    """Pieces of work, `seconds` of them and at least one in each pass."""

    def __init__(
        self,
        seconds: float = PASS_SECONDS,
        clock: Callable[[], float] = monotonic,
        cpu: Callable[[], float] = thread_time,
    ) -> None:
        """`cpu` is the time in which this thread ran: no namespace waits because another process had the CPU."""
        self._seconds = seconds
        self._clock = clock
        self._cpu = cpu
        # The CPU clock at the last pass, or at the last long piece.
        self._mark = 0.0
        self._loop = asyncio.get_running_loop()
        self._spaces: dict[str, _Space] = {}
        self._used = Used()
        self._until = -1e9
        # Seconds of CPU of pieces that were too long, less what is forgiven, with the time of the last one.
        self._overruns: dict[str, tuple[float, float]] = {}
        # Until when a namespace waits for that, and when each one last had work.
        self._resting: dict[str, float] = {}
        self._seen: dict[str, float] = {}
        # The next pass, and whether it is the next of the loop too.
        self._next: asyncio.Handle | None = None
        self._soon = False

    async def run(self, work: Work, world: str = "") -> None:
        """Do it when its world's turn comes; raises what it raises. Cancelled before, it is not done."""
        space = namespace(world)
        if not self._spaces and space not in self._resting and (now := self._clock()) < self._until:
            try:
                work()
            finally:
                after = self._clock()
                self._spend(space, after - now, after)
            return
        turn: asyncio.Future[None] = self._loop.create_future()
        self._queue((work, turn), space, world)
        try:
            await turn
        finally:
            # An error and this call would hold each other, and the frame, until the collector comes by.
            del turn

    def add(self, work: Work, world: str) -> None:
        """Do it when its world's turn comes. What is added for one world is done in order; errors are logged."""
        self._queue((work, None), namespace(world), world)

    def note(self, world: str) -> None:
        """A world has work that needs no turn: others are not alone."""
        self._seen[namespace(world)] = self._clock()

    def _queue(self, turn: _Turn, space: str, world: str) -> None:
        self._used.join(space)
        self._seen[space] = self._clock()
        self._spaces.setdefault(space, _Space()).add(world, turn)
        self._schedule()

    def _schedule(self) -> None:
        """One more pass: at once, or when the first namespace that has work may go on."""
        if self._soon:
            return
        if self._next is not None:
            self._next.cancel()
        now = self._clock()
        wait = min(self._resting.get(space, 0.0) for space in self._spaces) - now
        self._soon = wait <= 0
        self._next = (
            self._loop.call_soon(self._pass)
            if self._soon
            else self._loop.call_later(wait, self._pass)
        )

    def _pass(self) -> None:
        self._next, self._soon = None, False
        now = self._clock()
        self._until, self._mark = now + self._seconds, self._cpu()
        if self._resting:
            self._resting = {space: end for space, end in self._resting.items() if end > now}
        while now < self._until and (name := self._used.least(self._resting)) is not None:
            space = self._spaces[name]
            world, (work, turn) = space.take()
            if turn is None:
                _do(work)
            elif not turn.done():
                _settle(work, turn)
            before, now = now, self._clock()
            self._spend(name, now - before, now)
            space.spent(world, now - before)
            self._used.add(name, now - before)
            if not space.worlds:
                del self._spaces[name]
                self._used.leave(name)
        if self._spaces:
            self._schedule()

    def _spend(self, space: str, seconds: float, now: float) -> None:
        """A piece of a namespace took so many seconds: too long ones are paid back, unless it is alone.

        The CPU clock is read only where the wall clock says that it was long: reading it for each piece took 5 % of all CPU.
        """
        self._seen[space] = now
        if seconds <= 2 * self._seconds:
            return
        before, self._mark = self._mark, self._cpu()
        over = min(seconds, self._mark - before) - self._seconds
        if over <= self._seconds or space == _DISPATCH_SPACE:
            return
        level, at = self._overruns.get(space, (0.0, now))
        level = max(0.0, level - (now - at) * _FORGIVEN_PART) + over
        self._overruns[space] = level, now
        if len(self._overruns) > _MOST_REMEMBERED:
            self._overruns = {
                name: each
                for name, each in self._overruns.items()
                if now - each[1] < _ALONE_SECONDS
            }
        if level > _FORGIVEN_SECONDS and not self._alone(space, now):
            self._resting[space] = now + over

    def _alone(self, space: str, now: float) -> bool:
        """Whether no other namespace had work lately."""
        self._seen = {name: at for name, at in self._seen.items() if now - at < _ALONE_SECONDS}
        return self._seen.keys() <= {space, _DISPATCH_SPACE}


def _do(work: Work) -> None:
    try:
        work()
    except Exception:  # noqa: BLE001 - the work of others must go on
        _LOG.exception("a piece of work failed; this is a bug")


def _settle(work: Work, turn: asyncio.Future[None]) -> None:
    try:
        work()
    except ServiceFault as fault:
        # Where it was raised is of no interest, and holds the frame that was refused.
        turn.set_exception(fault.with_traceback(None))
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller that waits for the turn gets it
        turn.set_exception(error)
    else:
        if not turn.done():
            turn.set_result(None)
