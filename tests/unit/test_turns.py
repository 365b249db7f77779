"""What time-manager and weather-manager publish: the same at every replica, each once, in order."""

from collections.abc import Sequence
from decimal import Decimal

import pytest
from gameai.bus.types import Types
from gameai.events.v1 import events_pb2
from gameai.services.time_manager.__main__ import due as time_due
from gameai.services.time_manager.rules import Hours, next_turn, phase, phase_began, turns
from gameai.services.weather_manager.__main__ import due as weather_due
from gameai.services.weather_manager.rules.numbers import numbers
from gameai.services.weather_manager.rules.process import process
from gameai.serving import LiveWorld
from gameai.time.v1 import time_pb2
from gameai_contract.world_config import WorldConfig
from gameai_contract.world_time import MICROSECOND, START_MICROSECONDS, Anchor, follow

KEPT = Hours(dawn=6, dusk=18)
HOUR = 3600 * MICROSECOND
BEGAN = 1_800_000_000 * MICROSECOND
# 30 world minutes a minute: two world hours in four minutes.
FIRST = Anchor(
    effective_at=BEGAN, world=START_MICROSECONDS, speed=Decimal(1), day_length_minutes=48
)
MINUTE = 60 * MICROSECOND


def live(anchors: Sequence[Anchor], wall: list[int]) -> LiveWorld:
    config = WorldConfig(
        world="moor", namespace="a", seed=7, anchors=tuple(anchors), roles={}, services={}
    )
    return LiveWorld(config, lambda: wall[0])


def announced(anchors: Sequence[Anchor], start: int, minutes: int) -> list[tuple[int, str, int]]:
    """Number, type and time of everything that a replica publishes from a wall time on, each once."""
    wall = [start]
    world = live(anchors, wall)
    found: dict[int, tuple[int, str, int]] = {}
    end = start + minutes * MINUTE
    while wall[0] < end:
        events, following = time_due(world, KEPT)
        for each in events:
            name = each.message.DESCRIPTOR.name
            found.setdefault(each.sequence, (each.sequence, name, each.world_us))
        wall[0] = min(end, following or end)
    return sorted(found.values())


@pytest.mark.parametrize(
    ("hour", "began"),
    [(0, -4), (5, -4), (6, 6), (7, 6), (8, 8), (17, 8), (18, 18), (19, 18), (20, 20), (23, 20)],
)
def test_a_phase_began_at_its_hour(hour: int, began: int) -> None:
    day = 5 * 24 * HOUR
    found = phase_began(day + hour * HOUR, KEPT)
    assert found == day + began * HOUR
    assert phase(found, KEPT) is phase(day + hour * HOUR, KEPT)


def test_each_phase_of_a_day_is_published_once_at_its_time() -> None:
    found = announced([FIRST], BEGAN, minutes=49)
    assert [(name, world // HOUR) for _, name, world in found] == [
        ("PhaseChanged", 8),
        ("ClockChanged", 8),
        ("PhaseChanged", 18),
        ("PhaseChanged", 20),
        ("PhaseChanged", 30),
        ("PhaseChanged", 32),
    ]


def test_replicas_publish_the_same_however_late_they_start_or_look() -> None:
    second = follow([FIRST], BEGAN + 10 * MINUTE, Decimal(3), 48)
    stands = follow([FIRST, second], BEGAN + 20 * MINUTE, Decimal(0), 48)
    again = follow([FIRST, second, stands], BEGAN + 30 * MINUTE, Decimal(1), 48)
    anchors = [FIRST, second, stands, again]
    whole = announced(anchors, BEGAN, minutes=90)
    assert [name for _, name, _ in whole].count("ClockChanged") == 4
    for late in (1, 7, 15, 25, 29, 31, 60):
        found = announced(anchors, BEGAN + late * MINUTE + 17, minutes=90 - late)
        assert set(found) <= set(whole)
        assert [each for each in whole if each[0] > 2 * (BEGAN + late * MINUTE + 17)] == [
            each for each in found if each[0] > 2 * (BEGAN + late * MINUTE + 17)
        ]


def test_numbers_rise_with_the_wall_clock_over_both_types() -> None:
    stands = follow([FIRST], BEGAN + 20 * MINUTE, Decimal(0), 48)
    numbers = [number for number, _, _ in announced([FIRST, stands], BEGAN, minutes=60)]
    assert numbers == sorted(set(numbers))


def test_a_phase_of_before_the_first_anchor_that_is_known_is_not_published() -> None:
    later = Anchor(effective_at=BEGAN, world=12 * HOUR, speed=Decimal(1), day_length_minutes=48)
    assert [each.anchor for each in turns([later], KEPT, BEGAN)] == [later]
    ahead = turns([later], KEPT, BEGAN - 1)
    assert ahead == []


def test_a_clock_that_stands_is_looked_at_again_when_it_turns() -> None:
    stands = follow([FIRST], BEGAN + MINUTE, Decimal(0), 48)
    again = follow([FIRST, stands], BEGAN + 9 * MINUTE, Decimal(1), 48)
    wall = BEGAN + 2 * MINUTE
    assert next_turn([FIRST, stands], 18 * HOUR, wall) is None
    assert next_turn([FIRST, stands, again], 18 * HOUR, wall) == again.effective_at


def test_a_phase_says_its_day_and_its_end() -> None:
    wall = [BEGAN + 25 * MINUTE]
    events, _ = time_due(live([FIRST], wall), KEPT)
    (found,) = [
        each.message for each in events if isinstance(each.message, events_pb2.PhaseChanged)
    ]
    assert (found.day, found.phase, found.next_us) == (0, time_pb2.PHASE_NIGHT, 30 * HOUR)


SETTINGS = {"climate": "Maritime", "regions": "coast,moor", "stepMinutes": "60"}


def test_the_weather_of_every_region_is_published_once_a_step() -> None:
    wall = [BEGAN]
    world = live([FIRST], wall)
    weather = process(7, SETTINGS, ("coast", "moor"))
    found: dict[int, str] = {}
    for _ in range(5):
        events, following = weather_due(world, weather)
        for each in events:
            assert each.sequence not in found
            found[each.sequence] = each.message.DESCRIPTOR.name
        assert following is not None
        wall[0] = following
    assert list(found) == sorted(found)
    assert len(found) == 10


def test_numbers_of_the_weather_rise_when_its_settings_change() -> None:
    """The order of regions, their number, and the length of a step."""
    day = 400 * 24 * HOUR
    before = numbers(("coast", "moor"), day)
    after = numbers(("moor", "coast", "fen"), day)
    assert after == {**before, "fen": after["fen"]}
    assert list(after.values()) == sorted(set(after.values()))
    assert min(numbers(("moor",), day + HOUR).values()) > max(after.values())
    # From steps of 10 minutes to steps of 60.
    assert min(numbers(("moor",), day + HOUR // 6).values()) > max(after.values())


def test_regions_in_one_place_have_numbers_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gameai.services.weather_manager.rules.numbers._place", lambda _: 5)
    found = numbers(("b", "a", "c"), 0)
    assert list(found) == ["a", "b", "c"]
    assert [each - found["a"] for each in found.values()] == [0, 1, 2]


def test_what_they_publish_are_types_of_their_own_source() -> None:
    types = Types([events_pb2])
    wall = [BEGAN]
    for source, events in (
        (2, time_due(live([FIRST], wall), KEPT)[0]),
        (1, weather_due(live([FIRST], wall), process(7, SETTINGS, ("coast",)))[0]),
    ):
        assert events
        assert {types.of(each.message).source for each in events} == {source}
