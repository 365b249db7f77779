"""PURE: announced events: at certain times a tier has at least so many replicas."""

import datetime
from collections.abc import Iterable

from gameai_operator.api import cron
from gameai_operator.api.scaling import ScheduledFloor

# How far back a start is looked for, at most: the longest duration that the API allows.
_MOST_MINUTES = 7 * 24 * 60


def faults(floor: ScheduledFloor) -> tuple[str, ...]:
    """What is wrong with a row, a sentence each."""
    row = f"spec.scaling.schedule[{floor.name}]"
    found = (
        cron.zone_fault(f"{row}.timeZone", floor.time_zone),
        cron.cron_fault(f"{row}.cron", floor.cron),
    )
    return tuple(filter(None, found))


def minimum(floors: Iterable[ScheduledFloor], now: datetime.datetime) -> tuple[int, str]:
    """The highest number that holds now, and its name; (0, "") where none does. `now` has a time zone."""
    active = [each for each in floors if not faults(each) and _active(each, now)]
    best = max(active, key=lambda each: each.min_replicas, default=None)
    return (best.min_replicas, best.name) if best else (0, "")


def _active(floor: ScheduledFloor, now: datetime.datetime) -> bool:
    """Whether an occurrence began at most `durationMinutes` ago."""
    duration = datetime.timedelta(minutes=min(floor.duration_minutes, _MOST_MINUTES))
    began = cron.last(floor.cron, floor.time_zone, now)
    return began is not None and now - began < duration
