"""What a replica may conclude from the numbers of its deliveries."""

import pytest
from gameai.bus.parking import Parking


def test_a_world_is_open_while_every_delivery_comes_here() -> None:
    parking = Parking()
    parking.delivered(7)
    assert not parking.is_open("a")
    parking.opened("a")
    parking.delivered(8)
    assert parking.is_open("a")
    assert not parking.is_open("b")
    # Another replica had the ninth, and may have parked a world.
    parking.delivered(10)
    assert not parking.is_open("a")


def test_deliveries_without_numbers_say_nothing() -> None:
    parking = Parking()
    parking.delivered(0)
    parking.opened("a")
    parking.delivered(0)
    assert not parking.is_open("a")


def test_a_world_that_is_parked_is_said_once_until_it_is_open() -> None:
    parking = Parking()
    parking.delivered(1)
    parking.opened("a")
    assert parking.parked("a")
    assert not parking.is_open("a")
    assert not parking.parked("a")
    parking.opened("a")
    assert parking.parked("a")


def test_what_is_known_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gameai.bus.parking._MOST_WORLDS", 2)
    parking = Parking()
    parking.delivered(1)
    parking.opened("a")
    parking.opened("b")
    parking.delivered(2)
    assert not parking.is_open("a")
    assert [parking.parked(each) for each in ("a", "b", "c", "a")] == [True] * 4
