"""Metrics of the bus's controller."""

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge


class ControllerMetrics:
    """The series of one process."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.connections = Counter(
            "gameai_bus_controller_connections",
            "Connections to the bus that were decided on, by result: accepted, no_token, no_grant, too_many_services, too_many_connections, late, unreadable.",
            ["result"],
            registry=registry,
        )
        self.events = Counter(
            "gameai_bus_controller_events",
            "Events of the controller's watches.",
            ["event"],
            registry=registry,
        )
        self.bytes = Gauge(
            "gameai_bus_stream_bytes",
            "Bytes that a stream of the bus holds.",
            ["stream"],
            registry=registry,
        )
        self.most_bytes = Gauge(
            "gameai_bus_stream_limit_bytes",
            "Bytes that a stream of the bus may hold.",
            ["stream"],
            registry=registry,
        )
        self.messages = Gauge(
            "gameai_bus_stream_messages",
            "Messages in a stream of the bus.",
            ["stream"],
            registry=registry,
        )
        self.consumers = Gauge(
            "gameai_bus_stream_consumers",
            "Consumers of a stream of the bus.",
            ["stream"],
            registry=registry,
        )
        self.of_streams = (self.bytes, self.most_bytes, self.messages, self.consumers)

        self.pending = Gauge(
            "gameai_bus_consumer_pending_batches",
            "Batches that a service which consumes events of its world has not handled.",
            ["namespace", "world", "service"],
            registry=registry,
        )
        self.dead_letters = Gauge(
            "gameai_bus_dead_letter_batches",
            "Batches that a consumer could not handle, with those behind them; each of its worlds is parked.",
            ["namespace", "world", "consumer"],
            registry=registry,
        )
        self.refused_consumers = Gauge(
            "gameai_bus_controller_refused_consumers",
            "Consumers of worlds that are not created because a limit is reached.",
            registry=registry,
        )

    def count_event(self, event: str) -> None:
        """Count an event of a watch."""
        self.events.labels(event).inc()
