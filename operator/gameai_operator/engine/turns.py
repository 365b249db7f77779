"""PURE: whose turn it is: a roll-out of many objects takes so many of them at a time."""

import itertools
from collections.abc import Iterable

from gameai_operator.engine.manifest import Key


class Turns:
    """At most `limit` holders at once; others wait in the order in which they asked."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._holders: set[Key] = set()
        self._waiting: dict[Key, None] = {}

    def begin(self, holders: Iterable[Key]) -> None:
        """Start anew with those who are under way already; they may be more than the limit."""
        self._holders = set(holders)
        self._waiting = {}

    def free(self, key: Key) -> bool:
        """Whether this one holds a turn or may take one now."""
        return key in self._holders or len(self._holders) < self._limit

    def take(self, key: Key) -> None:
        """This one is under way."""
        self._waiting.pop(key, None)
        self._holders.add(key)

    def wait(self, key: Key) -> None:
        """This one would like a turn."""
        self._waiting.setdefault(key)

    def holds(self, key: Key) -> bool:
        """Whether this one is under way."""
        return key in self._holders

    def leave(self, key: Key) -> tuple[Key, ...]:
        """This one is through, or no longer wants it; who should be asked, if that left room."""
        if key not in self._holders and key not in self._waiting:
            return ()
        self._waiting.pop(key, None)
        self._holders.discard(key)
        room = max(0, self._limit - len(self._holders))
        return tuple(itertools.islice(self._waiting, room))
