"""PURE: what keeps callers from waiting for a service that does not answer."""

from collections.abc import Callable

FAILURES, SECONDS = 3, 5.0


class Breaker:
    """Opens for 5 s after three failures without a success between them; then one call at a time tries whether the service is back.

    Threads may share it: a lost count makes it open one call later.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._until = 0.0
        self._why = ""

    def entered(self) -> str:
        """Empty: the caller may ask the service. Else the last failure, and the service is not to be asked."""
        if self._failures < FAILURES:
            return ""
        now = self._clock()
        if now < self._until:
            return self._why
        # The others wait for what becomes of this one.
        self._until = now + SECONDS
        return ""

    def failed(self, why: str) -> None:
        """The service did not answer, or refused to."""
        self._failures += 1
        self._why, self._until = why, self._clock() + SECONDS

    def succeeded(self) -> None:
        """The service answered."""
        self._failures = 0
