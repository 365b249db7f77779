"""PURE: what readers are sent, and what a watcher was sent."""

from collections.abc import Sequence

from gameai.services.world_state.rules.table import Filter, Table, Version, changed, every
from gameai.world_state.v1 import world_state_pb2 as pb

# Answers of a state that are kept, for readers that ask the same.
_MOST_KEPT = 16
# A whole answer is so old at most, in world time: who joins gets values of about now.
_MOST_AGE_US = 60_000_000


class Answers:
    """Facts of a world as messages, made once for all who read the same of a state. Not for two threads at a time."""

    def __init__(self, regions: Sequence[str]) -> None:
        self._regions = regions
        self._table = Table()
        self._made: dict[tuple[Filter, int], tuple[int, list[pb.Fact]]] = {}

    def facts(
        self, table: Table, wanted: Filter, since: int, now_us: int
    ) -> tuple[int, list[pb.Fact]]:
        """The world time of the answer, and facts that were changed after a revision; -1: all of them."""
        if table is not self._table or len(self._made) > _MOST_KEPT:
            self._table, self._made = table, {}
        known = self._made.get((wanted, since))
        if known is None or not 0 <= now_us - known[0] <= _MOST_AGE_US:
            if since < 0:
                found = every(table, self._regions, wanted, now_us)
            else:
                found = changed(table, self._regions, wanted, since, now_us)
            known = self._made[wanted, since] = now_us, found
        return known


class Watch:
    """Of one stream: the state that was sent last, and whether the watcher knows that it may be old."""

    def __init__(self) -> None:
        self.version: Version | None = None
        self.stale = False
        self._loaded = ""

    def since(self, table: Table) -> int:
        """The revision after which changes are to be sent; -1: everything, as at first, with other rules, or after a restore."""
        known, self.version = self.version, table.version
        loaded, self._loaded = self._loaded, table.loaded
        return known[0] if known is not None and loaded == table.loaded else -1
