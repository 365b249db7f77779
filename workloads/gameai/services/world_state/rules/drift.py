"""PURE: a value that moves toward another one with the time of the world, in whole steps."""

from dataclasses import dataclass

_HOUR_US = 3_600_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """So many steps in an hour of world time, until the value is `to`."""

    per_hour: int
    to: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Dated:
    """A value, and the world time (µs) from which its drift counts."""

    value: int
    at_us: int


def present(given: Dated, drift: Drift, now_us: int) -> int:
    """The value at a time of the world. Before `at_us`, after its clock was set back, it is as it was."""
    steps = drift.per_hour * max(0, now_us - given.at_us) // _HOUR_US
    left = drift.to - given.value
    return drift.to if abs(left) <= steps else given.value + (steps if left > 0 else -steps)


def rebased(given: Dated, drift: Drift, now_us: int) -> Dated:
    """The present value, dated at its last step: frequent changes must not keep a value from drifting."""
    value = present(given, drift, now_us)
    if value == drift.to or not drift.per_hour:
        return Dated(value=value, at_us=now_us)
    taken = -(-abs(value - given.value) * _HOUR_US // drift.per_hour)
    return Dated(value=value, at_us=min(given.at_us + taken, now_us))
