"""EDGE: holds requests back while the API server does not answer, so that a starting API server is not overloaded."""

import time
from collections.abc import Callable

_SILENT_IN_A_ROW = 3
_PROBE_SECONDS = 2.0


class Breaker:
    """Lets everything pass until several requests in a row had no answer; from then on one every two seconds, until one has.

    An answer of any status is an answer. Renewals of the Lease pass always: they are few, and time is short for them.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._silent = 0
        self._probe_at = 0.0

    def admits(self) -> bool:
        """Whether a request may be sent now."""
        if self._silent < _SILENT_IN_A_ROW:
            return True
        now = self._clock()
        if now < self._probe_at:
            return False
        self._probe_at = now + _PROBE_SECONDS
        return True

    def heard(self) -> None:
        """A request was answered."""
        self._silent = 0

    def missed(self) -> None:
        """A request was not."""
        self._silent += 1
