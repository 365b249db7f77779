"""Players come and go, simulated: the real estimates and the real decision on 5-second scrapes, GPUs with a start delay.

Only players, engines and nodes are simulated. A replica serves 8 requests at a time in 620 ms each, as planned, and up to
a quarter more when it is overloaded; questions wait at most 4 s, the rest is answered by the fallback (shed). The oracle
knows the trace and the start delay, and runs exactly what is planned for.
"""

import datetime
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gameai_operator.api.scaling import Scaling
from gameai_operator.scaling.behavior import (
    Behavior,
    Memory,
    Policy,
    Rules,
    Stamped,
    Unit,
    average_value,
    changed,
    limited,
    remembered,
    stabilized,
)
from gameai_operator.scaling.decide import Fleet, decide
from gameai_operator.scaling.estimates import Estimates
from gameai_operator.scaling.exposition import Scrape, Series
from gameai_operator.scaling.signals import Sample, Signals

from benchmarks.report import Row, write

STEP, SLOTS, TARGET, SERVICE, MOST = 5.0, 16, 8, 0.62, 50
WAIT_SECONDS, OVERLOAD, UTILISATION = 4.0, 1.25, 0.775
TIER, WORLD = "shared/silver", "games/moor"
START, WARM = 300.0, 120.0
# The defaults of Kubernetes: out by 4 pods or 100 % in 15 s, in by 100 % after 5 minutes, a tolerance of 10 %.
PLAIN = Behavior(
    up=Rules(
        policies=(
            Policy(unit=Unit.PODS, value=4, period_seconds=15),
            Policy(unit=Unit.PERCENT, value=100, period_seconds=15),
        )
    ),
    down=Rules(
        policies=(Policy(unit=Unit.PERCENT, value=100, period_seconds=15),), window_seconds=300
    ),
    minimum=1,
    maximum=MOST,
)
WALL = datetime.datetime(2026, 11, 27, tzinfo=datetime.UTC)
# Players are seen in the lobby so long before they ask.
LOBBY = 120.0

Trace = Sequence[tuple[float, float]]
View = Callable[[Signals], Signals]
RAMP_60: Trace = ((0, 100), (600, 100), (4200, 10_000), (7800, 10_000))
RAMP_20: Trace = ((0, 100), (600, 100), (1800, 10_000), (5400, 10_000))
FLASH: Trace = ((0, 100), (600, 100), (900, 10_000), (4500, 10_000))
SURGE: Trace = ((0, 2000), (600, 2000), (1200, 6000), (4800, 6000))
STEPS: Trace = (
    *((0, 100), (1200, 100), (1201, 500), (2400, 500), (2401, 1000), (3600, 1000)),
    *((3601, 5000), (6000, 5000), (6001, 10_000), (9000, 10_000)),
)
NIGHT: Trace = ((0, 2000), (3600, 2000), (7200, 8000), (14_400, 8000), (21_600, 500), (36_000, 500))
ALONE: Trace = ((0, 47), (3600, 47))
LEVEL: Trace = ((0, 3000), (14_400, 3000))


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One run: how players come, what they ask for, and what may be wrong."""

    trace: Trace
    start: float = START
    lobby: float = LOBBY
    noise: float = 0.0
    per_minute: float = 2.0
    idle_seconds: float = SERVICE
    target_ms: int = 1000
    view: View = lambda signals: signals
    players: bool = True
    gpu_percent: float | None = None
    # In place of our decision: the load of all replicas, and the target of one, for a plain HorizontalPodAutoscaler.
    plain: "Callable[[Game], tuple[float, float]] | None" = None
    after: float = 0.0


@dataclass(slots=True)
class Result:
    """What became of it."""

    asked: float = 0.0
    shed: float = 0.0
    hours: float = 0.0
    oracle: float = 0.0
    changes: list[tuple[float, int, int]] = field(default_factory=list)
    replicas: list[tuple[float, int, int]] = field(default_factory=list)

    @property
    def shed_percent(self) -> float:
        return 100 * self.shed / self.asked

    @property
    def ratio(self) -> float:
        """GPU-hours beside the oracle's."""
        return self.hours / self.oracle


class Game:
    """Players, one tier's queue, and replicas that take time to start."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self._chance = random.Random(42)
        first = self.needed(0.0)
        self.current = self.ready = first
        self.starting: list[float] = []
        self.queue = self.running = self.players = 0.0
        self._served = self._seconds = self._waited = 0.0
        self.result = Result()

    def online(self, at: float) -> float:
        for (before, low), (after, high) in zip(self.case.trace, self.case.trace[1:], strict=False):
            if at <= after:
                part = (at - before) / (after - before)
                return low + (high - low) * max(0.0, part)
        return self.case.trace[-1][1]

    def needed(self, at: float) -> int:
        """What is planned for the players of then."""
        rate = self.online(at) * self.case.per_minute / 60
        return min(MOST, max(1, math.ceil(rate / (TARGET / SERVICE * UTILISATION))))

    def pass_time(self, now: float) -> None:
        """Five seconds of questions."""
        self.ready += sum(each <= now for each in self.starting)
        self.starting = [each for each in self.starting if each > now]
        noise = self.case.noise
        self.players = self.online(now) * (1 + self._chance.uniform(-noise, noise))
        came = self.players * self.case.per_minute / 60 * STEP
        capacity = self.ready * TARGET / SERVICE
        served = min(self.queue + came, capacity * OVERLOAD * STEP)
        self.queue += came - served
        shed = max(0.0, self.queue - capacity * WAIT_SECONDS)
        self.queue -= shed
        self.running = min(self.ready * SLOTS, served / STEP * SERVICE)
        self._served += served
        self._seconds += served * self.case.idle_seconds
        self._waited += served * (self.queue / capacity if self.queue > 1 else 0.0)
        result = self.result
        result.asked, result.shed = result.asked + came, result.shed + shed
        if now >= self.case.after:
            result.hours += self.current * STEP / 3600
            result.oracle += self._oracle(now) * STEP / 3600
        result.replicas.append((now, self.current, self.ready))

    def _oracle(self, now: float) -> int:
        ahead = range(0, int(self.case.start) + 1, 15)
        return max(self.needed(now + each) for each in ahead)

    def scrape(self, now: float) -> Scrape:
        tier = (("tier", TIER),)
        seen = self.online(now + self.case.lobby) - self.online(now)
        values = {
            Series("queue_depth", tier): self.queue,
            Series("in_flight", tier): self.running,
            Series("slots", tier): float(self.ready * SLOTS),
            Series("engine_requests_total", (("tier", TIER), ("world", WORLD))): self._served,
            Series("engine_request_duration_seconds_sum", tier): self._seconds,
            Series("engine_request_duration_seconds_count", tier): self._served,
            Series("queue_duration_seconds_sum", tier): self._waited,
            Series("queue_duration_seconds_count", tier): self._served,
        }
        for edge in (0.25, 0.5, 1.0, 5.0, math.inf):
            name = "+Inf" if math.isinf(edge) else str(edge)
            below = self._served if self.case.idle_seconds <= edge else 0.0
            values[Series("engine_request_duration_seconds_bucket", (("le", name), *tier))] = below
            labels = (("le", name), ("source", "ENGINE"), *tier)
            values[Series("request_duration_seconds_bucket", labels)] = below
        if self.case.players:
            values[Series("players", (("state", "online"), ("world", WORLD)))] = self.players
            values[Series("players", (("state", "lobby"), ("world", WORLD)))] = max(0.0, seen)
        return Scrape(now, values)

    def resize(self, wanted: int, now: float) -> None:
        if wanted == self.current:
            return
        self.result.changes.append((now, self.current, wanted))
        if wanted > self.current:
            self.starting += [now + self.case.start] * (wanted - self.current)
        for _ in range(self.current - wanted):
            if self.starting:
                self.starting.pop()
            else:
                self.ready -= 1
        self.current = wanted


def play(case: Case) -> Result:
    """One run; of the scaler everything is real but its clock."""
    spec: dict[str, Any] = {"maxReplicas": MOST, "queue": {"targetPerReplica": TARGET}}
    if case.gpu_percent is not None:
        spec["gpu"] = {"targetPercent": 77}
    scaling = Scaling.model_validate(spec)
    game, estimates = Game(case), Estimates()
    estimates.gateways(["gateway"])
    memory = Memory(recommendations=(Stamped(0.0, game.current),))
    for step in range(int(case.trace[-1][0] / STEP) + 1):
        now = step * STEP
        game.pass_time(now)
        estimates.take("gateway", game.scrape(now))
        estimates.observe_start(TIER, desired=game.current, ready=game.ready, now=now)
        signals: Signals = estimates.signals(
            TIER, [WORLD], expected=0, requests_per_player=2.0, now=now
        )
        if case.gpu_percent is not None:
            signals = replace(signals, gpu_percent=Sample(case.gpu_percent, now))
        signals = case.view(signals)
        fleet = Fleet(current=game.current, ready=game.ready, target_ms=case.target_ms)
        wall = WALL + datetime.timedelta(seconds=now)
        if case.plain is None:
            found = decide(scaling, fleet, signals, memory, now=now, wall=wall)
            kept, desired = found.memory, found.desired
        else:
            kept, desired = _plain(*case.plain(game), game.current, memory, now)
        memory = changed(kept, game.current, desired, now)
        game.resize(desired, now)
    return game.result


def _plain(
    load: float, target: float, current: int, memory: Memory, now: float
) -> tuple[Memory, int]:
    """What a HorizontalPodAutoscaler with its default behavior does every 15 s."""
    if now % 15:
        return memory, current
    wanted = min(max(average_value(load, target, current, PLAIN), 1), MOST)
    calm = stabilized(memory, current, wanted, PLAIN, now)
    desired, _ = limited(memory, current, calm, PLAIN, now)
    return remembered(memory, wanted, PLAIN, now), desired


def in_flight(game: Game) -> tuple[float, float]:
    """Requests that run, of eight a replica: KEDA or an HPA on vLLM's own gauge."""
    return game.running, TARGET


def gpu_use(game: Game) -> tuple[float, float]:
    """GPU use, which is never above 100 %, of the usual 77 %."""
    return min(100.0, 100 * game.running / (game.ready * TARGET)) * game.ready, 77.0


def reversals_per_hour(result: Result) -> float:
    """Changes against the one before, in an hour."""
    signs = [1 if after > before else -1 for _, before, after in result.changes]
    turns = sum(a != b for a, b in itertools.pairwise(signs))
    return turns / (result.replicas[-1][0] / 3600)


def soonest_scale_in(result: Result) -> float:
    """Seconds between the last moment that needed more and the first replica removed; the least of the run."""
    least = math.inf
    for at, before, after in result.changes:
        if after < before:
            grown = max((when for when, b, a in result.changes if a > b and when < at), default=0.0)
            least = min(least, at - grown)
    return least


def reaction(step_at: float, start: float) -> tuple[float, float]:
    """Seconds from a step of players to the decision, and to readiness of what it needs."""
    trace: Trace = ((0, 1000), (step_at, 1000), (step_at + 1, 3000), (step_at + 2400, 3000))
    result = play(Case(trace=trace, start=start, lobby=0.0))
    decided = next(at for at, before, after in result.changes if at >= step_at and after > before)
    wanted = math.ceil(3000 * 2 / 60 / (TARGET / SERVICE))
    ready = next(at for at, _, count in result.replicas if at >= step_at and count >= wanted)
    return decided - step_at, ready - step_at


def _row(bar: str, value: float, limit: float | None, unit: str, *, least: bool = False) -> Row:
    rounded = round(value, 3)
    return Row(bar=bar, value=rounded, limit=limit, unit=unit, rounds=(rounded,), least=least)


def _shed_rows() -> list[Row]:
    rows = []
    ramps = (
        ("60-min ramp", RAMP_60, 0.05),
        ("20-min ramp", RAMP_20, 0.5),
        ("5-min flash", FLASH, 3.0),
    )
    for name, trace, limit in ramps:
        rows.append(_row(f"shed, {name}", play(Case(trace=trace)).shed_percent, limit, "%"))
        blind = play(Case(trace=trace, lobby=0.0))
        rows.append(_row("  without a lobby", blind.shed_percent, None, "%"))
        warm = play(Case(trace=trace, start=WARM))
        rows.append(_row("  with warm nodes (120 s)", warm.shed_percent, None, "%"))
        alone = play(Case(trace=trace, players=False))
        rows.append(_row("  without players as a signal", alone.shed_percent, None, "%"))
        waiting = play(Case(trace=trace, players=False, view=_waiting_alone))
        rows.append(_row("  by the waiting queue alone", waiting.shed_percent, None, "%"))
        plain = play(Case(trace=trace, plain=in_flight))
        rows.append(_row("  plain HPA by running requests", plain.shed_percent, None, "%"))
        busy = play(Case(trace=trace, plain=gpu_use))
        rows.append(_row("  plain HPA by GPU use", busy.shed_percent, None, "%"))
    return rows


def _waiting_alone(signals: Signals) -> Signals:
    """What waits, and nothing of what runs: 0 while the fleet has the right size."""
    nothing = None if signals.in_flight is None else replace(signals.in_flight, value=0.0)
    return replace(signals, in_flight=nothing)


def _hours_rows() -> list[Row]:
    cases = (
        ("60-min ramp", Case(trace=RAMP_60)),
        ("20-min ramp", Case(trace=RAMP_20)),
        ("5-min flash", Case(trace=FLASH)),
        ("2k to 6k in 10 min", Case(trace=SURGE)),
        ("steps to 10,000", Case(trace=STEPS)),
        ("a night", Case(trace=NIGHT)),
        ("unreachable target", Case(trace=LEVEL, target_ms=100)),
        # One answer shows 100 % of a GPU: 47 players ask for one request at a time, which is one replica with one request.
        ("1 request per replica for 1 h, GPUs at 100 %", Case(trace=ALONE, gpu_percent=100.0)),
        # Declared is five times as much; the first decisions hold for the scale-in window.
        ("80 % hits, from the 2nd hour", Case(trace=LEVEL, per_minute=0.4, after=3600)),
    )
    return [
        _row(f"GPU-hours, {name}, of the oracle's", play(each).ratio, 1.25, "×")
        for name, each in cases
    ]


def main() -> None:
    """All bars of the scaling decision."""
    reactions = [reaction(600 + offset, 180.0) for offset in range(1, 21)]
    decided = sorted(each for each, _ in reactions)[int(0.95 * len(reactions)) - 1]
    noisy = play(Case(trace=LEVEL, noise=0.2))
    night = play(Case(trace=NIGHT))
    rows = [
        _row("decision after a step of players, p95", decided, 15, "s"),
        _row(
            "capacity ready after a step, start 180 s", max(each for _, each in reactions), 300, "s"
        ),
        *_shed_rows(),
        *_hours_rows(),
        _row("reversals under ±20 % noise", reversals_per_hour(noisy), 1, "per h"),
        _row("soonest scale-in after a scale-out", soonest_scale_in(night), 900, "s", least=True),
    ]
    write("players", rows)
