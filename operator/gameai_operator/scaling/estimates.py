"""PURE: from scrapes of gateways to the signals of tiers: sums, rates, quantiles, and what is learnt slowly."""

import itertools
import math
import statistics
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from gameai_operator.scaling import jobs
from gameai_operator.scaling.exposition import Scrape, Series
from gameai_operator.scaling.signals import STALE_SECONDS, Sample, Signals

# Latencies and rates are those of so many seconds.
WINDOW_SECONDS = 60.0
# So long a gateway counts that is not listed any more.
_LEAVING_SECONDS = 15.0
# The slope of players is that of so many seconds.
SLOPE_SECONDS = 60.0
# What is learnt of players follows half of a change in seven minutes, and faster at first. A rate needs most of a window.
_LEARNING_SECONDS, _LEAST_SPAN = 600.0, 0.75
_IDLE_PART = 0.25
# Fewer samples say nothing of a slope. Of the pairs of samples at most 55 % lie on two sides of a jump.
_LEAST_FOR_SLOPE, _SLOPE_QUANTILE = 4, 0.4
# A slope that is not so many times its standard error is noise.
_SIGNIFICANT = 4.0
_MOST_STARTS, _START_QUANTILE = 20, 0.9
FIRST_START_SECONDS = 300.0
_ANSWERED = frozenset({"ENGINE", "FRESH_CACHE"})

Buckets = dict[float, float]


@dataclass(slots=True)
class _Part:
    """What happened between two scrapes, summed over gateways, of one tier."""

    answers: Buckets = field(default_factory=lambda: defaultdict(float))
    engine: Buckets = field(default_factory=lambda: defaultdict(float))
    engine_seconds: float = 0.0
    engine_count: float = 0.0
    queue_seconds: float = 0.0
    queue_count: float = 0.0
    requests: dict[str, float] = field(default_factory=lambda: defaultdict(float))


@dataclass(slots=True)
class _Tier:
    """What is kept of one tier between scrapes."""

    parts: deque[tuple[float, _Part]] = field(default_factory=deque)
    idle_p95_ms: Sample | None = None
    service_ms: Sample | None = None
    requests_per_player: float | None = None
    learnt_at: float = 0.0
    learning_seconds: float = 0.0
    starts: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_STARTS))
    waiting: tuple[int, float] | None = None
    desired: int | None = None


@dataclass(slots=True)
class _Sum:
    """A sum that is as old as its oldest part."""

    value: float = 0.0
    at: float | None = None

    def add(self, parts: Sequence[tuple[float, float]], most: float) -> float:
        """Add values with their times, together at most so much; what was added."""
        value = min(sum(each for each, _ in parts), most)
        times = [at for _, at in parts] + ([] if self.at is None else [self.at])
        self.value, self.at = self.value + value, min(times, default=None)
        return value

    def sample(self) -> Sample | None:
        """The sum; None where nothing was added."""
        return None if self.at is None else Sample(self.value, self.at)


class Estimates:
    """What scrapes amount to. One that no longer answers makes sums old; one that never did is named as silent.

    A gateway counts for a moment after it was last listed: one that is not ready for a moment is not listed meanwhile.
    """

    def __init__(self) -> None:
        self._last: dict[str, Scrape] = {}
        self._silent: dict[str, float] = {}
        self._leaving: dict[str, Scrape] = {}
        self._newest = -math.inf
        self._tiers: dict[str, _Tier] = defaultdict(_Tier)
        self._players: dict[str, deque[tuple[float, float]]] = defaultdict(deque)

    def gateways(self, listed: Iterable[str]) -> None:
        """These gateways exist now; what others said is forgotten."""
        known = set(listed)
        for gone in set(self._last) - known:
            self._leaving[gone] = self._last.pop(gone)
        self._silent = {
            each: self._silent.get(each, self._newest) for each in known - set(self._last)
        }

    def take(self, gateway: str, scrape: Scrape) -> None:
        """A gateway answered."""
        before = self._last.get(gateway)
        self._last[gateway], self._newest = scrape, scrape.at
        self._silent.pop(gateway, None)
        self._leaving.pop(gateway, None)
        self._leaving = {
            name: each
            for name, each in self._leaving.items()
            if each.at > scrape.at - _LEAVING_SECONDS
        }
        if before is None or scrape.at <= before.at:
            return
        for tier, part in _parts(before, scrape).items():
            parts = self._tiers[tier].parts
            parts.append((scrape.at, part))
            while parts[0][0] < scrape.at - WINDOW_SECONDS:
                parts.popleft()

    def forget(self, tiers: Iterable[str]) -> None:
        """Keep only these tiers."""
        for gone in set(self._tiers) - set(tiers):
            del self._tiers[gone]

    def observe_start(self, tier: str, *, desired: int, ready: int, now: float) -> None:
        """Learn how long a replica takes from the wish to readiness."""
        kept = self._tiers[tier]
        if kept.waiting is not None and ready >= kept.waiting[0]:
            kept.starts.append(now - kept.waiting[1])
            kept.waiting = None
        # A replica that is not ready for a while did not start: only a wish for more of them begins a start.
        risen = kept.desired is not None and desired > kept.desired
        if desired <= ready:
            kept.waiting = None
        elif risen and (kept.waiting is None or desired > kept.waiting[0]):
            kept.waiting = (desired, now)
        kept.desired = desired

    def signals(
        self,
        tier: str,
        worlds: Iterable[str],
        *,
        expected: int,
        requests_per_player: float,
        now: float,
        maximum: Mapping[str, int] = MappingProxyType({}),
        counts: Mapping[str, Sample] = MappingProxyType({}),
        takes_jobs: bool = False,
    ) -> Signals:
        """The signals of a tier whose players are those of these worlds; learning begins with what is declared.

        A world counts with its `maximum` of players at most, whatever is reported of it. `counts` are the players of worlds
        whose own services count them. Where the tier `takes_jobs`, those that wait on the bus are queued too.
        """
        kept = self._tiers[tier]
        total = _total(part for _, part in kept.parts if _ > now - WINDOW_SECONDS)
        at = max((at for at, _ in kept.parts), default=None)
        in_flight, slots = self._gauge("in_flight", tier), self._gauge("slots", tier)
        self._learn(kept, total, in_flight, slots, at)
        named = list(worlds)
        players, lobby = self._players_of(named, maximum, counts)
        if kept.requests_per_player is None:
            kept.requests_per_player, kept.learnt_at = requests_per_player, now
        self._learn_players(kept, total, named, players, now)
        return Signals(
            silent=tuple(
                sorted(name for name, since in self._silent.items() if now - since > STALE_SECONDS)
            ),
            without_bus=jobs.unconnected(self._last) if takes_jobs else (),
            queued=self._queued(tier, takes_jobs=takes_jobs),
            in_flight=in_flight,
            queue_wait_ms=_mean(total.queue_seconds, total.queue_count, at),
            p95_ms=_quantile(total.answers, 0.95, at),
            idle_p95_ms=kept.idle_p95_ms,
            service_ms=kept.service_ms,
            players=players,
            lobby=lobby,
            players_per_second=self._slope(tier, _sum(players, lobby), now),
            requests_per_player=kept.requests_per_player,
            starting_seconds=_high(kept.starts),
            expected_players=expected,
        )

    def _queued(self, tier: str, *, takes_jobs: bool) -> Sample | None:
        found = self._gauge("queue_depth", tier)
        if found is None or not takes_jobs:
            return found
        pages = (*self._last.values(), *self._leaving.values())
        return Sample(found.value + jobs.waiting(pages, tier), found.at)

    def _gauge(self, name: str, tier: str) -> Sample | None:
        """A sum over all gateways, as old as the oldest of them; None before the first one answered."""
        if not self._last:
            return None
        series = Series(name, (("tier", tier),))
        counted = (*self._last.values(), *self._leaving.values())
        value = sum(scrape.values.get(series, 0.0) for scrape in counted)
        return Sample(value, min(scrape.at for scrape in self._last.values()))

    def _players_of(
        self, worlds: Iterable[str], maximum: Mapping[str, int], counts: Mapping[str, Sample]
    ) -> tuple[Sample | None, Sample | None]:
        """Players online and in lobbies; None where nothing is known of any of these worlds.

        Each gateway counts other reports, so that they are summed.
        """
        online, lobby = _Sum(), _Sum()
        for world in worlds:
            most = float(maximum.get(world, math.inf))
            if world in counts:
                online.add([(counts[world].value, counts[world].at)], most)
                continue
            players = self._reported(world, "online")
            present = online.add(players, most)
            lobby.add(self._reported(world, "lobby"), most - present)
        return online.sample(), lobby.sample()

    def _reported(self, world: str, state: str) -> list[tuple[float, float]]:
        series = Series("players", (("state", state), ("world", world)))
        return [
            (scrape.values[series], scrape.at)
            for scrape in self._last.values()
            if series in scrape.values
        ]

    def _slope(self, tier: str, players: Sample | None, now: float) -> float:
        """Players per second over a minute: a low quantile of the slopes between all pairs of samples.

        A ramp has it, though reports come in steps; a single jump, as when a gateway or a game server restarts, is none.
        """
        history = self._players[tier]
        if players is not None and (not history or players.at > history[-1][0]):
            history.append((players.at, players.value))
        while history and history[0][0] < now - SLOPE_SECONDS:
            history.popleft()
        slopes = sorted(
            (after - before) / (later - earlier)
            for (earlier, before), (later, after) in itertools.combinations(history, 2)
        )
        if len(history) < _LEAST_FOR_SLOPE:
            return 0.0
        slope = slopes[int(_SLOPE_QUANTILE * len(slopes))]
        return slope if abs(slope) > _SIGNIFICANT * _slope_error(history) else 0.0

    def _learn(
        self,
        kept: _Tier,
        total: _Part,
        in_flight: Sample | None,
        slots: Sample | None,
        at: float | None,
    ) -> None:
        service = _mean(total.engine_seconds, total.engine_count, at)
        kept.service_ms = service or kept.service_ms
        idle = in_flight and slots and in_flight.value <= _IDLE_PART * slots.value
        if idle:
            kept.idle_p95_ms = _quantile(total.engine, 0.95, at) or kept.idle_p95_ms

    def _learn_players(
        self, kept: _Tier, total: _Part, worlds: list[str], players: Sample | None, now: float
    ) -> None:
        """Engine requests per player and minute, by an exponential average that depends on time alone."""
        span = kept.parts[-1][0] - kept.parts[0][0] if kept.parts else 0.0
        known = players is not None and players.value >= 1 and now - players.at <= STALE_SECONDS
        if players is None or not known or span < _LEAST_SPAN * WINDOW_SECONDS:
            return
        requests = sum(total.requests.get(world, 0.0) for world in worlds)
        found = requests * 60 / span / players.value
        # Fast at first: what is declared is a guess.
        kept.learning_seconds = min(_LEARNING_SECONDS, kept.learning_seconds + now - kept.learnt_at)
        part = 1 - math.exp(-(now - kept.learnt_at) / max(WINDOW_SECONDS, kept.learning_seconds))
        before = found if kept.requests_per_player is None else kept.requests_per_player
        kept.requests_per_player, kept.learnt_at = before + part * (found - before), now


def _slope_error(history: Sequence[tuple[float, float]]) -> float:
    """The standard error of a line through samples: what noise alone gives to its slope."""
    times, values = zip(*history, strict=True)
    line = statistics.linear_regression(times, values)
    squares = [(v - line.intercept - line.slope * t) ** 2 for t, v in history]
    middle = statistics.fmean(times)
    spread = sum((each - middle) ** 2 for each in times)
    return math.sqrt(sum(squares) / (len(history) - 2) / spread)


def _sum(players: Sample | None, lobby: Sample | None) -> Sample | None:
    """Players who ask, and those who will: a lobby fills before a world does."""
    if players is None or lobby is None:
        return players
    return Sample(players.value + lobby.value, players.at)


def _parts(before: Scrape, after: Scrape) -> dict[str, _Part]:
    """What happened between two scrapes of one gateway, by tier. A counter that went back began again."""
    found: dict[str, _Part] = defaultdict(_Part)
    for series, value in after.values.items():
        base = series.name.rpartition("_")[0]
        if series.name == "engine_requests_total" or base.endswith("duration_seconds"):
            earlier = before.values.get(series, 0.0)
            change = value - earlier if value >= earlier else value
            # Buckets without a change are needed too: a quantile lies between two edges.
            if change or series.name.endswith("_bucket"):
                _add(found[series.label("tier")], series, base, change)
    return found


def _add(part: _Part, series: Series, base: str, change: float) -> None:
    kind = series.name.rpartition("_")[2]
    if series.name == "engine_requests_total":
        part.requests[series.label("world")] += change
    elif kind == "bucket":
        edge = float(series.label("le").replace("+Inf", "inf"))
        if base == "request_duration_seconds" and series.label("source") in _ANSWERED:
            part.answers[edge] += change
        elif base == "engine_request_duration_seconds":
            part.engine[edge] += change
    elif base == "engine_request_duration_seconds":
        part.engine_seconds += change if kind == "sum" else 0.0
        part.engine_count += change if kind == "count" else 0.0
    elif base == "queue_duration_seconds":
        part.queue_seconds += change if kind == "sum" else 0.0
        part.queue_count += change if kind == "count" else 0.0


def _total(parts: Iterable[_Part]) -> _Part:
    total = _Part()
    for part in parts:
        for mine, other in (
            (total.answers, part.answers),
            (total.engine, part.engine),
            (total.requests, part.requests),
        ):
            _merge(mine, other)
        total.engine_seconds += part.engine_seconds
        total.engine_count += part.engine_count
        total.queue_seconds += part.queue_seconds
        total.queue_count += part.queue_count
    return total


def _merge(
    mine: dict[float, float] | dict[str, float], other: Mapping[float, float] | Mapping[str, float]
) -> None:
    for key, value in other.items():
        mine[key] += value  # type: ignore[index] # both have the same keys


def _mean(seconds: float, count: float, at: float | None) -> Sample | None:
    """A mean in milliseconds."""
    return Sample(1000 * seconds / count, at) if count and at is not None else None


def _quantile(buckets: Buckets, part: float, at: float | None) -> Sample | None:
    """A quantile in milliseconds of cumulated buckets, as Prometheus' histogram_quantile computes it."""
    edges = sorted(buckets)
    if at is None or not edges or not buckets[edges[-1]]:
        return None
    rank = part * buckets[edges[-1]]
    index = next(at for at, edge in enumerate(edges) if buckets[edge] >= rank)
    edge, start = edges[index], edges[index - 1] if index else 0.0
    if math.isinf(edge):
        return Sample(1000 * start, at)
    below = buckets[start] if index else 0.0
    width = buckets[edge] - below
    inside = (rank - below) / width if width else 0.0
    return Sample(1000 * (start + (edge - start) * inside), at)


def _high(starts: Iterable[float]) -> float:
    """The 90th percentile of start times; five minutes before the first one."""
    known = sorted(starts)
    return known[math.ceil(_START_QUANTILE * len(known)) - 1] if known else FIRST_START_SECONDS
