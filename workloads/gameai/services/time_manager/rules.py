"""PURE: the phases of a world's day, where the next one begins, and its last changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gameai_contract.world_time import (
    MICROSECOND,
    SECONDS_PER_DAY,
    Anchor,
    anchor_at,
    wall_time,
    world_time,
)

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


def phase_began(world: int, kept: Hours) -> int:
    """The world time in µs at which the present phase began; in the first night of a world it may be before 0."""
    day = world - world % DAY
    starts = [start * HOUR for start, _ in kept.starts()]
    begins = [day + each for each in (starts[-1] - DAY, *starts)]
    return max(each for each in begins if each <= world)


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """A phase that began, or the clock that turned (`anchor`): at a wall time and a world time, both in µs."""

    wall: int
    world: int
    anchor: Anchor | None = None

    @property
    def sequence(self) -> int:
        """The same at every replica that knows the same anchors, and rising with the wall clock."""
        return 2 * self.wall + (self.anchor is not None)


def turns(anchors: Sequence[Anchor], kept: Hours, wall: int) -> list[Turn]:
    """The last turn of the clock and the last phase that began, in order; none of before the first anchor that is known."""
    present = anchor_at(anchors, wall)
    found = []
    if present.effective_at <= wall:
        found.append(Turn(wall=present.effective_at, world=present.world, anchor=present))
    began = phase_began(world_time(anchors, wall), kept)
    if began >= anchors[0].world:
        # Seen from the beginning, so that it does not depend on when it is asked.
        reached = wall_time(anchors, began, 0)
        found += (
            [Turn(wall=reached, world=began)] if reached is not None and reached <= wall else []
        )
    return sorted(found, key=lambda each: each.sequence)


def next_turn(anchors: Sequence[Anchor], following: int, wall: int) -> int | None:
    """The wall time in µs of what comes first: a world time, or an anchor that takes effect; None if neither comes."""
    ahead = [each.effective_at for each in anchors if each.effective_at > wall]
    reached = wall_time(anchors, following, wall)
    return min([*ahead, *([reached] if reached is not None else [])], default=None)
