"""PURE: how many play in a world: the sum of what its game servers said lately."""

from dataclasses import dataclass

# An older report is stale, which is not zero.
FRESH_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Report:
    """What one stream said, and when (seconds of one clock)."""

    online: int
    lobby: int
    at: float


class Players:
    """The newest report of each stream, by world."""

    def __init__(self) -> None:
        self._reports: dict[str, dict[int, Report]] = {}

    def report(self, world: str, stream: int, report: Report) -> None:
        """A stream says who plays."""
        self._reports.setdefault(world, {})[stream] = report

    def ended(self, stream: int) -> None:
        """A stream is over: its players are told of by the next one, or not at all."""
        for world, reports in list(self._reports.items()):
            reports.pop(stream, None)
            if not reports:
                del self._reports[world]

    def worlds(self, now: float) -> dict[str, tuple[int, int]]:
        """Online and in lobbies, by world; worlds without a fresh report are absent."""
        found = {}
        for world, reports in self._reports.items():
            fresh = [each for each in reports.values() if now - each.at <= FRESH_SECONDS]
            if fresh:
                found[world] = sum(e.online for e in fresh), sum(e.lobby for e in fresh)
        return found
