"""The present values that Prometheus reads off a dispatcher."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import Metric

from gameai.gateway.dispatch.response_cache import Cache
from gameai.gateway.engines.scheduler import Scheduler
from gameai.gateway.memory import MemoryLedger
from gameai.gateway.metrics import gauge


def dispatcher_gauges(
    schedulers: Mapping[str, Scheduler],
    backlog: Mapping[str, int],
    cache: Cache,
    ledger: MemoryLedger,
    waiting: int,
) -> Iterable[Metric]:
    """Present values; `backlog` are jobs that wait for a tier, which may have no scheduler now."""
    held = {key: each for key, each in list(schedulers.items()) if each.tier.model}
    rows: list[tuple[str, str, Callable[[str], float]]] = [
        (
            "queue_depth",
            "Questions in the queue, and this gateway's part of the jobs that wait.",
            lambda key: backlog.get(key, 0) + (len(held[key].queue) if key in held else 0),
        ),
        (
            "in_flight",
            "Engine requests in flight.",
            lambda key: held[key].in_flight if key in held else 0,
        ),
        (
            "slots",
            "Engine slots of this gateway.",
            lambda key: held[key].slots if key in held else 0,
        ),
    ]
    for name, text, value in rows:
        values = [((key,), float(value(key))) for key in sorted({*held, *backlog})]
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
