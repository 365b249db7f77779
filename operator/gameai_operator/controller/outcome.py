"""PURE: how a pass over one object ended."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a pass ended: nothing more to do, or look again after so many seconds.

    `stale` means that the root was not what the store said, so that nothing else was done. `failed` means that some
    writes failed and are to be tried again, later each time, and not before `retry_after_seconds`.
    """

    requeue_after_seconds: float | None = None
    stale: bool = False
    failed: bool = False
    retry_after_seconds: float = 0.0

    def and_then(self, other: "Outcome") -> "Outcome":
        """Both, one after the other: the earlier wish counts."""
        wishes = [
            each.requeue_after_seconds
            for each in (self, other)
            if each.requeue_after_seconds is not None
        ]
        return Outcome(
            requeue_after_seconds=min(wishes, default=None),
            stale=self.stale or other.stale,
            failed=self.failed or other.failed,
            retry_after_seconds=max(self.retry_after_seconds, other.retry_after_seconds),
        )
