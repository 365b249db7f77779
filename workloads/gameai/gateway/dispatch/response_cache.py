"""PURE: answers that may be given again: least recently used first out, of the namespace that keeps most.

Not least frequently: counts that do not age keep what was once asked for often, and a full cache of it takes nothing new.
"""

from sys import getsizeof

from cachebox import LRUCache

from gameai.gateway.routing.archetypes import CacheRules

MOST_BYTES = 32 << 20
# A longer answer is not kept.
MOST_TEXT = 2000
# Of an entry beside its text: key, tuple, numbers, and its place.
_ENTRY_BYTES = 320
# A revision of a model, and the digest of everything else that an answer depends on.
Key = tuple[str, bytes]

# An engine's answer: its text, its tier, and when it was given, in seconds of the monotonic clock. How long it is fresh
# is decided by the reader. The garbage collector does not track a plain tuple of such values: a full cache of objects
# costs 15 ms a look.
Kept = tuple[str, str, float]


def _size(key: Key, kept: Kept) -> int:  # noqa: ARG001 - the library's signature
    return _ENTRY_BYTES + getsizeof(kept[0])


class Cache:
    """Entries by namespace and key, `most` bytes in all. One namespace cannot push out another that keeps less."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._size = 0
        self._spaces: dict[str, LRUCache[Key, Kept]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._spaces.values()))

    @property
    def size(self) -> int:
        """Bytes that are kept, roughly."""
        return self._size

    def fresh(self, space: str, key: Key, rules: CacheRules, now: float) -> Kept | None:
        """The answer, if it is fresh by these rules."""
        kept = self._get(space, key)
        return kept if kept is not None and now < kept[2] + rules.ttl_seconds else None

    def stale(self, space: str, key: Key, rules: CacheRules, now: float) -> Kept | None:
        """The answer, if it is at least better than a default by these rules."""
        kept = self._get(space, key)
        seconds = rules.ttl_seconds + rules.stale_grace_seconds
        return kept if kept is not None and now < kept[2] + seconds else None

    def put(self, space: str, key: Key, kept: Kept) -> None:
        """Keep an answer; the least recently used ones of the namespace with most make room for it."""
        entries = self._spaces.get(space)
        if entries is None:
            entries = self._spaces[space] = LRUCache(self._most, getsizeof=_size)
        before = entries.current_size()
        entries.insert(key, kept)
        self._size += entries.current_size() - before
        while self._size > self._most:
            self._drop_one()

    def _get(self, space: str, key: Key) -> Kept | None:
        entries = self._spaces.get(space)
        return None if entries is None else entries.get(key, None)

    def _drop_one(self) -> None:
        space, entries = max(self._spaces.items(), key=lambda each: each[1].current_size())
        before = entries.current_size()
        entries.popitem()
        self._size += entries.current_size() - before
        if not len(entries):
            del self._spaces[space]
