"""PURE: memory that callers make the gateway hold, in bytes, with a part for each namespace and each world in it."""

from dataclasses import dataclass

# Of questions that are open, frames and answers that wait, and replies that are not whole yet. Beyond it each namespace
# has an equal part of it, and its worlds of that; beyond three times as much no namespace gets any.
MOST_BYTES = 32 << 20
# A question with its inquiry, timer and place in the queue takes 1.9 KiB beside its own text (measured with 98,304 of them).
QUESTION_BYTES = 2 << 10


def namespace(world: str) -> str:
    """The namespace of a world's key (`namespace/name`)."""
    return world.partition("/")[0]


@dataclass(slots=True)
class _Space:
    """A namespace: its bytes, and how many of its worlds hold some."""

    size: int = 0
    worlds: int = 0


@dataclass(slots=True)
class _World:
    space: _Space
    size: int = 0


class MemoryLedger:
    """Who holds how much. A world is its key, `namespace/name`."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.most = most
        self.total = 0
        self._worlds: dict[str, _World] = {}
        self._spaces: dict[str, _Space] = {}

    def hold(self, world: str, size: int) -> bool:
        """Hold so many bytes more, or fewer, for a world. True where it then holds more than it may."""
        held = self._worlds.get(world) or self._enter(world)
        self.total += size
        held.size += size
        held.space.size += size
        if not held.size:
            self._leave(world, held)
        return self.total > self.most and self.full(world)

    def full(self, world: str) -> bool:
        """Whether this world may hold no more memory."""
        if self.total <= self.most:
            return False
        space = self._spaces.get(namespace(world))
        part = self.most / max(1, len(self._spaces))
        if space is None or space.size <= part:
            # Others hold no more than their parts, unless there are many of them: all together at most.
            return self.total > 3 * self.most
        held = self._worlds.get(world)
        return held is not None and held.size > part / space.worlds

    def overdrawn(self, world: str) -> bool:
        """Whether memory is full and the namespace of this world itself holds more than its part."""
        space = self._spaces.get(namespace(world))
        if self.total <= self.most or space is None:
            return False
        return space.size > self.most / len(self._spaces)

    def _enter(self, world: str) -> "_World":
        name = namespace(world)
        space = self._spaces.get(name)
        if space is None:
            space = self._spaces[name] = _Space()
        space.worlds += 1
        held = self._worlds[world] = _World(space)
        return held

    def _leave(self, world: str, held: "_World") -> None:
        del self._worlds[world]
        held.space.worlds -= 1
        if not held.space.worlds:
            del self._spaces[namespace(world)]
