"""PURE: what a watcher has been sent, and what it is sent next."""

from collections.abc import Sequence

from gameai.services.world_state.rules.table import Filter, Table, Version, found
from gameai.world_state.v1 import world_state_pb2 as pb


class Deltas:
    """The messages of watchers about one state of a world: watchers that have been sent the same get the same message."""

    def __init__(self) -> None:
        self._table = Table()
        self._made: dict[tuple[Filter, int], pb.WatchFactsResponse] = {}

    def message(
        self, table: Table, regions: Sequence[str], wanted: Filter, since: int, now_us: int
    ) -> pb.WatchFactsResponse:
        """Facts that were changed after a revision, -1: all of them."""
        if table is not self._table:
            self._table, self._made = table, {}
        known = self._made.get((wanted, since))
        if known is None:
            known = pb.WatchFactsResponse(
                facts=found(table, regions, wanted, now_us, since),
                revision=table.revision,
                world_us=now_us,
                complete=since < 0,
            )
            # All facts are different at each time, as they drift.
            if since >= 0:
                self._made[wanted, since] = known
        return known


class Watch:
    """Of one stream: the state that was sent last."""

    def __init__(self) -> None:
        self.version: Version | None = None
        self._rules = -1

    def since(self, table: Table) -> int:
        """The revision after which changes are to be sent; -1: everything, as at first, with other rules, or after a restore."""
        known, self.version = self.version, table.version
        rules, self._rules = self._rules, table.rules_revision
        if known is None or rules != table.rules_revision or table.revision <= known[0]:
            return -1
        return known[0]
