"""PURE: when a replica is left alone, and when it is tried again."""

from dataclasses import dataclass

MOST_FAILURES = 5
OPEN_SECONDS = 5.0
# With so many unanswered and not a byte for so long, a replica is asked whether it lives.
SILENT_SECONDS = 2.0
# A new replica gets all its slots after so long.
SLOW_START_SECONDS = 10.0


@dataclass(slots=True)
class Breaker:
    """Opens after failures in a row: refused, reset, 5xx, silence. Our own deadlines are none of them.

    While it is open nothing is sent; after `OPEN_SECONDS` one request is the trial.
    """

    failures: int = 0
    opened: float | None = None
    trial: bool = False

    def allows(self, now: float) -> bool:
        """Whether a request may be sent; times are seconds of one clock."""
        if self.opened is None:
            return True
        return not self.trial and now >= self.opened + OPEN_SECONDS

    def sent(self) -> None:
        """A request goes out; of an open one it is the trial."""
        if self.opened is not None:
            self.trial = True

    def succeeded(self) -> None:
        """It answered."""
        self.failures, self.opened, self.trial = 0, None, False

    def failed(self, now: float) -> bool:
        """It failed; whether it is open by that."""
        self.failures += 1
        if self.trial or self.failures >= MOST_FAILURES:
            self.opened, self.trial = now, False
        return self.opened is not None

    def condemned(self, now: float) -> None:
        """It was asked whether it lives, and does not."""
        self.failures = MOST_FAILURES
        self.opened, self.trial = now, False

    def undecided(self) -> None:
        """The trial ended without a verdict, by a deadline of ours: the next one may be it."""
        self.trial = False


def part(slots: int, gateways: int) -> int:
    """A gateway's part of a replica's slots, rounded up: fewer than one request a gateway wait in the engine for it."""
    return max(1, -(-slots // max(1, gateways)))


def warm_slots(slots: int, age: float) -> int:
    """The slots of a replica that is known for so many seconds: from one to all of them, evenly."""
    if age >= SLOW_START_SECONDS:
        return slots
    return max(1, int(slots * age / SLOW_START_SECONDS))
