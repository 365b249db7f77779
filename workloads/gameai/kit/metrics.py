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
        self.waiting = Gauge(
            "gameai_kit_outbox_events",
            "Events in the database that have no number yet, as of the last look; all replicas of a service show the same ones.",
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
