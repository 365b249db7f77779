import pytest
from gameai.services.time_manager.rules import (
    DAY,
    HOUR,
    Hours,
    Phase,
    hours,
    next_hour,
    next_phase,
    phase,
)
from hypothesis import given
from hypothesis import strategies as st

KEPT = Hours(dawn=6, dusk=20)
times = st.integers(min_value=0, max_value=10**15)


def test_hours_are_read_from_settings() -> None:
    assert hours({"dawnHour": "6", "duskHour": "20"}) == KEPT


@pytest.mark.parametrize(
    ("hour", "expected"),
    [
        (0, Phase.NIGHT),
        (5.99, Phase.NIGHT),
        (6, Phase.DAWN),
        (8, Phase.DAY),
        (19.99, Phase.DAY),
        (20, Phase.DUSK),
        (22, Phase.NIGHT),
        (23.99, Phase.NIGHT),
    ],
)
def test_a_day_has_its_phases(hour: float, expected: Phase) -> None:
    assert phase(3 * DAY + int(hour * HOUR), KEPT) is expected


@given(times)
def test_the_next_phase_is_another_one_and_begins_where_this_one_ends(world: int) -> None:
    begins = next_phase(world, KEPT)
    assert begins > world
    assert phase(begins - 1, KEPT) is phase(world, KEPT)
    assert phase(begins, KEPT) is not phase(world, KEPT)


@given(times)
def test_the_next_hour_is_less_than_an_hour_away(world: int) -> None:
    assert 0 < next_hour(world) - world <= HOUR
    assert next_hour(world) % HOUR == 0
