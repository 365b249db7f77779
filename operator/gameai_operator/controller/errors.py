"""PURE: what can go wrong between us and the API server.

ApiError          an answer that is not a success, or no answer (status 0)
NotLeadingError   a write was held back: this process does not lead, or may not any more
"""

# The API server answers 500, not 422, for a patch that can never succeed.
_TYPED_PATCH = "failed to create typed patch object"


class ApiError(Exception):
    """The API server's answer. `status` is the HTTP status, 0 where no answer came."""

    def __init__(
        self, status: int, reason: str, message: str, *, retry_after_seconds: float = 0.0
    ) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_seconds = retry_after_seconds

    @property
    def explained(self) -> str:
        """Status and message for a person; an answer that never came is named as that."""
        return f"{self.status} {self.message}" if self.status else f"no answer: {self.message}"

    @property
    def permanent(self) -> bool:
        """Whether the same request can never succeed."""
        return self.status in (400, 422) or (self.status == 500 and _TYPED_PATCH in self.message)


class NotLeadingError(Exception):
    """A write was held back because this process may not write."""
