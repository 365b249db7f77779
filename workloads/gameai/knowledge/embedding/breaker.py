"""PURE: what keeps callers from waiting for a service that does not answer."""

from collections.abc import Callable

# A service that is back is asked again after this time.
FAILURES, SECONDS = 3, 5.0


class Breaker:
    """Opens for 5 s after three failures without a success between them, and for as long after each further one.

    Threads may share it: a lost count makes it open one call later.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._until = 0.0
        self._why = ""

    def why(self) -> str:
        """The last failure while it is open; empty: the service may be asked."""
        return self._why if self._clock() < self._until else ""

    def failed(self, why: str) -> None:
        """The service did not answer, or refused to."""
        self._failures += 1
        if self._failures >= FAILURES:
            self._why, self._until = why, self._clock() + SECONDS

    def succeeded(self) -> None:
        """The service answered."""
        self._failures, self._until = 0, 0.0
