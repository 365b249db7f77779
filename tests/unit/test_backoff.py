import pytest
from gameai_operator.controller.backoff import delay_seconds


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        (0, 0.005),
        (1, 0.005),
        (2, 0.01),
        (3, 0.02),
        (11, 5.12),
        (16, 163.84),
        (17, 300.0),
        (10_000, 300.0),
    ],
)
def test_waits_double_up_to_five_minutes(failures: int, expected: float) -> None:
    assert delay_seconds(failures, 0.5) == pytest.approx(expected)


@pytest.mark.parametrize(("chance", "factor"), [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)])
def test_chance_spreads_waits_by_a_fifth(chance: float, factor: float) -> None:
    assert delay_seconds(3, chance) == pytest.approx(0.02 * factor)


def test_the_most_can_be_less() -> None:
    assert delay_seconds(100, 0.5, most=2.0) == 2.0
