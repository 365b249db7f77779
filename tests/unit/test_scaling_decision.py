"""A scaling decision: which signal wins, what limits it, and what it says."""

import datetime
import random
from typing import Any

import pytest
from gameai_operator.api.scaling import Scaling, ScheduledFloor
from gameai_operator.scaling.behavior import Limit, Memory, changed
from gameai_operator.scaling.decide import Decision, Fleet, decide, replicas_for, unreachable
from gameai_operator.scaling.signals import Freshness, Sample, Signals
from gameai_operator.tier import schedule

NOW = 50_000.0
SIX = {"requestsPerPlayerPerMinute": "6"}
WALL = datetime.datetime(2026, 11, 27, 19, 30, tzinfo=datetime.UTC)  # a Friday


def scaling(**fields: Any) -> Scaling:
    return Scaling.model_validate({"maxReplicas": 50, **fields})


def fleet(current: int = 4, ready: int | None = None, target_ms: int = 16) -> Fleet:
    return Fleet(current=current, ready=current if ready is None else ready, target_ms=target_ms)


NUMBERS = ("players_per_second", "requests_per_player", "capacity_per_second")


def signals(*, age: float = 5.0, **values: Any) -> Signals:
    given: dict[str, Any] = {"queued": 0.0, "in_flight": 32.0} | values
    samples: dict[str, Any] = {
        name: Sample(value, NOW - age)
        if isinstance(value, float) and name not in NUMBERS
        else value
        for name, value in given.items()
    }
    return Signals(**samples)


def decided(
    seen: Signals | None = None,
    size: Fleet | None = None,
    memory: Memory | None = None,
    **spec: Any,
) -> Decision:
    return decide(
        scaling(**spec), size or fleet(), seen or signals(), memory or Memory(), now=NOW, wall=WALL
    )


def wish(decision: Decision, name: str) -> tuple[int, Freshness]:
    [found] = [each for each in decision.wishes if each.name == name]
    return found.wants, found.state


def test_waiting_and_running_questions_together_are_the_signal() -> None:
    decision = decided(signals(queued=10.0, in_flight=50.0))
    assert (decision.desired, decision.reason) == (8, "queue")
    assert decision.message == "4 → 8 replicas; queue: 60 for 8 per replica asks for 8"


def test_the_forecast_rests_on_a_measurement_until_real_requests_were_timed() -> None:
    players = {"players": 1000.0, "capacity_per_second": 20.0, "in_flight": 0.0}
    # 33 requests a second; a replica is planned with 77.5 % of 20.
    first = decided(signals(**players))
    assert wish(first, "players") == (3, Freshness.FRESH)
    [row] = [each for each in first.wishes if each.name == "players"]
    assert row.target == "77.5% of 20.0 requests/s measured"
    # 8 at a time, of 100 ms each: 80 a second.
    assert wish(decided(signals(**players, service_ms=100.0)), "players")[0] == 1
    assert wish(decided(signals(players=1000.0, in_flight=0.0)), "players")[0] == 0


def test_what_engines_count_themselves_is_shown_and_asks_for_nothing() -> None:
    decision = decided(signals(engine_running=300.0, engine_waiting=20.0))
    [row] = [each for each in decision.wishes if each.name == "engine"]
    assert (row.value, row.wants) == ("300 running, 20 waiting", 0)
    assert decision.desired == 4
    assert not [each for each in decided().wishes if each.name == "engine"]


def test_a_measured_target_replaces_the_default() -> None:
    size = Fleet(current=4, ready=4, target_ms=16, per_replica=20)
    assert decided(signals(queued=10.0, in_flight=90.0), size).desired == 5


def test_a_fleet_of_the_right_size_is_kept_though_nothing_waits() -> None:
    assert decided(signals(queued=0.0, in_flight=32.0)).desired == 4


def test_a_small_step_of_a_large_fleet_counts() -> None:
    assert decided(signals(in_flight=161.0), fleet(20)).desired == 21


def test_players_are_a_forecast_with_their_slope_and_the_lobby() -> None:
    # 25 ms a request and 8 at a time: 320 a second, of which 77.5 % are planned with.
    base = {"service_ms": 25.0, "players": 10_000.0, "requests_per_player": 6.0}
    assert wish(decided(signals(**base), players=SIX), "players") == (5, Freshness.FRESH)
    growing = signals(**base, players_per_second=20.0, lobby=500.0)
    assert wish(decided(growing, players=SIX), "players")[0] == 7
    assert decided(growing, fleet(6), players=SIX).reason == "players"


def test_a_backlog_for_which_replicas_start_asks_for_little_more_than_the_players_do() -> None:
    seen = signals(queued=200.0, service_ms=25.0, players=10_000.0, requests_per_player=6.0)
    assert wish(decided(seen, fleet(5, 3), players=SIX), "queue")[0] == 8
    assert wish(decided(seen, fleet(5), players=SIX), "queue")[0] == 29
    assert wish(decided(signals(queued=200.0), fleet(5, 3)), "queue")[0] == 29, "players unknown"


@pytest.mark.parametrize(
    ("load", "replicas"),
    [(0.1, 1), (77.5, 1), (78.0, 1), (79.5, 2), (155.0001, 2), (160.0, 3)],
)
def test_a_trace_of_another_replica_asks_for_none(load: float, replicas: int) -> None:
    assert replicas_for(load, 100.0) == replicas


def test_a_falling_number_of_players_lowers_no_forecast() -> None:
    base = {"service_ms": 25.0, "players": 10_000.0, "requests_per_player": 6.0}
    falling = signals(**base, players_per_second=-50.0)
    assert wish(decided(falling, players=SIX), "players")[0] == 5


@pytest.mark.parametrize(("learnt", "wants"), [(0.001, 1), (3.0, 11), (100.0, 14)])
def test_what_is_learnt_of_players_has_bounds(learnt: float, wants: int) -> None:
    seen = signals(service_ms=25.0, players=50_000.0, requests_per_player=learnt)
    declared = {"requestsPerPlayerPerMinute": "2"}
    assert wish(decided(seen, players=declared), "players")[0] == wants


def test_without_a_count_the_expected_players_are_the_forecast() -> None:
    seen = signals(service_ms=25.0, requests_per_player=6.0, expected_players=10_000)
    assert wish(decided(seen, players=SIX), "players") == (5, Freshness.MISSING)


def test_an_event_is_a_floor() -> None:
    row = {"name": "raid", "cron": "0 19 * * 5", "durationMinutes": 60, "minReplicas": 7}
    decision = decided(schedule=[row])
    assert (decision.desired, decision.reason) == (7, "schedule")


@pytest.mark.parametrize(
    ("busy", "percent", "ready", "wants"),
    [
        (True, 95.0, 4, 5),
        (True, 78.0, 4, 4),
        (False, 99.0, 4, 0),
        (True, 95.0, 3, 4),
        (True, 20.0, 4, 2),
    ],
)
def test_gpus_ask_for_one_replica_more_and_only_while_they_work(
    busy: bool, percent: float, ready: int, wants: int
) -> None:
    seen = signals(in_flight=24.0 if busy else 2.0, gpu_percent=percent)
    decision = decided(seen, fleet(4, ready), gpu={"targetPercent": 77})
    assert wish(decision, "gpu")[0] == wants


def test_without_the_field_gpus_are_not_used() -> None:
    assert wish(decided(signals(gpu_percent=99.0)), "gpu") == (0, Freshness.NOT_USED)
    assert wish(decided(gpu={}), "gpu") == (0, Freshness.MISSING)


LATE = {"p95_ms": 30.0, "queue_wait_ms": 5.0}


@pytest.mark.parametrize(
    ("seen", "size", "wants"),
    [
        (LATE | {"idle_p95_ms": 12.0}, fleet(10), 12),
        (LATE, fleet(10), 12),
        (LATE | {"idle_p95_ms": 20.0}, fleet(10), 0),
        (LATE | {"queue_wait_ms": 0.0}, fleet(10), 0),
        (LATE | {"p95_ms": 15.0}, fleet(10), 0),
        (LATE, fleet(10, 9), 0),
    ],
    ids=["late", "idle unknown", "never in time", "nothing waits", "in time", "replicas start"],
)
def test_the_latency_guard_adds_replicas_only_where_they_help(
    seen: dict[str, float], size: Fleet, wants: int
) -> None:
    decision = decided(signals(in_flight=80.0, **seen), size)
    assert wish(decision, "latency")[0] == wants
    assert (decision.reason == "latency") is bool(wants)


def test_the_guard_can_be_switched_off() -> None:
    decision = decided(signals(**LATE), latencyGuard={"maxExtraPercent": 0})
    assert wish(decision, "latency")[0] == 0


def test_a_target_below_the_service_time_is_unreachable() -> None:
    assert unreachable(fleet(), signals(idle_p95_ms=20.0))
    assert not unreachable(fleet(), signals(idle_p95_ms=12.0))
    assert not unreachable(fleet(), signals())


@pytest.mark.parametrize(
    "seen", [Signals(), signals(age=61.0, in_flight=1.0)], ids=["missing", "stale"]
)
def test_without_fresh_signals_no_replica_is_removed(seen: Signals) -> None:
    decision = decided(seen, fleet(9))
    assert (decision.desired, decision.reason, decision.blind) == (9, "blind", True)
    assert (
        decision.message
        == "9 → 9 replicas; not every gateway answers, or knows the jobs that wait: replicas are kept"
    )


def test_a_blind_tier_still_follows_its_event() -> None:
    row = {"name": "raid", "cron": "0 19 * * 5", "durationMinutes": 60, "minReplicas": 7}
    decision = decided(Signals(), schedule=[row])
    assert (decision.desired, decision.reason) == (7, "schedule")


def test_bounds_hold_and_say_so() -> None:
    decision = decided(signals(in_flight=400.0), fleet(10), maxReplicas=12)
    assert (decision.desired, decision.limit) == (12, Limit.TOO_MANY)
    assert "limited by TooManyReplicas" in decision.message
    assert decided(signals(in_flight=0.0), fleet(1), minReplicas=3).desired == 3
    full = decided(signals(in_flight=400.0), fleet(12), maxReplicas=12)
    assert (full.desired, full.limit) == (12, Limit.TOO_MANY)


def test_a_fleet_beyond_its_maximum_is_brought_back() -> None:
    assert (
        decided(
            signals(in_flight=400.0), fleet(20), maxReplicas=12, scaleIn={"windowSeconds": 0}
        ).desired
        == 19
    )


@pytest.mark.parametrize(
    ("freeze", "asked", "desired"),
    [("None", 8, 8), ("In", 8, 8), ("All", 8, 4), ("In", 1, 4), ("All", 1, 4), ("None", 1, 3)],
)
def test_a_freeze_holds_back_changes(freeze: str, asked: int, desired: int) -> None:
    seen = signals(in_flight=8.0 * asked)
    decision = decided(seen, freeze=freeze, scaleIn={"windowSeconds": 0})
    assert decision.desired == desired
    assert ("freeze" in decision.message) is (freeze != "None")


def test_scaling_in_waits_for_its_window_and_goes_one_by_one() -> None:
    memory, current, desired = Memory(), 6, []
    for minute in range(20):
        now = NOW + 60 * minute
        seen = Signals(queued=Sample(0.0, now), in_flight=Sample(8.0 if minute else 48.0, now))
        decision = decide(scaling(), fleet(current), seen, memory, now=now, wall=WALL)
        memory = changed(decision.memory, current, decision.desired, now)
        current = decision.desired
        desired.append(current)
    assert desired[:15] == [6] * 15
    assert desired[15:] == [5, 4, 3, 2, 1]


def test_a_recommendation_that_is_not_carried_out_uses_up_no_rate() -> None:
    memory, seen = Memory(), []
    for step in range(6):
        busy = Signals(queued=Sample(0.0, NOW + 5 * step), in_flight=Sample(56.0, NOW + 5 * step))
        found = decide(scaling(), fleet(1), busy, memory, now=NOW + 5 * step, wall=WALL)
        memory = found.memory
        seen.append((found.desired, found.limit))
    assert seen == [(5, Limit.SCALE_UP)] * 6


def test_a_message_says_that_replicas_are_kept_for_the_window() -> None:
    first = decided(signals(in_flight=48.0), fleet(6))
    second = decided(signals(in_flight=8.0), fleet(6), first.memory)
    assert second.message.endswith(
        "asks for more than the minimum of 1; kept for the scale-in window"
    )


def test_seeded_signals_of_all_kinds_lead_in_the_right_direction() -> None:
    """Missing and stale signals never remove a replica; fresh ones never leave a load without its replicas."""
    chance = random.Random(42)
    for _ in range(2000):
        current = chance.randint(1, 50)
        load = chance.choice([0.0, 5.0, 80.0, 390.0])
        sample = chance.choice([None, Sample(load, NOW - 1), Sample(load, NOW - 300)])
        other = chance.choice([None, Sample(0.0, NOW - 1), Sample(0.0, NOW - 300)])
        seen = Signals(
            queued=other,
            in_flight=sample,
            p95_ms=chance.choice([None, Sample(90.0, NOW - 1), Sample(90.0, NOW - 300)]),
            players=chance.choice([None, Sample(0.0, NOW - 1), Sample(9e6, NOW - 300)]),
        )
        decision = decided(
            seen, fleet(current, chance.randint(0, current)), scaleIn={"windowSeconds": 0}
        )
        known = all(each is not None and each.at == NOW - 1 for each in (sample, other))
        if not known:
            assert decision.desired >= current
        elif load > 8 * current:
            assert decision.desired > current
        else:
            assert decision.desired >= min(current, load / 8)


def row(**fields: Any) -> ScheduledFloor:
    base = {"name": "raid", "cron": "0 19 * * 5", "durationMinutes": 60, "minReplicas": 7}
    return ScheduledFloor.model_validate(base | fields)


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({}, 7),
        ({"durationMinutes": 30}, 0),
        ({"durationMinutes": 31}, 7),
        ({"cron": "30 19 * * 5"}, 7),
        ({"cron": "31 19 * * 5"}, 0),
        ({"cron": "0 20 * * 5", "timeZone": "Europe/Paris"}, 7),
        ({"cron": "0 19 * * 4", "durationMinutes": 1500}, 7),
        ({"cron": "0 0 29 2 *"}, 0),
    ],
)
def test_an_event_holds_from_its_start_for_its_duration(
    fields: dict[str, Any], number: int
) -> None:
    assert schedule.minimum([row(**fields)], WALL)[0] == number


def test_the_highest_of_several_events_holds() -> None:
    rows = [
        row(),
        row(name="boss", minReplicas=9),
        row(name="later", cron="0 22 * * 5", minReplicas=20),
    ]
    assert schedule.minimum(rows, WALL) == (9, "boss")
    assert schedule.minimum([], WALL) == (0, "")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, []),
        ({"cron": "0 19 * * FRI"}, []),
        ({"timeZone": "Mars/Olympus"}, ["timeZone: Mars/Olympus is not a time zone"]),
        ({"cron": "0 25 * * 5"}, ["cron: '0 25 * * 5' is not a cron expression"]),
        ({"cron": "* * * * * *"}, ["cron: '* * * * * *' is not a cron expression of five fields"]),
        (
            {"timeZone": "Mars/Olympus", "cron": "0 25 * * 5"},
            ["timeZone: Mars/Olympus", "cron: '0 25 * * 5'"],
        ),
    ],
)
def test_every_mistake_of_an_event_is_named(fields: dict[str, Any], words: list[str]) -> None:
    found = schedule.faults(row(**fields))
    assert [each.split("; ")[0].startswith("spec.scaling.schedule[raid].") for each in found] == [
        True for _ in words
    ]
    assert all(text in each for text, each in zip(words, found, strict=True))
    if words:
        assert schedule.minimum([row(**fields)], WALL) == (0, "")


def test_a_tier_without_a_minimum_has_no_replica_while_nothing_waits() -> None:
    none: dict[str, Any] = {"minReplicas": 0, "scaleIn": {"windowSeconds": 0}}
    idle = signals(queued=0.0, in_flight=0.0, players=1000.0, capacity_per_second=20.0)
    assert decided(idle, fleet(1), **none).desired == 0
    assert wish(decided(idle, fleet(1), **none), "players") == (0, Freshness.NOT_USED)
    assert decided(idle, fleet(0), **none).desired == 0
    blind = signals(queued=0.0, in_flight=0.0, without_bus=("b",))
    assert (decided(blind, fleet(1), **none).desired, decided(blind, fleet(1), **none).blind) == (
        1,
        True,
    )
    # Not known is not idle.
    assert decided(Signals(), fleet(1), **none).desired == 1
    waits = decided(signals(queued=1.0, in_flight=0.0), fleet(0), **none)
    assert (waits.desired, waits.reason) == (1, "queue")
    assert decided(signals(queued=100.0, in_flight=0.0), fleet(0), **none).desired == 4
    assert decided(signals(queued=1.0, in_flight=0.0), fleet(1), **none).desired == 1
