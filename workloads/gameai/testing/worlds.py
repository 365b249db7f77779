"""Worlds for tests of services with state."""

from collections.abc import Sequence

from gameai.bus.subjects import World
from gameai.kit import KitWorld


class FixedWorlds:
    """These worlds, at one time (µs of world time). A call that names none is about the first one."""

    def __init__(self, *worlds: World, now_us: int = 0) -> None:
        self.worlds = {f"{each.namespace}/{each.name}": each for each in worlds}
        self.scope = next(iter(self.worlds))
        self.now_us = now_us

    def names(self) -> Sequence[str]:
        """Their names."""
        return tuple(self.worlds)

    def find(self, name: str) -> KitWorld | None:
        """The world of this name."""
        named = name or self.scope
        if named not in self.worlds:
            return None
        return KitWorld(name=named, now_us=lambda: self.now_us, on_bus=lambda: self.on_bus(named))

    def on_bus(self, name: str) -> World | None:
        """Who a world is on the bus."""
        return self.worlds[name]
