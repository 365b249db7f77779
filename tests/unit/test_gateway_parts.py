"""The gateway's small decisions: ring, breaker, estimates, players, labels."""

from collections import Counter

import pytest
from gameai.gateway.engines.circuit_breaker import (
    MOST_FAILURES,
    OPEN_SECONDS,
    Breaker,
    part,
    warm_slots,
)
from gameai.gateway.engines.hash_ring import BOUND, Ring, place
from gameai.gateway.engines.service_time import LEAST_TOKENS, Estimate, Pace, size_of
from gameai.gateway.rpc.players import Players, Report

ADDRESSES = [f"10.0.0.{n}:8000" for n in range(5)]


def test_the_same_prefix_goes_to_the_same_replica() -> None:
    ring = Ring(ADDRESSES)
    picked = {ring.pick(place("guard"), lambda _: 0.0, lambda _: True) for _ in range(10)}
    assert len(picked) == 1


def test_a_replica_that_leaves_moves_only_its_own_prefixes() -> None:
    before, after = Ring(ADDRESSES), Ring(ADDRESSES[:-1])
    moved = 0
    for n in range(500):
        was = before.pick(place(str(n)), lambda _: 0.0, lambda _: True)
        now = after.pick(place(str(n)), lambda _: 0.0, lambda _: True)
        moved += was != now
        assert was == ADDRESSES[-1] or was == now
    assert 50 <= moved <= 150


def test_prefixes_are_spread_over_replicas() -> None:
    ring = Ring(ADDRESSES)
    metrics = Counter(ring.pick(place(str(n)), lambda _: 0.0, lambda _: True) for n in range(1000))
    assert min(metrics.values()) > 120


def test_no_replica_is_given_more_than_the_bound() -> None:
    ring = Ring(ADDRESSES)
    load = dict.fromkeys(ADDRESSES, 0.0)
    for _ in range(500):
        picked = ring.pick(place("hot"), load.__getitem__, lambda _: True)
        assert picked is not None
        load[picked] += 1
    assert max(load.values()) <= BOUND * 100 + 1


def test_while_there_is_room_everywhere_a_prefix_stays_where_it_is_known() -> None:
    ring = Ring(ADDRESSES)
    load = dict.fromkeys(ADDRESSES, 0.0)
    picked = []
    for _ in range(8):
        found = ring.pick(place("hot"), load.__getitem__, lambda _: True)
        assert found is not None
        # One of sixteen slots.
        load[found] += 1 / 16
        picked.append(found)
    assert len(set(picked[:5])) == 1
    assert len(set(picked)) > 1, "a quarter of the slots is the most"


def test_where_the_ring_has_no_room_the_least_loaded_is_picked() -> None:
    ring = Ring(ADDRESSES)
    load = {each: 10.0 - n for n, each in enumerate(ADDRESSES)}
    # Only the two fullest have room, and they are above the bound of an otherwise empty tier.
    free = ADDRESSES[:2]
    heavy = {each: (9.0 if each in free else 0.0) for each in ADDRESSES}
    heavy[ADDRESSES[1]] = 8.0
    assert load
    assert ring.pick(0, heavy.__getitem__, lambda each: each in free) == ADDRESSES[1]
    assert ring.pick(0, heavy.__getitem__, lambda _: False) is None


def test_one_replica_needs_no_ring() -> None:
    ring = Ring(ADDRESSES[:1])
    assert ring.pick(0, lambda _: 99.0, lambda _: True) == ADDRESSES[0]
    assert ring.pick(0, lambda _: 0.0, lambda _: False) is None


def test_an_empty_ring_picks_nothing() -> None:
    assert Ring(()).pick(0, lambda _: 0.0, lambda _: True) is None


def test_failures_in_a_row_open_a_breaker_and_good_health_closes_it() -> None:
    breaker = Breaker()
    for _ in range(MOST_FAILURES - 1):
        breaker.failed(10.0)
    assert breaker.allows(10.0)
    breaker.failed(10.0)
    assert not breaker.allows(10.0 + OPEN_SECONDS)
    assert not breaker.due(10.0 + OPEN_SECONDS - 0.1)
    assert breaker.due(10.0 + OPEN_SECONDS)
    assert breaker.lives()
    assert breaker.allows(0.0)


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker()
    for _ in range(3 * MOST_FAILURES):
        breaker.failed(0.0)
        breaker.succeeded()
    assert breaker.allows(0.0)


def test_one_whose_health_is_well_opens_again_at_its_first_failure() -> None:
    breaker = Breaker()
    breaker.condemned(0.0)
    assert breaker.lives()
    breaker.failed(OPEN_SECONDS)
    assert not breaker.allows(OPEN_SECONDS + 1)
    # The health of a closed one says nothing of its failures.
    other = Breaker(failures=3)
    assert not other.lives()
    assert other.failures == 3


def test_a_busy_one_pauses_longer_each_time_and_an_answer_ends_that() -> None:
    breaker = Breaker()
    pauses = []
    for _ in range(9):
        breaker.busy(100.0)
        pauses.append(round(breaker.paused_until - 100.0, 3))
    assert pauses == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0, 1.0]
    assert not breaker.allows(100.9)
    assert breaker.allows(101.0)
    breaker.succeeded()
    assert breaker.allows(100.0)


@pytest.mark.parametrize(("age", "slots"), [(0, 1), (1, 6), (5, 32), (10, 64), (99, 64)])
def test_a_new_replica_gets_its_slots_by_and_by(age: float, slots: int) -> None:
    assert warm_slots(64, age) == slots


@pytest.mark.parametrize(
    ("slots", "gateways", "each"),
    [(64, 1, 64), (64, 6, 11), (6, 6, 1), (12, 3, 4), (7, 6, 2), (16, 100, 1), (0, 1, 1)],
)
def test_gateways_share_a_replicas_slots(slots: int, gateways: int, each: int) -> None:
    assert part(slots, gateways) == each


def test_what_is_not_known_is_tried() -> None:
    estimate = Estimate()
    assert estimate.mean(1, 0.0) == estimate.high(1, 0.0) == 0.0


def test_an_estimate_follows_what_is_seen_and_sizes_are_apart() -> None:
    estimate = Estimate()
    for step in range(200):
        estimate.observe(size_of(1, 100), 0.010 if step % 2 else 0.014, step / 100)
        estimate.observe(size_of(64, 100), 0.3, step / 100)
    assert estimate.mean(size_of(1, 500), 2.0) == pytest.approx(0.012, rel=0.1)
    assert 0.012 < estimate.high(size_of(1, 0), 2.0) < 0.02
    assert estimate.mean(size_of(100, 100), 2.0) == pytest.approx(0.3, rel=0.01)


@pytest.mark.parametrize(
    ("budget", "needed"),
    [
        # There is time enough for all but the slowest.
        (1.0, 0.018),
        # The slowest of twenty would never be tried: then the mean counts, or three quarters of what there is.
        (0.016, 0.012),
        (0.020, 0.015),
    ],
)
def test_a_slot_is_given_to_what_can_be_ready_in_time(budget: float, needed: float) -> None:
    estimate = Estimate()
    for step in range(400):
        estimate.observe(1, 0.009 if step % 2 else 0.015, step / 1000)
    assert estimate.high(1, 0.4) == pytest.approx(0.018, rel=0.05)
    assert estimate.needed(1, budget, 0.4) == pytest.approx(needed, rel=0.05)


def test_what_was_slow_once_is_tried_again_after_a_while() -> None:
    estimate = Estimate()
    estimate.observe(1, 10.0, 0.0)
    assert estimate.mean(1, 0.5) == 10.0
    assert estimate.mean(1, 61.0) < 0.01
    assert estimate.high(1, 61.0) < 0.02


def test_a_free_answer_is_as_long_as_the_engine_can_write_in_time() -> None:
    pace = Pace()
    assert pace.fitting(64, 100, 0.25) == 64, "nothing is known yet"
    pace.missed(64, 100, 0.25)
    assert pace.fitting(64, 100, 0.25) == 48, "it needs more than 3.9 ms a token"
    pace.missed(64, 100, 0.1)
    assert pace.fitting(64, 100, 0.25) == 48, "it was given less time than it needs"
    assert pace.fitting(64, 100, 10.0) == 64
    assert pace.fitting(64, 100, -1.0) == LEAST_TOKENS
    assert pace.fitting(LEAST_TOKENS, 100, 0.0) == LEAST_TOKENS
    for _ in range(200):
        pace.wrote(40, 100, 0.04)
    assert pace.fitting(64, 100, 0.06) == 44


def test_an_engine_that_was_slow_once_writes_long_answers_again() -> None:
    pace = Pace()
    for _ in range(50):
        pace.wrote(64, 100, 64 * 0.06)
    short = pace.fitting(64, 100, 1.0)
    assert short < 16
    for _ in range(150):
        pace.wrote(pace.fitting(64, 100, 1.0), 100, pace.fitting(64, 100, 1.0) * 0.003)
    assert pace.fitting(64, 100, 1.0) == 64


def test_one_who_sends_long_prompts_or_gives_up_soon_shortens_no_ones_answers() -> None:
    pace = Pace()
    pace.wrote(40, 100, 0.4)
    for _ in range(100):
        pace.missed(64, 64_000, 60.0)
        pace.missed(8, 100, 60.0)
        pace.wrote(1, 100, 60.0)
    assert pace.fitting(64, 100, 1.0) == 64
    # One miss moves a pace as much as one answer.
    pace.missed(64, 100, 64.0)
    assert pace.fitting(64, 100, 1.0) > 10


def test_long_prompts_of_one_make_no_short_ones_of_others_late() -> None:
    estimate = Estimate()
    for step in range(100):
        estimate.observe(size_of(1, 65_000), 2.0, step / 100)
        estimate.observe(size_of(1, 900), 0.02, step / 100)
    assert estimate.mean(size_of(1, 200), 1.0) == pytest.approx(0.02)
    assert estimate.mean(size_of(1, 40_000), 1.0) == pytest.approx(2.0)


def test_players_of_an_instance_are_counted_once_whatever_stream_reports_them() -> None:
    players = Players()
    players.report("a/b", 1, Report(40, 2, 0.0, "x", 1))
    players.report("a/b", 2, Report(41, 2, 1.0, "x", 2))
    assert players.worlds(1.0) == {"a/b": (41, 2)}
    # What was sent before, and came after.
    players.report("a/b", 1, Report(0, 0, 2.0, "x", 1))
    assert players.worlds(2.0) == {"a/b": (41, 2)}
    players.ended(1)
    assert players.worlds(2.0) == {"a/b": (41, 2)}
    players.report("a/b", 3, Report(5, 0, 2.0, "y", 1))
    assert players.worlds(2.0) == {"a/b": (46, 2)}


def test_a_report_counts_no_more_players_than_a_game_server_has() -> None:
    players = Players()
    players.report("a/b", 1, Report(4_000_000_000, 1 << 31, 0.0))
    assert players.worlds(0.0) == {"a/b": (100_000, 100_000)}


def test_players_are_the_sum_of_fresh_reports() -> None:
    players = Players()
    players.report("a/b", 1, Report(10, 1, at=0.0))
    players.report("a/b", 1, Report(12, 2, at=5.0))
    players.report("a/b", 2, Report(30, 0, at=5.0))
    assert players.worlds(6.0) == {"a/b": (42, 2)}


def test_an_old_report_is_stale_and_not_zero() -> None:
    players = Players()
    players.report("a/b", 1, Report(10, 1, at=0.0))
    assert players.worlds(60.0) == {"a/b": (10, 1)}
    assert players.worlds(60.1) == {}


def test_a_stream_that_ended_reports_no_players() -> None:
    players = Players()
    players.report("a/b", 1, Report(10, 1, at=0.0))
    players.report("a/b", 2, Report(1, 0, at=0.0))
    players.report("c/d", 1, Report(5, 0, at=0.0))
    players.ended(1)
    assert players.worlds(0.0) == {"a/b": (1, 0)}
