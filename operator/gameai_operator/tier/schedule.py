"""PURE: announced events: at certain times a tier has at least so many replicas."""

import datetime
import zoneinfo
from collections.abc import Iterable

from cronsim import CronSim, CronSimError

from gameai_operator.api.scaling import ScheduledFloor

# How far back a start is looked for, at most: the longest duration that the API allows.
_MOST_MINUTES = 7 * 24 * 60


def faults(floor: ScheduledFloor) -> tuple[str, ...]:
    """What is wrong with a row, a sentence each."""
    found = []
    try:
        zoneinfo.ZoneInfo(floor.time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        found.append(
            f"spec.scaling.schedule[{floor.name}].timeZone: {floor.time_zone} is not a time zone; "
            "use a name such as Europe/Paris or UTC"
        )
    try:
        CronSim(floor.cron, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    except CronSimError as error:
        found.append(
            f"spec.scaling.schedule[{floor.name}].cron: {floor.cron!r} is not a cron expression ({error}); "
            "use minute, hour, day of month, month, day of week: 0 19 * * 5"
        )
    return tuple(found)


def minimum(floors: Iterable[ScheduledFloor], now: datetime.datetime) -> tuple[int, str]:
    """The highest number that holds now, and its name; (0, "") where none does. `now` has a time zone."""
    active = [each for each in floors if not faults(each) and _active(each, now)]
    best = max(active, key=lambda each: each.min_replicas, default=None)
    return (best.min_replicas, best.name) if best else (0, "")


def _active(floor: ScheduledFloor, now: datetime.datetime) -> bool:
    """Whether an occurrence began at most `durationMinutes` ago."""
    zone = zoneinfo.ZoneInfo(floor.time_zone)
    local = now.astimezone(zone)
    duration = datetime.timedelta(minutes=min(floor.duration_minutes, _MOST_MINUTES))
    # A walk back from a moment later finds an occurrence that begins just now.
    backwards = CronSim(floor.cron, local + datetime.timedelta(minutes=1), reverse=True)
    began = next((each for each in backwards if each <= local), None)
    return began is not None and local - began < duration
