"""PURE: metrics of the gateway: plain numbers on the hot path, converted when Prometheus scrapes."""

import bisect
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from gameai_contract.places import Places
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gameai.gateway.memory import namespace

# Milliseconds around the targets of Gold and Silver.
BUCKETS_MS = (1, 2, 4, 8, 12, 16, 25, 50, 100, 150, 250, 500, 1000, 5000, 30_000)
_EDGES = tuple(edge / 1000 for edge in BUCKETS_MS)
# Worlds are users' words: further ones are counted together. A namespace with many leaves places for the others.
MOST_WORLDS = 200
OTHER = "other"


class Spread:
    """A histogram's counts."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_EDGES) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count a time."""
        self.counts[bisect.bisect_left(_EDGES, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulated, as Prometheus wants them."""
        cumulative, below = [], 0
        for edge, count in zip([*map(str, _EDGES), "+Inf"], self.counts, strict=True):
            below += count
            cumulative.append((edge, float(below)))
        return cumulative


class Metrics(Collector):
    """Everything since the start. Keys are label values in the order of the metric's labels."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], int] = defaultdict(int)
        self.degraded: dict[tuple[str, str], int] = defaultdict(int)
        self.faults: dict[tuple[str, str], int] = defaultdict(int)
        self.engine_failures: dict[tuple[str, str], int] = defaultdict(int)
        self.tokens: dict[tuple[str, str, str], int] = defaultdict(int)
        self.requests: dict[tuple[str, str], int] = defaultdict(int)
        self.seconds: dict[tuple[str, str], Spread] = defaultdict(Spread)
        self.queued: dict[tuple[str], Spread] = defaultdict(Spread)
        self.engine_seconds: dict[tuple[str], Spread] = defaultdict(Spread)
        self.late: dict[tuple[str], int] = defaultdict(int)
        self.events: dict[tuple[str], int] = defaultdict(int)
        self.gauges: Callable[[], Iterable[Metric]] = tuple
        self._worlds = Places[str](MOST_WORLDS)

    def count_event(self, event: str) -> None:
        """Count an event of `gameai_gateway_events`."""
        self.events[event,] += 1

    def world(self, key: str) -> str:
        """A world's label: its own, or `other` where its namespace has its part of all labels."""
        if key in self._worlds:
            return key
        lost = self._worlds.enter(key, namespace(key))
        if lost is not None and lost != key:
            self._drop_worlds({lost})
        return OTHER if lost == key else key

    def forget(self, worlds: Collection[str], tiers: Collection[str]) -> None:
        """Remove the series of deleted worlds and tiers. Their labels become available again."""
        gone = set(self._worlds).difference(worlds)
        for world in gone:
            self._worlds.leave(world)
        self._drop_worlds(gone)
        for counts in (self.tokens, self.requests):
            _drop(counts, lambda key: key[1] not in tiers)
        for held in (
            self.answers,
            self.degraded,
            self.faults,
            self.engine_failures,
            self.seconds,
            self.queued,
            self.engine_seconds,
            self.late,
        ):
            _drop(held, lambda key: bool(key[0]) and key[0] not in tiers)

    def _drop_worlds(self, gone: Collection[str]) -> None:
        for counts in (self.tokens, self.requests):
            _drop(counts, lambda key: key[0] in gone)

    def collect(self) -> Iterable[Metric]:
        """Every metric."""
        yield from map(_counter, _COUNTERS, (getattr(self, name) for name, *_ in _COUNTERS))
        yield _histogram(
            "gameai_gateway_request_duration_seconds",
            "Time from the arrival of a question to its answer, in seconds.",
            ("tier", "source"),
            self.seconds,
        )
        yield _histogram(
            "gameai_gateway_queue_duration_seconds",
            "Time in the queue, in seconds.",
            ("tier",),
            self.queued,
        )
        yield _histogram(
            "gameai_gateway_engine_request_duration_seconds",
            "Duration of engine requests that were not cancelled, in seconds.",
            ("tier",),
            self.engine_seconds,
        )
        yield from self.gauges()


def _drop(counts: dict[Any, Any], gone: Callable[[tuple[str, ...]], bool]) -> None:
    for key in list(filter(gone, counts)):
        del counts[key]


_COUNTERS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("answers", "gameai_gateway_responses", "Answers by source.", ("tier", "source")),
    ("degraded", "gameai_gateway_degraded_responses", "Answers that are neither from an engine nor from the fresh cache, by reason.", ("tier", "reason")),
    ("faults", "gameai_gateway_errors", "Questions without an answer, by gRPC status.", ("tier", "code")),
    ("engine_failures", "gameai_gateway_engine_errors", "Failed engine requests, by failure.", ("tier", "failure")),
    ("tokens", "gameai_gateway_engine_tokens", "Prompt and completion tokens of engines.", ("world", "tier", "kind")),
    ("requests", "gameai_gateway_engine_requests", "Engine requests.", ("world", "tier")),
    ("late", "gameai_gateway_deadline_exceeded", "Answers that were sent after their deadline.", ("tier",)),
    ("events", "gameai_gateway_events", "Events of streams, callers and views.", ("event",)),
)  # fmt: skip


def _counter(
    row: tuple[str, str, str, tuple[str, ...]], values: dict[tuple[str, ...], int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(row[1], row[2], labels=row[3])
    for labels, value in list(values.items()):
        family.add_metric(labels, value)
    return family


def _histogram(
    name: str, text: str, labels: Sequence[str], values: Mapping[Any, Spread]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=labels)
    for held, spread in list(values.items()):
        family.add_metric(held, spread.buckets(), spread.total)
    return family


def gauge(
    name: str, text: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> GaugeMetricFamily:
    """A metric of present values."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for held, value in values:
        family.add_metric(held, value)
    return family
