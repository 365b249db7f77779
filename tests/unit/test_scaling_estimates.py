"""From scrapes of gateways to signals: sums, rates, quantiles, and what is learnt."""

import itertools
from collections.abc import Callable

import pytest
from gameai.gateway.metrics import Metrics, gauge
from gameai_operator.scaling.estimates import FIRST_START_SECONDS, Estimates
from gameai_operator.scaling.exposition import Scrape, Series, parse, reader
from gameai_operator.scaling.signals import Sample, Signals
from prometheus_client import CollectorRegistry, generate_latest

GOLD = "shared/gold"
MOOR = "games/moor"


class Gateway:
    """A gateway's metrics, by the gateway's own code."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.queue, self.in_flight, self.slots = 0.0, 0.0, 64.0
        self.players: dict[tuple[str, str], float] = {}
        self.metrics.gauges = lambda: [
            gauge("gameai_gateway_queue_depth", "t", ("tier",), [((GOLD,), self.queue)]),
            gauge("gameai_gateway_in_flight", "t", ("tier",), [((GOLD,), self.in_flight)]),
            gauge("gameai_gateway_slots", "t", ("tier",), [((GOLD,), self.slots)]),
            gauge("gameai_gateway_players", "t", ("world", "state"), self.players.items()),
        ]
        self.registry = CollectorRegistry()
        self.registry.register(self.metrics)

    def answer(
        self, seconds: float, *, source: str = "ENGINE", queue: float = 0.0, times: int = 1
    ) -> None:
        for _ in range(times):
            self.metrics.seconds[GOLD, source].observe(seconds)
            self.metrics.queued[GOLD,].observe(queue)
            self.metrics.engine_seconds[GOLD,].observe(seconds - queue)
            self.metrics.requests[MOOR, GOLD] += 1

    def scrape(self, at: float) -> Scrape:
        return parse(generate_latest(self.registry).decode(), at)


def seen(estimates: Estimates, now: float, **more: object) -> Signals:
    given: dict[str, object] = {"expected": 0, "requests_per_player": 2.0, "now": now} | more
    return estimates.signals(GOLD, [MOOR], **given)  # type: ignore[arg-type] # of a test


def two() -> tuple[Estimates, Gateway, Gateway]:
    estimates, one, other = Estimates(), Gateway(), Gateway()
    estimates.gateways(["a", "b"])
    return estimates, one, other


def test_a_text_that_is_no_number_of_ours_is_left_out() -> None:
    text = (
        'gameai_gateway_queue_depth{tier="a"} NaN\n'
        'gameai_gateway_queue_depth{tier="b"} -3\n'
        'gameai_gateway_queue_depth{tier="c"} +Inf\n'
        'gameai_gateway_queue_depth{tier="d"} 4\n'
        "process_cpu_seconds_total 5\n"
    )
    found = parse(text, 1.0).values
    assert found == {Series("queue_depth", (("tier", "d"),)): 4.0}
    with pytest.raises(ValueError, match="no Prometheus format"):
        parse("gameai_gateway_queue_depth{tier=", 1.0)


def test_nothing_is_known_before_a_gateway_answers() -> None:
    found = seen(Estimates(), 10.0)
    assert (found.queued, found.in_flight, found.players, found.p95_ms) == (None,) * 4
    assert found.starting_seconds == FIRST_START_SECONDS


def test_a_gateway_that_never_answered_is_silent() -> None:
    estimates, one, other = two()
    one.in_flight = other.in_flight = 20.0
    estimates.take("a", one.scrape(10.0))
    assert seen(estimates, 10.0).silent == ("b",), "half of the load would look like all of it"
    estimates.take("b", other.scrape(11.0))
    found = seen(estimates, 11.0)
    assert found.silent == ()
    assert found.in_flight == Sample(40.0, 10.0)


def test_a_gateway_that_comes_later_has_a_minute_to_answer() -> None:
    estimates, one, _ = two()
    estimates.gateways(["a"])
    estimates.take("a", one.scrape(10.0))
    for at, silent in ((15.0, ()), (70.0, ()), (71.0, ("c",))):
        estimates.gateways(["a", "c"])
        estimates.take("a", one.scrape(at))
        assert seen(estimates, at).silent == silent
    estimates.gateways(["a"])
    assert seen(estimates, 100.0).silent == ()


def test_a_gateway_that_is_not_ready_for_a_moment_still_counts() -> None:
    estimates, one, other = two()
    one.in_flight = other.in_flight = 50.0
    estimates.take("a", one.scrape(10.0))
    estimates.take("b", other.scrape(10.0))
    estimates.gateways(["a"])
    estimates.take("a", one.scrape(15.0))
    assert seen(estimates, 15.0).in_flight == Sample(100.0, 15.0)
    estimates.gateways(["a", "b"])
    estimates.take("a", one.scrape(20.0))
    assert seen(estimates, 20.0).in_flight == Sample(100.0, 20.0)
    estimates.take("b", other.scrape(21.0))
    assert seen(estimates, 21.0).in_flight == Sample(100.0, 20.0)
    estimates.gateways(["a"])
    estimates.take("a", one.scrape(40.0))
    assert seen(estimates, 40.0).in_flight == Sample(50.0, 40.0)


def test_a_world_counts_with_its_maximum_of_players_whatever_is_reported_of_it() -> None:
    estimates, one, other = two()
    frost = "games/frost"
    one.players = {(MOOR, "online"): 900.0, (MOOR, "lobby"): 50.0, (frost, "online"): 70.0}
    other.players = {(MOOR, "online"): 900.0, (frost, "lobby"): 5.0}
    for name, gateway in (("a", one), ("b", other)):
        estimates.take(name, gateway.scrape(1.0))
    found = estimates.signals(
        GOLD, [MOOR, frost], expected=0, requests_per_player=2.0, now=1.0, maximum={MOOR: 100}
    )
    assert (found.players, found.lobby) == (Sample(170.0, 1.0), Sample(5.0, 1.0))
    almost = estimates.signals(
        GOLD, [MOOR], expected=0, requests_per_player=2.0, now=1.0, maximum={MOOR: 1820}
    )
    assert (almost.players, almost.lobby) == (Sample(1800.0, 1.0), Sample(20.0, 1.0))


def test_gateways_are_summed_and_as_old_as_the_oldest() -> None:
    estimates, one, other = two()
    one.queue, one.in_flight, other.in_flight = 3.0, 8.0, 5.0
    one.players, other.players = (
        {(MOOR, "online"): 100.0, (MOOR, "lobby"): 7.0},
        {(MOOR, "online"): 20.0},
    )
    estimates.take("a", one.scrape(10.0))
    estimates.take("b", other.scrape(4.0))
    found = seen(estimates, 11.0)
    assert found.in_flight is not None
    assert (found.in_flight.value, found.in_flight.at) == (13.0, 4.0)
    assert found.queued is not None
    assert found.queued.value == 3.0
    assert found.players is not None
    assert (found.players.value, found.players.at) == (120.0, 4.0)
    assert found.lobby is not None
    assert found.lobby.value == 7.0
    estimates.gateways(["a"])
    estimates.take("a", one.scrape(30.0))
    left = seen(estimates, 30.0).in_flight
    assert left is not None
    assert (left.value, left.at) == (8.0, 30.0)


def test_latencies_are_those_of_the_last_minute() -> None:
    estimates, one, _ = two()
    one.in_flight = 60.0
    estimates.take("a", one.scrape(0.0))
    one.answer(0.012, queue=0.002, times=90)
    one.answer(0.045, source="FRESH_CACHE", times=10)
    one.answer(5.0, source="DEFAULT", times=50)
    estimates.take("a", one.scrape(5.0))
    found = seen(estimates, 5.0)
    assert found.p95_ms is not None
    assert found.p95_ms.value == pytest.approx(37.5, abs=1)
    assert found.queue_wait_ms is not None
    assert found.queue_wait_ms.value == pytest.approx(1.2, abs=0.1)
    assert found.idle_p95_ms is None, "the tier is busy"
    for second in range(10, 80, 5):
        estimates.take("a", one.scrape(float(second)))
    later = seen(estimates, 80.0)
    assert later.p95_ms is None
    assert later.service_ms is not None, "the last known is kept"


def test_an_idle_engines_own_latency_is_learnt_while_there_is_room() -> None:
    estimates, one, _ = two()
    estimates.gateways(["a"])
    one.in_flight = 4.0
    estimates.take("a", one.scrape(0.0))
    one.answer(0.010, times=100)
    estimates.take("a", one.scrape(5.0))
    idle = seen(estimates, 5.0).idle_p95_ms
    assert idle is not None
    assert idle.value == pytest.approx(11.8, abs=0.1)


def test_a_gateway_that_began_again_counts_from_nothing() -> None:
    estimates, one, _ = two()
    one.answer(0.010, times=100)
    estimates.take("a", one.scrape(0.0))
    again = Gateway()
    again.answer(0.020, times=10)
    estimates.take("a", again.scrape(5.0))
    estimates.take("a", again.scrape(5.0))
    service = seen(estimates, 5.0).service_ms
    assert service is not None
    assert service.value == pytest.approx(20.0)


def rising(per_second: float) -> Callable[[float], float]:
    return lambda at: 1000 + per_second * at


@pytest.mark.parametrize("per_second", [0.0, 5.0, -3.0])
def test_the_slope_of_players_is_that_of_a_minute(per_second: float) -> None:
    estimates, one, _ = two()
    slope = 0.0
    for second in range(0, 200, 5):
        one.players = {(MOOR, "online"): rising(per_second)(second)}
        estimates.take("a", one.scrape(float(second)))
        slope = seen(estimates, float(second)).players_per_second
    assert slope == pytest.approx(per_second, abs=1e-6)


def slopes(players: Callable[[float], float]) -> list[float]:
    """The slope at every scrape of three minutes."""
    estimates, one, _ = two()
    found = []
    for second in range(0, 180, 5):
        one.players = {(MOOR, "online"): players(second)}
        estimates.take("a", one.scrape(float(second)))
        found.append(seen(estimates, float(second)).players_per_second)
    return found


def test_a_single_jump_is_no_slope_and_a_staircase_is_one() -> None:
    assert max(slopes(lambda at: 5000.0 if at >= 90 else 0.0)) == 0.0
    # Game servers report every 20 s.
    assert slopes(lambda at: 10.0 * (at // 20) * 20)[-1] == pytest.approx(10.0, rel=0.35)


def test_answers_beyond_the_last_bucket_count_as_its_edge() -> None:
    estimates, one, _ = two()
    estimates.take("a", one.scrape(0.0))
    one.answer(99.0, times=10)
    estimates.take("a", one.scrape(5.0))
    p95 = seen(estimates, 5.0).p95_ms
    assert p95 is not None
    assert p95.value == 30_000


def test_requests_per_player_are_learnt_slowly_and_by_time_alone() -> None:
    def learnt(step: int) -> float | None:
        estimates, one, _ = two()
        one.players = {(MOOR, "online"): 60.0}
        for second in range(0, 1260, step):
            estimates.take("a", one.scrape(float(second)))
            # Two requests a minute each at first, then twelve.
            one.answer(0.01, times=2 * step if second < 600 else 12 * step)
            found = seen(estimates, float(second)).requests_per_player
        return found

    assert learnt(5) == pytest.approx(8.3, abs=1.0)
    assert learnt(15) == pytest.approx(learnt(5), rel=0.1)


def test_without_players_nothing_is_learnt_of_them() -> None:
    estimates, one, _ = two()
    one.players = {(MOOR, "online"): 0.0}
    estimates.take("a", one.scrape(0.0))
    assert seen(estimates, 0.0).requests_per_player == 2.0
    one.players = {(MOOR, "online"): 5.0}
    estimates.take("a", one.scrape(1.0))
    assert seen(estimates, 100.0).requests_per_player == 2.0, "it is stale"


def test_a_start_is_measured_from_the_wish_to_readiness() -> None:
    estimates = Estimates()
    estimates.observe_start(GOLD, desired=1, ready=1, now=-1)
    for start, took in zip(
        itertools.count(0, 1000), [100, 110, 120, 130, 140, 150, 160, 170, 180, 400], strict=False
    ):
        estimates.observe_start(GOLD, desired=2, ready=1, now=start)
        estimates.observe_start(GOLD, desired=2, ready=1, now=start + took - 1)
        estimates.observe_start(GOLD, desired=2, ready=2, now=start + took)
        estimates.observe_start(GOLD, desired=1, ready=1, now=start + took + 1)
    assert seen(estimates, 0.0).starting_seconds == 180
    # A wish that is taken back is no start.
    estimates.observe_start(GOLD, desired=5, ready=1, now=20_000)
    estimates.observe_start(GOLD, desired=1, ready=1, now=20_001)
    estimates.observe_start(GOLD, desired=3, ready=1, now=20_002)
    estimates.observe_start(GOLD, desired=4, ready=2, now=20_010)
    estimates.observe_start(GOLD, desired=4, ready=4, now=20_150)
    assert seen(estimates, 0.0).starting_seconds == 180


def test_a_tier_that_is_gone_is_forgotten() -> None:
    estimates, one, _ = two()
    one.in_flight = 1.0
    estimates.take("a", one.scrape(0.0))
    one.answer(0.01)
    estimates.take("a", one.scrape(1.0))
    estimates.forget([])
    assert seen(estimates, 1.0).service_ms is None


def test_players_that_a_service_counts_replace_reports_and_keep_the_maximum() -> None:
    estimates, gateway = Estimates(), Gateway()
    gateway.players = {(MOOR, "online"): 500.0, (MOOR, "lobby"): 100.0}
    estimates.gateways(["a"])
    estimates.take("a", gateway.scrape(100.0))
    assert seen(estimates, 101.0).players == Sample(500.0, 100.0)
    counts = {MOOR: Sample(40.0, 99.0)}
    found = seen(estimates, 101.0, counts=counts)
    assert (found.players, found.lobby) == (Sample(40.0, 99.0), None)
    assert seen(estimates, 101.0, counts=counts, maximum={MOOR: 30}).players == Sample(30.0, 99.0)


def test_a_reader_takes_the_bytes_of_any_address() -> None:
    found = reader(("online",))("10.0.0.1:8080", b"online 3\n\xff\n", 1.0)
    assert found.values == {Series("online", ()): 3.0}


@pytest.mark.parametrize(
    "line", ["online 1" + "0" * 400, "online 1 " + "9" * 400, "online{" + "a=," * 2000 + "} 1"]
)
def test_a_line_that_breaks_or_slows_the_parser_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"no Prometheus format|a line has more than"):
        parse(f"{line}\n", 1.0, ("online",))


def page(
    gateway: Gateway, at: float, *, pending: float, running: float, connected: float = 1
) -> Scrape:
    """A page of a gateway that takes jobs."""
    labels = (("tier", GOLD),)
    values = {
        **gateway.scrape(at).values,
        Series("pending_jobs", labels): pending,
        Series("running_jobs", labels): running,
        Series("jobs_connected", ()): connected,
    }
    return Scrape(at, values)


def test_each_job_that_waits_counts_once_however_many_gateways_know_it() -> None:
    estimates, one, other = two()
    one.queue, other.in_flight = 2.0, 3.0
    # Ten jobs have not ended: three run at the second gateway, two wait in the first, and five on the bus.
    estimates.take("a", page(one, 10.0, pending=10, running=2))
    estimates.take("b", page(other, 10.0, pending=9, running=3))
    found = seen(estimates, 10.0, takes_jobs=True)
    assert (found.queued, found.in_flight) == (Sample(7.0, 10.0), Sample(3.0, 10.0))
    assert found.without_bus == ()
    assert seen(estimates, 10.0).queued == Sample(2.0, 10.0)
    # A page that is older than another one knows fewer jobs than run now.
    estimates.take("a", page(one, 20.0, pending=1, running=2))
    estimates.take("b", page(other, 20.0, pending=1, running=3))
    assert seen(estimates, 20.0, takes_jobs=True).queued == Sample(2.0, 20.0)


def test_a_gateway_without_its_bus_does_not_know_that_no_job_waits() -> None:
    estimates, one, other = two()
    assert seen(estimates, 10.0, takes_jobs=True).queued is None
    estimates.take("a", page(one, 10.0, pending=0, running=0))
    estimates.take("b", page(other, 10.0, pending=0, running=0, connected=0))
    assert seen(estimates, 10.0, takes_jobs=True).without_bus == ("b",)
    assert seen(estimates, 10.0).without_bus == ()
