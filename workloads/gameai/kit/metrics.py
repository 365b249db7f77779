"""Metrics of services with state."""

import functools

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge


class KitMetrics:
    """The series of one process. Names of worlds are no labels: there are thousands."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.mutations = Counter(
            "gameai_kit_mutations",
            "Mutations by request type and result: executed, repeated (answered from what was kept), failed.",
            ["request", "result"],
            registry=registry,
        )
        self.publishing = Gauge(
            "gameai_kit_outbox_publishing",
            "1 while this replica publishes the outbox; one replica of a service does.",
            registry=registry,
        )
        self.waiting = Gauge(
            "gameai_kit_outbox_events",
            "Events in the database that have no number yet, up to 1,000,000. All replicas of a service show the same.",
            registry=registry,
        )
        self.oldest = Gauge(
            "gameai_kit_outbox_oldest_seconds",
            "Age of the oldest event that the bus has not stored; 0 without one. All replicas of a service show the same.",
            registry=registry,
        )
        self.left_alone = Gauge(
            "gameai_kit_outbox_worlds_left_alone",
            "Worlds whose events the bus does not take at the moment; they are tried again after 1 to 10 s.",
            registry=registry,
        )
        self.stored = Counter(
            "gameai_kit_outbox_stored_events",
            "Events of the database that the broker has stored.",
            registry=registry,
        )
        self.lost = Counter(
            "gameai_kit_outbox_lost_batches",
            "Batches that the broker had stored and then lost; they were sent again.",
            registry=registry,
        )


@functools.cache
def of_process() -> KitMetrics:
    """The series of this process, which /metrics shows."""
    return KitMetrics()
