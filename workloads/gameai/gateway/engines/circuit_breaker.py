"""PURE: when a replica is left alone, and when it is tried again."""

from dataclasses import dataclass

MOST_FAILURES = 5
OPEN_SECONDS = 5.0
# With so many unanswered and not a byte for so long, a replica is asked whether it lives.
SILENT_SECONDS = 2.0
# A new replica gets all its slots after so long.
SLOW_START_SECONDS = 10.0


# A replica that says it is full is asked again after so long; twice as long each time in a row, at most the second.
FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 0.02, 1.0


@dataclass(slots=True)
class Breaker:
    """Opens after failures in a row: refused, reset, silence, and every reply that is neither an answer nor about the question.

    While it is open nothing is sent. After `OPEN_SECONDS` the replica's health is asked after: no question of a player
    is the trial. One that lives is closed again, and opens at its next failure unless it answers first. Times are
    seconds of one clock.
    """

    failures: int = 0
    opened: float | None = None
    paused_until: float = 0.0
    _pause: float = 0.0

    def allows(self, now: float) -> bool:
        """Whether a request may be sent."""
        return self.opened is None and now >= self.paused_until

    def due(self, now: float) -> bool:
        """Whether it is open and its health should be asked after."""
        return self.opened is not None and now >= self.opened + OPEN_SECONDS

    def succeeded(self) -> None:
        """It answered."""
        self.failures, self.opened = 0, None
        self.paused_until = self._pause = 0.0

    def busy(self, now: float) -> None:
        """It is well and full: nothing is sent for a moment. Else it would fail faster than others answer, and get all."""
        self._pause = min(MOST_PAUSE_SECONDS, max(FIRST_PAUSE_SECONDS, 2 * self._pause))
        self.paused_until = now + self._pause

    def failed(self, now: float) -> None:
        """It failed."""
        self.failures += 1
        if self.opened is None and self.failures >= MOST_FAILURES:
            self.opened = now

    def condemned(self, now: float) -> None:
        """It was asked whether it lives, and does not."""
        self.failures, self.opened = MOST_FAILURES, now

    def lives(self) -> bool:
        """Its health is well; whether it was open before."""
        was_open = self.opened is not None
        if was_open:
            self.failures, self.opened = MOST_FAILURES - 1, None
        return was_open


def part(slots: int, gateways: int) -> int:
    """A gateway's part of a replica's slots, rounded up: fewer than one request a gateway wait in the engine for it."""
    return max(1, -(-slots // max(1, gateways)))


def warm_slots(slots: int, age: float) -> int:
    """The slots of a replica that is known for so many seconds: from one to all of them, evenly."""
    if age >= SLOW_START_SECONDS:
        return slots
    return max(1, int(slots * age / SLOW_START_SECONDS))
