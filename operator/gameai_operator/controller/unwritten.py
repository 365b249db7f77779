"""PURE: writes of children that were not done, and for how long."""

from dataclasses import dataclass

from gameai_operator.controller.kind import RejectedWrite

# A write that failed this often in a row is reported; a single failure is usually over at the next try.
FAILURES_REPORTED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Unwritten:
    """What of a root's children could not be written at the last pass, and how often that was so in a row."""

    rejections: tuple[RejectedWrite, ...] = ()
    failures: tuple[RejectedWrite, ...] = ()
    tries: int = 0

    @property
    def reported(self) -> tuple[RejectedWrite, ...]:
        """Failures that have lasted."""
        return self.failures if self.tries >= FAILURES_REPORTED else ()


NOTHING_UNWRITTEN = Unwritten()
