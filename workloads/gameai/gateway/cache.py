"""Answers that may be given again: least recently used first out, one engine call at a time for a key.

Not least frequently: counts that do not age keep what was once asked for often, and a full cache of it takes nothing new.
"""

from cachebox import LRUCache

MOST_ENTRIES = 50_000
# A longer answer is not kept, so that the cache has a size.
MOST_TEXT = 2000
Key = tuple[str, ...]


# An engine's answer: its text, its tier, and until when it is fresh and stale, in seconds of the monotonic clock.
# A plain tuple of such values is none of the garbage collector's concern: a full cache of objects costs 15 ms a look.
Kept = tuple[str, str, float, float]


class Cache:
    """Entries by key, `most` at most."""

    def __init__(self, most: int = MOST_ENTRIES) -> None:
        self._kept: LRUCache[Key, Kept] = LRUCache(most)

    def __len__(self) -> int:
        return len(self._kept)

    def fresh(self, key: Key, now: float) -> Kept | None:
        """The answer, if it is fresh."""
        kept: Kept | None = self._kept.get(key, None)
        return kept if kept is not None and now < kept[2] else None

    def stale(self, key: Key, now: float) -> Kept | None:
        """The answer, if it is at least better than a default; one that is too old goes."""
        kept: Kept | None = self._kept.get(key, None)
        if kept is not None and now >= kept[3]:
            self._kept.pop(key, None)
            return None
        return kept

    def put(self, key: Key, kept: Kept) -> None:
        """Keep an answer."""
        self._kept[key] = kept
