"""PURE: how many play in a world: the sum of the fresh reports of its game servers."""

from dataclasses import dataclass

from gameai_contract.inference import MOST_PLAYERS

# An older report is stale, which is not zero.
FRESH_SECONDS = 60.0
MOST_INSTANCE = 64


@dataclass(frozen=True, slots=True)
class Report:
    """What one game server said, and when (seconds of one clock).

    `instance` names the game server among those of all callers; empty: its stream does.
    """

    online: int
    lobby: int
    at: float
    instance: str = ""
    sequence: int = 0


class Players:
    """The newest report of each stream and of each instance, by world. Numbers are cut at `MOST_PLAYERS`."""

    def __init__(self) -> None:
        self._reports: dict[str, dict[int, Report]] = {}

    def report(self, world: str, stream: int, report: Report) -> None:
        """Take a report. One that is older than the last of its instance, on whatever stream, is ignored."""
        reports = self._reports.setdefault(world, {})
        same = [
            other
            for other, held in reports.items()
            if report.instance and held.instance == report.instance
        ]
        if any(reports[other].sequence >= report.sequence for other in same):
            return
        for other in same:
            del reports[other]
        reports[stream] = report

    def ended(self, stream: int) -> None:
        """A stream is over: its players are counted by the next one, or not at all."""
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
                found[world] = (
                    sum(min(each.online, MOST_PLAYERS) for each in fresh),
                    sum(min(each.lobby, MOST_PLAYERS) for each in fresh),
                )
        return found
