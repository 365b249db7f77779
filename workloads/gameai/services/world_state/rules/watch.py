"""PURE: what readers are sent, and what a watcher was sent."""

from collections.abc import Sequence

from gameai.services.world_state.rules.table import Filter, Table, Version, changed, every
from gameai.world_state.v1 import world_state_pb2 as pb

# Answers of a state that are kept, for readers that ask the same.
_MOST_KEPT = 16
# A whole answer is so old at most, in world time: who joins gets values of about now.
_MOST_AGE_US = 60_000_000

# Answers by what was asked: their world time and facts.
_Made = dict[tuple[Filter, int], tuple[int, list[pb.Fact]]]


class Answers:
    """Facts of a world as messages, made once for all who read the same of a state. Threads may use it at the same time."""

    def __init__(self, regions: Sequence[str]) -> None:
        self._regions = regions
        # Replaced together: what a thread has read of a state is never kept for another one.
        self._of: tuple[Table, _Made] = (Table(), {})

    def facts(
        self, table: Table, wanted: Filter, since: int, now_us: int
    ) -> tuple[int, list[pb.Fact]]:
        """The world time of the answer, and facts that were changed after a revision; -1: all of them."""
        of, made = self._of
        if table is not of or len(made) > _MOST_KEPT:
            made = {}
            self._of = table, made
        known = made.get((wanted, since))
        if known is None or not 0 <= now_us - known[0] <= _MOST_AGE_US:
            if since < 0:
                found = every(table, self._regions, wanted, now_us)
            else:
                found = changed(table, self._regions, wanted, since, now_us)
            known = made[wanted, since] = now_us, found
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
