"""PURE: a roll-out over many objects updates a limited number of them at a time, and stops when too many fail."""

import itertools
from collections.abc import Callable, Iterable

from gameai_operator.controller.manifest import Key

# A roll-out stops once this many objects that had worked before failed, and they are this share of those that ended.
LEAST_FAILED = 3
FAILED_PERCENT = 20


class RolloutSlots:
    """At most `limit()` holders at once; others wait in the order in which they asked."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._holders: dict[Key, bool] = {}
        self._waiting: dict[Key, None] = {}
        self._failed: set[Key] = set()
        self._through = 0

    def begin(self, holders: Iterable[Key]) -> None:
        """Start again with those that are under way already; they may be more than the limit."""
        self._holders = dict.fromkeys(holders, False)
        self._waiting = {}
        self._failed = set()
        self._through = 0

    @property
    def halted(self) -> str:
        """Why no further one may begin: how many failed of how many; "" while the roll-out continues."""
        failed, ended = len(self._failed), len(self._failed) + self._through
        if failed < LEAST_FAILED or failed * 100 < ended * FAILED_PERCENT:
            return ""
        return f"{failed} of the first {ended} did not become ready"

    def free(self, key: Key) -> bool:
        """Whether this one holds a turn or may take one now."""
        if key in self._holders:
            return True
        return not self.halted and len(self._holders) < self._limit()

    def take(self, key: Key, *, healthy: bool) -> None:
        """This one is under way; whether it worked before decides if a failure counts against the roll-out."""
        self._waiting.pop(key, None)
        self._holders.setdefault(key, healthy)

    def wait(self, key: Key) -> None:
        """This one would like a turn."""
        self._waiting.setdefault(key)

    def holds(self, key: Key) -> bool:
        """Whether this one is under way."""
        return key in self._holders

    def fail(self, key: Key) -> tuple[Key, ...]:
        """This one made no progress within its deadline; the keys to reconcile next, or all that wait if the roll-out is halted."""
        went_on = not self.halted
        if self._holders.get(key):
            self._failed.add(key)
        following = self._leave(key)
        return tuple(self._waiting) if went_on and self.halted else following

    def through(self, key: Key) -> tuple[Key, ...]:
        """This one needs no turn any more; who should be asked, if that left room or ended a halt."""
        if key in self._holders:
            self._through += 1
        return self._end(key)

    def give_back(self, key: Key) -> tuple[Key, ...]:
        """This one is gone, paused, or of another operator; who should be asked, as in `through`."""
        return self._end(key)

    def _end(self, key: Key) -> tuple[Key, ...]:
        was_halted = bool(self.halted)
        self._failed.discard(key)
        following = self._leave(key)
        # All that wait have reported the halt, and do so until they are asked again.
        return tuple(self._waiting) if was_halted and not self.halted else following

    def _leave(self, key: Key) -> tuple[Key, ...]:
        if key not in self._holders and key not in self._waiting:
            return ()
        self._waiting.pop(key, None)
        self._holders.pop(key, None)
        return self._next()

    def _next(self) -> tuple[Key, ...]:
        room = 0 if self.halted else max(0, self._limit() - len(self._holders))
        return tuple(itertools.islice(self._waiting, room))
