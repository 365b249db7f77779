"""PURE: world time as a function of anchors and the wall clock, and the calendar of every world.

An anchor says: from this instant on, the world's clock stands at so much and runs at such a rate. A change of rate is a
new anchor in the near future, so that every replica, however late its configuration reaches it, turns at the same
instant. Everything is a whole number or a ratio of such, so that no replica rounds differently: times in microseconds.
"""

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

MICROSECOND = 1_000_000
MINUTES_PER_DAY = 1440
SECONDS_PER_DAY = 86_400
DAYS_PER_SEASON = 90
SEASONS = ("Spring", "Summer", "Autumn", "Winter")
DAYS_PER_YEAR = DAYS_PER_SEASON * len(SEASONS)
# A world begins in the morning of its first day.
START_MICROSECONDS = 8 * 3600 * MICROSECOND

_TIME = "%Y-%m-%dT%H:%M:%SZ"


MOST_DAY_MINUTES = 10080
_SPEED = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3})?")
_WORLD_SECONDS = re.compile(r"[0-9]{1,18}(\.[0-9]{1,6})?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Anchor:
    """From `effective_at` (µs since the Unix epoch) on, world time is `world` (µs) and goes on at `rate`.

    The rate is `speed` × 1440 / `day_length_minutes` world seconds a second.
    """

    effective_at: int
    world: int
    speed: Decimal
    day_length_minutes: int

    @property
    def rate(self) -> Fraction:
        """World seconds for each second of the wall clock."""
        return Fraction(self.speed) * MINUTES_PER_DAY / self.day_length_minutes

    def at(self, now: int) -> int:
        """World time at a wall time, both in µs, rounded down; before the anchor took effect too."""
        rate = self.rate
        return self.world + (now - self.effective_at) * rate.numerator // rate.denominator

    def document(self) -> dict[str, Any]:
        """The anchor as status and configuration spell it."""
        return {
            "effectiveAt": format_time(self.effective_at),
            "worldSeconds": format_seconds(self.world),
            "speed": str(self.speed),
            "dayLengthMinutes": self.day_length_minutes,
        }


def parse_anchor(document: Mapping[str, Any]) -> Anchor:
    """The anchor of a document. Raises KeyError or ValueError if the document is not an anchor.

    Every part is bounded before it is a number: others than we may have written the document, and arithmetic with a
    speed of 1e200000000 would not end.
    """
    speed, seconds = str(document["speed"]), str(document["worldSeconds"])
    day = document["dayLengthMinutes"]
    if not _SPEED.fullmatch(speed):
        raise ValueError("speed must be from 0 to 999.999")
    if type(day) is not int or not 1 <= day <= MOST_DAY_MINUTES:
        raise ValueError(
            f"dayLengthMinutes must be a whole number from 1 to {MOST_DAY_MINUTES}, without quotes"
        )
    if not _WORLD_SECONDS.fullmatch(seconds):
        raise ValueError("worldSeconds must have up to 18 digits and 6 decimals")
    try:
        effective_at = parse_time(document["effectiveAt"])
    except (ValueError, TypeError) as error:
        raise ValueError("effectiveAt must be a time such as 2026-11-22T09:00:00Z") from error
    if effective_at < 0:
        raise ValueError("effectiveAt must not be before 1970")
    return Anchor(
        effective_at=effective_at,
        world=int(Decimal(seconds) * MICROSECOND),
        speed=Decimal(speed),
        day_length_minutes=day,
    )


def anchor_at(anchors: Sequence[Anchor], now: int) -> Anchor:
    """The anchor in force: the last that took effect, else the first. `anchors` are in order and not empty."""
    return next((each for each in reversed(anchors) if each.effective_at <= now), anchors[0])


def world_time(anchors: Sequence[Anchor], now: int) -> int:
    """World time in µs at a wall time in µs since the Unix epoch; 0 where the first anchor is so far ahead that it would be less."""
    return max(0, anchor_at(anchors, now).at(now))


def wall_time(anchors: Sequence[Anchor], world: int, now: int) -> int | None:
    """The first wall time from `now` on at which world time is at least `world`; None if it never comes.

    According to the anchors known now. A later anchor may make it earlier or later.
    """
    ahead = [each for each in anchors if each.effective_at > now]
    here = anchor_at(anchors, now)
    for anchor, until in zip((here, *ahead), (*(a.effective_at for a in ahead), None), strict=True):
        start = max(now, anchor.effective_at)
        if anchor.at(start) >= world:
            return start
        if not anchor.rate:
            continue
        wait = -((anchor.world - world) * anchor.rate.denominator // anchor.rate.numerator)
        reached = anchor.effective_at + wait
        if until is None or reached < until:
            return reached
    return None


def follow(
    anchors: Sequence[Anchor], effective_at: int, speed: Decimal, day_length_minutes: int
) -> Anchor:
    """The anchor that goes on, without a jump, from where the others will be at `effective_at`."""
    return Anchor(
        effective_at=effective_at,
        world=world_time(anchors, effective_at),
        speed=speed,
        day_length_minutes=day_length_minutes,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Calendar:
    """World time as people read it: year and day of year from 1, season, hour, minute, second."""

    year: int
    day: int
    season: str
    hour: int
    minute: int
    second: int


def calendar(world: int) -> Calendar:
    """The calendar of a world time in µs; a year has four seasons of 90 days."""
    seconds = world // MICROSECOND
    days, rest = divmod(seconds, SECONDS_PER_DAY)
    year, day = divmod(days, DAYS_PER_YEAR)
    return Calendar(
        year=year + 1,
        day=day + 1,
        season=SEASONS[day // DAYS_PER_SEASON],
        hour=rest // 3600,
        minute=rest // 60 % 60,
        second=rest % 60,
    )


def parse_time(text: str) -> int:
    """µs since the Unix epoch of an RFC 3339 time in UTC with whole seconds. Raises ValueError."""
    moment = datetime.datetime.strptime(text, _TIME).replace(tzinfo=datetime.UTC)
    return int(moment.timestamp()) * MICROSECOND


def format_time(microseconds: int) -> str:
    """The RFC 3339 time of whole seconds."""
    moment = datetime.datetime.fromtimestamp(microseconds // MICROSECOND, datetime.UTC)
    return moment.strftime(_TIME)


def format_seconds(microseconds: int) -> str:
    """Seconds as a decimal without trailing zeros: `28800`, `12.5`."""
    whole, part = divmod(abs(microseconds), MICROSECOND)
    sign = "-" if microseconds < 0 else ""
    return f"{sign}{whole}.{part:06d}".rstrip("0").rstrip(".")
