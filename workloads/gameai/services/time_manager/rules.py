"""PURE: the phases of a world's day, and where the next one begins."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gameai_contract.world_time import MICROSECOND, SECONDS_PER_DAY

HOUR = 3600 * MICROSECOND
DAY = SECONDS_PER_DAY * MICROSECOND
# Dawn and dusk last this long.
TWILIGHT_HOURS = 2


class Phase(StrEnum):
    """Part of a day."""

    NIGHT = "night"
    DAWN = "dawn"
    DAY = "day"
    DUSK = "dusk"


@dataclass(frozen=True, kw_only=True, slots=True)
class Hours:
    """The hours at which dawn and dusk begin."""

    dawn: int
    dusk: int

    def starts(self) -> tuple[tuple[int, Phase], ...]:
        """Hour and phase of every change in a day, in order."""
        return (
            (self.dawn, Phase.DAWN),
            (self.dawn + TWILIGHT_HOURS, Phase.DAY),
            (self.dusk, Phase.DUSK),
            (self.dusk + TWILIGHT_HOURS, Phase.NIGHT),
        )


def hours(settings: Mapping[str, str]) -> Hours:
    """The hours in the settings; the catalogue defines their bounds."""
    return Hours(dawn=int(settings["dawnHour"]), dusk=int(settings["duskHour"]))


def phase(world: int, kept: Hours) -> Phase:
    """The phase at a world time in µs; before dawn it is still the night of the day before."""
    hour = world % DAY / HOUR
    return next((each for start, each in reversed(kept.starts()) if hour >= start), Phase.NIGHT)


def next_phase(world: int, kept: Hours) -> int:
    """The world time in µs at which the next phase begins."""
    day = world - world % DAY
    starts = [start * HOUR for start, _ in kept.starts()]
    begins = [day + each for each in (*starts, DAY + starts[0])]
    return next(each for each in begins if each > world)


def next_hour(world: int) -> int:
    """The world time in µs at which the next hour begins."""
    return world - world % HOUR + HOUR
