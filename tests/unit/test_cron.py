"""Times that repeat, also in the hour that comes twice and in the one that is left out."""

import datetime
import itertools

import pytest
from gameai_operator.api import cron

MINUTE = datetime.timedelta(minutes=1)


@pytest.mark.parametrize("expression", ["59 2 * * *", "*/30 * * * *", "0 3 * * *", "30 2 * * *"])
@pytest.mark.parametrize("night", ["2026-10-24T22:00:00Z", "2026-03-28T22:00:00Z"])
def test_occurrences_stay_in_order_while_clocks_are_changed(expression: str, night: str) -> None:
    now, zone = datetime.datetime.fromisoformat(night), "Europe/Paris"
    before = cron.last(expression, zone, now)
    for _ in range(8 * 60):
        now += MINUTE
        last, following = (f(expression, zone, now) for f in (cron.last, cron.following))
        assert last
        assert following
        assert before
        assert before <= last <= now < following
        before = last


def test_each_occurrence_of_an_hour_that_comes_twice_is_found() -> None:
    now = datetime.datetime(2026, 10, 24, 23, 45, tzinfo=datetime.UTC)
    found: list[datetime.datetime] = []
    while len(found) < 6:
        following = cron.following("*/30 * * * *", "Europe/Paris", now)
        assert following
        found.append(following)
        now = following
    assert {b - a for a, b in itertools.pairwise(found)} == {30 * MINUTE}
