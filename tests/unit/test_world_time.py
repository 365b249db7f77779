import itertools
from decimal import Decimal
from typing import Any

import pytest
from gameai_contract.world_time import (
    MICROSECOND,
    START_MICROSECONDS,
    Anchor,
    anchor_at,
    calendar,
    follow,
    format_seconds,
    parse_anchor,
    parse_time,
    wall_time,
    world_time,
)
from hypothesis import given
from hypothesis import strategies as st

T0 = parse_time("2026-11-22T09:00:00Z")
SECOND = MICROSECOND
FIRST = Anchor(effective_at=T0, world=START_MICROSECONDS, speed=Decimal(1), day_length_minutes=48)
speeds = st.decimals(min_value=0, max_value=999, places=3)
days = st.integers(min_value=1, max_value=10080)
waits = st.integers(min_value=0, max_value=10**12)


def chain(changes: list[tuple[int, Decimal, int]]) -> list[Anchor]:
    anchors = [FIRST]
    for wait, speed, day in changes:
        anchors.append(follow(anchors, anchors[-1].effective_at + wait, speed, day))
    return anchors


chains = st.lists(st.tuples(waits, speeds, days), max_size=4).map(chain)


def test_a_day_of_48_minutes_passes_in_48_minutes() -> None:
    assert world_time([FIRST], T0 + 48 * 60 * SECOND) - START_MICROSECONDS == 86_400 * SECOND


def test_a_world_begins_on_the_first_morning() -> None:
    found = calendar(START_MICROSECONDS)
    assert (found.year, found.day, found.season, found.hour) == (1, 1, "Spring", 8)


@pytest.mark.parametrize(
    ("days", "year", "day", "season"),
    [
        (0, 1, 1, "Spring"),
        (89, 1, 90, "Spring"),
        (90, 1, 91, "Summer"),
        (180, 1, 181, "Autumn"),
        (359, 1, 360, "Winter"),
        (360, 2, 1, "Spring"),
    ],
)
def test_a_year_has_four_seasons_of_ninety_days(
    days: int, year: int, day: int, season: str
) -> None:
    found = calendar(days * 86_400 * SECOND)
    assert (found.year, found.day, found.season) == (year, day, season)


@given(chains)
def test_no_change_of_the_clock_makes_world_time_jump(anchors: list[Anchor]) -> None:
    for before, after in itertools.pairwise(anchors):
        assert after.at(after.effective_at) == before.at(after.effective_at)


@given(chains, st.integers(min_value=0, max_value=10**13), st.integers(0, 10**9))
def test_world_time_never_goes_back(anchors: list[Anchor], since: int, more: int) -> None:
    assert world_time(anchors, T0 + since) <= world_time(anchors, T0 + since + more)


@given(chains)
def test_an_anchor_survives_being_written_down(anchors: list[Anchor]) -> None:
    for each in anchors:
        # Anchors of an operator lie on whole seconds.
        whole = Anchor(
            effective_at=each.effective_at // SECOND * SECOND,
            world=each.world,
            speed=each.speed,
            day_length_minutes=each.day_length_minutes,
        )
        assert parse_anchor(whole.document()) == whole


@given(chains, st.integers(0, 10**12), st.integers(0, 10**14))
def test_the_wall_time_of_a_world_time_is_the_first_that_reaches_it(
    anchors: list[Anchor], since: int, ahead: int
) -> None:
    now = T0 + since
    wanted = world_time(anchors, now) + ahead
    found = wall_time(anchors, wanted, now)
    if found is None:
        assert world_time(anchors, anchors[-1].effective_at + 10**18) < wanted or (
            anchors[-1].rate == 0
        )
        return
    assert found >= now
    assert world_time(anchors, found) >= wanted
    assert found == now or world_time(anchors, found - 1) < wanted


@pytest.mark.parametrize(
    "wrong",
    [{"dayLengthMinutes": 0}, {"speed": "NaN"}, {"speed": "-1"}, {"effectiveAt": "tomorrow"}],
    ids=str,
)
def test_an_anchor_without_a_rate_or_a_time_is_refused(wrong: dict[str, object]) -> None:
    [field] = wrong
    with pytest.raises(ValueError, match=f"{field} must"):
        parse_anchor(FIRST.document() | wrong)


def test_world_time_is_never_below_zero() -> None:
    """Where a person has written an anchor that is far ahead."""
    assert world_time([FIRST], 0) == 0


def test_a_standing_clock_never_reaches_what_lies_ahead() -> None:
    stop = follow([FIRST], T0 + 90 * SECOND, Decimal(0), 48)
    assert wall_time([FIRST, stop], stop.world + 1, T0) is None
    assert wall_time([FIRST, stop], stop.world, T0) == T0 + 90 * SECOND


def test_before_its_first_anchor_a_clock_runs_backwards_from_it() -> None:
    assert anchor_at([FIRST], T0 - 1) is FIRST
    assert world_time([FIRST], T0 - 10 * SECOND) == START_MICROSECONDS - 300 * SECOND


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (0, "0"),
        (28_800_000_000, "28800"),
        (12_500_000, "12.5"),
        (-500_000, "-0.5"),
        (-1_500_000, "-1.5"),
    ],
)
def test_seconds_are_written_without_trailing_zeros(microseconds: int, text: str) -> None:
    assert format_seconds(microseconds) == text
    assert int(Decimal(text) * MICROSECOND) == microseconds


GOOD = {
    "effectiveAt": "2026-01-01T00:00:00Z",
    "worldSeconds": "0",
    "speed": "1",
    "dayLengthMinutes": 48,
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"speed": "1e200000000"},
        {"speed": "1" * 10_000},
        {"speed": "-1"},
        {"speed": ["1"]},
        {"dayLengthMinutes": 0},
        {"dayLengthMinutes": 10**30},
        {"dayLengthMinutes": "48"},
        {"worldSeconds": "1e5000"},
        {"worldSeconds": "9" * 5000},
        {"effectiveAt": "0001-01-01T00:00:00Z"},
        {"effectiveAt": "soon"},
    ],
    ids=lambda each: str(each)[:30],
)
def test_a_part_of_an_anchor_out_of_bounds_is_refused_before_any_arithmetic(
    wrong: dict[str, Any],
) -> None:
    assert parse_anchor(GOOD).speed == 1
    [field] = wrong
    with pytest.raises(ValueError, match=f"{field} must"):
        parse_anchor(GOOD | wrong)
