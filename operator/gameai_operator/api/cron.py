"""PURE: times that repeat: a cron expression in a time zone."""

import datetime
import zoneinfo
from collections.abc import Iterable, Iterator

from cronsim import CronSim, CronSimError

_FIELDS = 5
# An hour that comes twice, and a minute.
_TWICE = datetime.timedelta(minutes=121)


def zone_fault(field: str, zone: str) -> str:
    """What is wrong with a time zone, a sentence; empty: nothing."""
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return f"{field}: {zone} is not a time zone; use a name such as Europe/Paris or UTC"
    return ""


def cron_fault(field: str, cron: str) -> str:
    """What is wrong with a cron expression, a sentence; empty: nothing."""
    five = "use minute, hour, day of month, month, day of week: 0 19 * * 5"
    # A sixth field would be seconds.
    if len(cron.split()) != _FIELDS:
        return f"{field}: {cron!r} is not a cron expression of five fields; {five}"
    try:
        CronSim(cron, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    except CronSimError as error:
        return f"{field}: {cron!r} is not a cron expression ({error}); {five}"
    return ""


def last(cron: str, zone: str, now: datetime.datetime) -> datetime.datetime | None:
    """The last occurrence until now; None where there was none. `now` has a time zone."""
    # A walk back from later finds an occurrence that begins just now, and those of an hour that comes twice.
    later = now.astimezone(zoneinfo.ZoneInfo(zone)) + _TWICE
    walk = CronSim(cron, later.replace(fold=1), reverse=True)
    return next((each for each in _in_utc(walk) if each <= now), None)


def following(cron: str, zone: str, now: datetime.datetime) -> datetime.datetime | None:
    """The first occurrence after now; None where there is none. `now` has a time zone."""
    earlier = now.astimezone(zoneinfo.ZoneInfo(zone)) - _TWICE
    walk = CronSim(cron, earlier.replace(fold=0))
    return next((each for each in _in_utc(walk) if each > now), None)


def _in_utc(walk: Iterable[datetime.datetime]) -> Iterator[datetime.datetime]:
    """Two times of one zone are compared by what a clock on the wall shows, which goes back once a year."""
    return (each.astimezone(datetime.UTC) for each in walk)
