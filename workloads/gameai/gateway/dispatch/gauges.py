"""The present values that Prometheus reads off a dispatcher."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import Metric

from gameai.gateway.dispatch.response_cache import Cache
from gameai.gateway.engines.scheduler import Scheduler
from gameai.gateway.memory import MemoryLedger
from gameai.gateway.metrics import gauge


def dispatcher_gauges(
    schedulers: Mapping[str, Scheduler], cache: Cache, ledger: MemoryLedger, waiting: int
) -> Iterable[Metric]:
    """Present values."""
    rows: list[tuple[str, str, Callable[[Scheduler], float]]] = [
        ("queue_depth", "Questions in the queue.", lambda scheduler: len(scheduler.queue)),
        ("in_flight", "Engine requests in flight.", lambda scheduler: scheduler.in_flight),
        ("slots", "Engine slots of this gateway.", lambda scheduler: scheduler.slots),
    ]
    for name, text, value in rows:
        values = [
            ((key,), float(value(scheduler)))
            for key, scheduler in list(schedulers.items())
            if scheduler.tier.model
        ]
        yield gauge(f"gameai_gateway_{name}", text, ("tier",), values)
    single: list[tuple[str, str, float]] = [
        ("cache_entries", "Cached answers.", len(cache)),
        ("cache_bytes", "Size of the cached answers, in bytes.", cache.size),
        (
            "held_bytes",
            "Memory of open questions, waiting frames, unread answers and unfinished replies, in bytes.",
            ledger.total,
        ),
        ("open_questions", "Open questions.", waiting),
    ]
    for name, text, number in single:
        yield gauge(f"gameai_gateway_{name}", text, (), [((), float(number))])
