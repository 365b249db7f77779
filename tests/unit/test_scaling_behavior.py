"""The arithmetic of the HorizontalPodAutoscaler, by Kubernetes' own cases."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from gameai_operator.scaling.behavior import (
    Behavior,
    Limit,
    Memory,
    Policy,
    Rules,
    Select,
    Stamped,
    Unit,
    average_value,
    changed,
    limited,
    remembered,
    stabilized,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = 100_000.0
CASES = yaml.safe_load((Path(__file__).parents[1] / "data/hpa.yaml").read_text())
DEFAULT_UP = [4, 15, 100, 15, 0]
DEFAULT_DOWN = [0, 0, 100, 15, 300]


def named(case: dict[str, Any]) -> str:
    return str(case["name"])


def rules(row: list[int], *, tolerance: float = 0.1, select: Select = Select.MAX) -> Rules:
    pods, pods_period, percent, percent_period, window = row
    given_policies = [(Unit.PODS, pods, pods_period), (Unit.PERCENT, percent, percent_period)]
    return Rules(
        policies=[
            Policy(unit=unit, value=value, period_seconds=period)
            for unit, value, period in given_policies
            if value and period
        ],
        window_seconds=window,
        tolerance=tolerance,
        select=select,
    )


def behavior(case: dict[str, Any]) -> Behavior:
    return Behavior(
        up=rules(case.get("up", DEFAULT_UP)),
        down=rules(case.get("down", DEFAULT_DOWN)),
        minimum=case["min"],
        maximum=case["max"],
    )


def windows(up: float, down: float, tolerance: float = 0.1) -> Behavior:
    return Behavior(
        up=Rules(policies=(), window_seconds=up, tolerance=tolerance),
        down=Rules(policies=(), window_seconds=down, tolerance=tolerance),
        minimum=1,
        maximum=1000,
    )


def events(row: list[Any] | None) -> tuple[Stamped, ...]:
    """Numbers in the middles of equal parts of a period that ends now."""
    if row is None:
        return ()
    numbers, period = row
    part = period / len(numbers)
    return tuple(
        Stamped(NOW - int(period - part * (index + 1) + part / 2), number)
        for index, number in enumerate(numbers)
    )


def recent(rows: list[list[int]]) -> Memory:
    return Memory(recommendations=tuple(Stamped(NOW - ago, number) for number, ago in rows))


@pytest.mark.parametrize("case", CASES["rates"], ids=named)
def test_rates_and_range_limit_a_number(case: dict[str, Any]) -> None:
    memory = Memory(added=events(case.get("added")), removed=events(case.get("removed")))
    found = limited(memory, case["current"], case["desired"], behavior(case), NOW)
    assert found == (case["expected"], Limit(case["reason"]))


@pytest.mark.parametrize("case", CASES["windows"], ids=named)
def test_windows_hold_the_most_careful_recommendation(case: dict[str, Any]) -> None:
    memory = recent(case.get("recent", []))
    limits = windows(case.get("up", 0), case.get("down", 0))
    found = stabilized(memory, case["current"], case["desired"], limits, NOW)
    assert found == case["expected"]


@pytest.mark.parametrize("case", CASES["default_window"], ids=named)
def test_a_window_for_scaling_in_alone(case: dict[str, Any]) -> None:
    found = stabilized(recent(case.get("recent", [])), 100, case["desired"], windows(0, 300), NOW)
    assert found == case["expected"]


@pytest.mark.parametrize("case", CASES["average_values"], ids=named)
def test_an_average_value_is_rounded_up_outside_of_its_tolerance(case: dict[str, Any]) -> None:
    limits = windows(0, 0, case.get("tolerance", 0.1))
    assert (
        average_value(case["total"], case["target"], case["replicas"], limits) == case["expected"]
    )


def test_a_direction_can_be_disabled_or_take_the_smallest_policy() -> None:
    off = Behavior(
        up=rules(DEFAULT_UP, select=Select.DISABLED),
        down=rules(DEFAULT_DOWN, select=Select.DISABLED),
        minimum=1,
        maximum=100,
    )
    assert limited(Memory(), 10, 50, off, NOW) == (10, Limit.SCALE_UP)
    assert limited(Memory(), 10, 5, off, NOW) == (10, Limit.SCALE_DOWN)
    least = Behavior(
        up=rules([4, 15, 100, 15, 0], select=Select.MIN),
        down=rules([1, 60, 50, 60, 0], select=Select.MIN),
        minimum=1,
        maximum=100,
    )
    assert limited(Memory(), 10, 50, least, NOW) == (14, Limit.SCALE_UP)
    assert limited(Memory(), 10, 1, least, NOW) == (9, Limit.SCALE_DOWN)


def test_changes_are_remembered_as_long_as_a_period_needs_them() -> None:
    limits = behavior({"min": 1, "max": 100, "up": [4, 60, 0, 0, 0], "down": [1, 30, 0, 0, 300]})
    memory = changed(remembered(Memory(), 8, limits, NOW), 4, 8, NOW)
    memory = changed(remembered(memory, 6, limits, NOW + 10), 8, 7, NOW + 10)
    assert memory.added == (Stamped(NOW, 4),)
    assert memory.removed == (Stamped(NOW + 10, 1),)
    later = changed(remembered(memory, 7, limits, NOW + 65), 7, 7, NOW + 65)
    assert later.added == ()
    assert later.removed == (Stamped(NOW + 10, 1),)
    assert [each.number for each in later.recommendations] == [8, 6, 7]
    assert len(remembered(later, 7, limits, NOW + 400).recommendations) == 1


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=40),
    st.integers(1, 5),
    st.integers(6, 50),
)
def test_steps_stay_in_range_and_never_exceed_their_rates(
    wishes: list[int], least: int, most: int
) -> None:
    limits = behavior(
        {"min": least, "max": most, "up": [4, 15, 0, 0, 0], "down": [1, 60, 0, 0, 60]}
    )
    memory, current = Memory(), least
    for turn, wish in enumerate(wishes):
        now = NOW + 15 * turn
        bounded = min(max(wish, least), most)
        calm = stabilized(memory, current, bounded, limits, now)
        after, _ = limited(memory, current, calm, limits, now)
        assert least <= after <= most
        assert current - 1 <= after <= current + 4
        memory = changed(remembered(memory, bounded, limits, now), current, after, now)
        current = after
