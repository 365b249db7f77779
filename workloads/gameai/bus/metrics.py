"""Metrics of the bus, as a process that publishes or consumes has them."""

import functools

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class BusMetrics:
    """The series of one process. Names of worlds are no labels: there are thousands."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.published = Counter(
            "gameai_bus_published_events",
            "Events that the broker has stored, by source.",
            ["source"],
            registry=registry,
        )
        self.lost = Counter(
            "gameai_bus_unpublished_events",
            "Events that were not sent while the bus took nothing, as their type allows: dropped, or replaced by a newer one.",
            ["type", "reason"],
            registry=registry,
        )
        self.resent = Counter(
            "gameai_bus_resent_batches",
            "Batches that were sent again, since the broker did not acknowledge them.",
            registry=registry,
        )
        self.waiting = Gauge(
            "gameai_bus_waiting_events",
            "Events that wait to be sent.",
            registry=registry,
        )
        self.handled = Counter(
            "gameai_bus_handled_batches",
            "Batches by consumer and result: handled, retried, dead_lettered, redriven, dropped, passed_over.",
            ["consumer", "result"],
            registry=registry,
        )
        self.handling = Histogram(
            "gameai_bus_handling_seconds",
            "Time of a consumer's handler for a batch.",
            ["consumer"],
            buckets=_SECONDS,
            registry=registry,
        )


@functools.cache
def of_process() -> BusMetrics:
    """The series of this process, which /metrics shows."""
    return BusMetrics()
