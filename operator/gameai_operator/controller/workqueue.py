"""asyncio: keys that wait to be reconciled: each at most once, never two workers on one key, the urgent first."""

import asyncio
import contextlib
import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import partial

from gameai_operator import telemetry
from gameai_operator.controller.backoff import delay_seconds
from gameai_operator.controller.manifest import Key


class Priority(IntEnum):
    """Who goes first among keys that are due."""

    USER = 0
    CHILD = 1
    REFERENCE = 2
    RESYNC = 3


@dataclass(frozen=True, slots=True)
class _Waiting:
    due: float
    priority: Priority


class Workqueue:
    """`add` from anywhere in the loop, `take` and `done` by workers.

    A key added while a worker has it is taken again once that worker is done. `clock` is in seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        chance: Callable[[], float] = random.random,  # noqa: S311 - spreads retries
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._waiting: dict[Key, _Waiting] = {}
        self._again: dict[Key, _Waiting] = {}
        self._taken: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._due: list[tuple[float, int, Key]] = []
        self._ready: list[tuple[int, float, int, Key]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._again)

    def add(self, key: Key, priority: Priority, *, after: float = 0.0) -> None:
        """Have a key reconciled, `after` so many seconds; the earlier and more urgent of two wishes counts."""
        wish = _Waiting(self._clock() + max(0.0, after), priority)
        place = self._again if key in self._taken else self._waiting
        old = place.get(key)
        place[key] = _merged(old, wish)
        if old is None:
            name = key.kind.lower()
            telemetry.QUEUE_ADDS.labels(name).inc()
            # Counted when it is read, so that an empty queue is never reported as the last full one.
            telemetry.QUEUE_DEPTH.labels(name).set_function(partial(self._depth, key.kind))
        if place is self._waiting and place[key] != old:
            self._push(key, place[key])

    def retry(self, key: Key, *, at_least: float = 0.0) -> None:
        """Have a key that failed reconciled again, later each time it fails in a row."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        telemetry.QUEUE_RETRIES.labels(key.kind.lower()).inc()
        wait = max(delay_seconds(failures, self._chance()), at_least)
        self.add(key, Priority.RESYNC, after=wait)

    def forget(self, key: Key) -> None:
        """A key succeeded: its next failure is its first."""
        self._failures.pop(key, None)

    async def take(self) -> Key:
        """The next key that is due, the most urgent first; waits for one."""
        while True:
            now = self._clock()
            self._move_due(now)
            while self._ready:
                _, due, _, key = heapq.heappop(self._ready)
                waiting = self._waiting.get(key)
                if waiting is not None and waiting.due == due:
                    return self._hand_out(key, due, now)
            self._changed.clear()
            wait = self._due[0][0] - now if self._due else None
            # Not wait_for: under Python 3.11 it can swallow a cancellation, and the worker would live on.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()

    def done(self, key: Key) -> None:
        """A worker is through with a key."""
        taken = self._taken.pop(key)
        telemetry.QUEUE_WORK.labels(key.kind.lower()).observe(self._clock() - taken)
        again = self._again.pop(key, None)
        if again is not None:
            self._waiting[key] = again
            self._push(key, again)

    def _depth(self, kind: str) -> int:
        now = self._clock()
        return sum(each.due <= now for key, each in self._waiting.items() if key.kind == kind)

    def _hand_out(self, key: Key, due: float, now: float) -> Key:
        del self._waiting[key]
        self._taken[key] = now
        name = key.kind.lower()
        telemetry.QUEUE_WAIT.labels(name).observe(now - due)
        return key

    def _push(self, key: Key, waiting: _Waiting) -> None:
        heapq.heappush(self._due, (waiting.due, next(self._order), key))
        self._changed.set()

    def _move_due(self, now: float) -> None:
        """Entries whose key was taken or moved since are stale and fall out here."""
        while self._due and self._due[0][0] <= now:
            due, order, key = heapq.heappop(self._due)
            waiting = self._waiting.get(key)
            if waiting is not None and waiting.due == due:
                heapq.heappush(self._ready, (waiting.priority, due, order, key))


def _merged(old: _Waiting | None, wish: _Waiting) -> _Waiting:
    if old is None:
        return wish
    return _Waiting(min(old.due, wish.due), min(old.priority, wish.priority))
