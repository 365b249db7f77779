"""The simulated engine: batch slots, a waiting line, and a latency model instead of a model."""

import asyncio
import heapq
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

# The error of a killed engine for every running request.
DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
SHUT = "cannot schedule new futures after shutdown"
BUSY = "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance."


class BusyError(Exception):
    """More requests run and wait than the engine takes."""


class ShutError(Exception):
    """The engine drains: no new request is scheduled."""


class DeadError(Exception):
    """The engine's process is gone."""


class AbortedError(Exception):
    """The server goes away with this request unfinished."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """How long things take. `front_end_ms` is one core's work: requests go through it one after another."""

    front_end_ms: float = 2.0
    first_token_ms: float = 5.0
    token_ms: float = 4.0

    def seconds(self, tokens: int) -> float:
        """From the slot to so many tokens."""
        return (self.first_token_ms + max(0, tokens - 1) * self.token_ms) / 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Batch slots, length of the context in tokens, most requests in all (None: no limit)."""

    slots: int = 128
    context: int = 4096
    queued: int | None = None
    priority: bool = False


@dataclass(kw_only=True, slots=True)
class Times:
    """When a request arrived, got its slot, and had its tokens; seconds of the loop's clock."""

    arrived: float
    started: float = 0.0
    first: float = 0.0
    last: float = 0.0
    tokens: int = 0


@dataclass(order=True, slots=True)
class _Waiting:
    priority: int
    number: int
    turn: asyncio.Future[None] = field(compare=False)


class Engine:
    """Runs requests in slots. Its counters appear in /metrics."""

    def __init__(self, latency: Latency, limits: Limits) -> None:
        self.latency = latency
        self.limits = limits
        self.running = 0
        self.rejected = 0
        self.draining = False
        self._waiting: list[_Waiting] = []
        self._number = 0
        self._front = 0.0
        self._fault: type[Exception] | None = None
        self._ended = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Requests without a slot."""
        return len(self._waiting)

    @property
    def dead(self) -> bool:
        """Whether its process is gone."""
        return self._fault is DeadError

    def kill(self) -> None:
        """The engine's process dies."""
        self._end(DeadError)

    def abort(self) -> None:
        """Everything that runs and waits ends at once."""
        self._end(AbortedError)

    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        return not self.running and not self._waiting

    def admit(self) -> None:
        """Take one more request. Raises `ShutError`, `DeadError`, `BusyError`."""
        if self._fault is DeadError:
            raise DeadError(DEAD)
        if self.draining or self._fault:
            raise ShutError(SHUT)
        limit = self.limits.queued
        if limit is not None and self.running + len(self._waiting) >= limit:
            self.rejected += 1
            raise BusyError(BUSY)

    async def generate(self, tokens: int, priority: int, times: Times) -> AsyncGenerator[int]:
        """The number of tokens there are by now, again and again until there are all. Raises `AbortedError`, `DeadError`."""
        loop = asyncio.get_running_loop()
        await self._front_end(loop)
        await self._slot(priority)
        try:
            times.started = loop.time()
            for made in range(1, tokens + 1):
                await self._until(times.started + self.latency.seconds(made))
                times.first = times.first or loop.time()
                times.last, times.tokens = loop.time(), made
                yield made
        finally:
            self.running -= 1
            self._next()

    async def complete(self, tokens: int, priority: int, times: Times) -> None:
        """All tokens at once, for a reply that is not streamed. Raises `AbortedError`, `DeadError`."""
        loop = asyncio.get_running_loop()
        await self._front_end(loop)
        await self._slot(priority)
        try:
            times.started = loop.time()
            times.first = times.started + self.latency.seconds(1)
            await self._until(times.started + self.latency.seconds(tokens))
            times.last, times.tokens = loop.time(), tokens
        finally:
            self.running -= 1
            self._next()

    async def _front_end(self, loop: asyncio.AbstractEventLoop) -> None:
        self._front = max(self._front, loop.time()) + self.latency.front_end_ms / 1000
        await self._until(self._front)

    async def _slot(self, priority: int) -> None:
        if self.running < self.limits.slots and not self._waiting:
            self.running += 1
            return
        self._number += 1
        mine = _Waiting(
            priority if self.limits.priority else 0,
            self._number,
            asyncio.get_running_loop().create_future(),
        )
        heapq.heappush(self._waiting, mine)
        try:
            await mine.turn
        except BaseException:
            if mine in self._waiting:
                self._waiting.remove(mine)
                heapq.heapify(self._waiting)
            elif mine.turn.done() and not mine.turn.cancelled() and not mine.turn.exception():
                self.running -= 1
                self._next()
            raise

    def _next(self) -> None:
        while self._waiting and self.running < self.limits.slots:
            turn = heapq.heappop(self._waiting).turn
            if not turn.done():
                self.running += 1
                turn.set_result(None)

    async def _until(self, when: float) -> None:
        if self._fault:
            raise self._fault(DEAD)
        left = when - asyncio.get_running_loop().time()
        if left <= 0:
            return
        try:
            async with asyncio.timeout(left):
                await self._ended.wait()
        except TimeoutError:
            return
        raise (self._fault or AbortedError)(DEAD)

    def _end(self, fault: type[Exception]) -> None:
        self._fault = fault
        self._ended.set()
        for each in self._waiting:
            if not each.turn.done():
                each.turn.set_exception(fault(DEAD))
        self._waiting.clear()
