"""PURE: memory that callers make the gateway hold, in bytes, with a part for each namespace and each world in it."""

from collections import defaultdict

# Of questions that are open, frames that wait, and replies that are not whole yet. Beyond it each namespace has an equal
# part of it, and beyond twice as much nobody has any.
MOST_BYTES = 32 << 20
# A question with its job, timer and place in the queue takes 1.9 KiB beside its own text (measured with 98,304 of them).
QUESTION_BYTES = 2 << 10


def namespace(world: str) -> str:
    """The namespace of a world's key (`namespace/name`)."""
    return world.partition("/")[0]


class Ledger:
    """Who holds how much. A world is its key, `namespace/name`."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.most = most
        self.total = 0
        self._worlds: dict[str, int] = defaultdict(int)
        self._namespaces: dict[str, int] = defaultdict(int)
        # How many worlds of a namespace hold something.
        self._many: dict[str, int] = defaultdict(int)

    def hold(self, world: str, size: int) -> bool:
        """Hold so many bytes more, or fewer, for a world. True where it then holds more than it may."""
        space = namespace(world)
        before = self._worlds[world]
        after = before + size
        self.total += size
        self._namespaces[space] += size
        self._worlds[world] = after
        self._many[space] += (after > 0) - (before > 0)
        if not after:
            del self._worlds[world]
        if not self._namespaces[space]:
            del self._namespaces[space], self._many[space]
        return self.total > self.most and self.full(world)

    def full(self, world: str) -> bool:
        """Whether there is no memory for more of this world."""
        if self.total <= self.most:
            return False
        space = namespace(world)
        part = self.most / len(self._namespaces)
        if self._namespaces.get(space, 0) <= part:
            return self.total > 2 * self.most
        return self.total > 2 * self.most or self._worlds.get(world, 0) > part / self._many[space]
