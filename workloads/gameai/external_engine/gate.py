"""PURE: whether the service is asked now: not while it asks for time, refuses the key, or fails again and again."""

_FAILURES = 5
_FIRST_SECONDS, _MOST_SECONDS = 5.0, 60.0


class Gate:
    """Closed for some time after errors; then the next requests say whether the service is well."""

    def __init__(self) -> None:
        self._until = 0.0
        self._why = ""
        self._failures = 0
        self._closed_at = float("-inf")

    def fault(self, now: float) -> str:
        """Why the service is not asked; empty while it is."""
        return self._why if now < self._until else ""

    def seconds(self, now: float) -> float:
        """How long it stays closed."""
        return max(0.0, self._until - now)

    def answered(self) -> None:
        """The service is well."""
        self._failures = 0

    def failed(self, why: str, began: float, now: float) -> None:
        """No answer to a request, or an error of the service itself. The fifth in a row closes the gate, and each one after it for longer.

        Requests that began before the gate was closed say nothing new.
        """
        if began <= self._closed_at:
            return
        self._failures += 1
        beyond = self._failures - _FAILURES
        if beyond >= 0:
            self.close(why, min(_MOST_SECONDS, _FIRST_SECONDS * 2 ** min(beyond, 10)), now)

    def close(self, why: str, seconds: float, now: float) -> None:
        """Do not ask for so long; a longer time that was given before stays."""
        if now + seconds > self._until:
            self._until, self._why, self._closed_at = now + seconds, why, now
