"""The worlds of a service: one for each pod today, and any number in one process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gameai.bus import subjects
from gameai.bus.subjects import World
from gameai.serving import LiveWorld


@dataclass(frozen=True, kw_only=True, slots=True)
class KitWorld:
    """A world as a service sees it: `<namespace>/<name>`, its clock (µs of world time), and who it is on the bus.

    `on_bus` is None where the cluster has no event bus.
    """

    name: str
    now_us: Callable[[], int]
    on_bus: Callable[[], World | None]


class Worlds(Protocol):
    """The worlds of a process, by `<namespace>/<name>`.

    Replicas with the same `scope` have the same worlds; others may use the same database. No world is in two scopes.
    """

    @property
    def scope(self) -> str:
        """Of its replicas one publishes at a time."""

    def names(self) -> Sequence[str]:
        """The names of all worlds that are here now."""

    def find(self, name: str) -> KitWorld | None:
        """The world of this name; the empty name is that of the only one. None: it is not here."""


class OneWorld:
    """The world whose service this process is."""

    def __init__(self, live: LiveWorld) -> None:
        self._world = KitWorld(
            name=f"{live.config.namespace}/{live.config.world}",
            now_us=live.now,
            on_bus=lambda: subjects.configured(live.config),
        )

    @property
    def scope(self) -> str:
        """The name of the world."""
        return self._world.name

    def names(self) -> Sequence[str]:
        """The name of the world."""
        return (self._world.name,)

    def find(self, name: str) -> KitWorld | None:
        """The world, if it has this name, or none is given."""
        return self._world if name in ("", self._world.name) else None
