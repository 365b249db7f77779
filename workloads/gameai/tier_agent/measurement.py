"""PURE: how many requests at a time an engine serves within a latency target: a search by doubling, then by halving.

Each step keeps a fixed number of requests in flight and looks at their p95. The first step, one at a time, is the engine
without load. The result is the step within the target that served most requests per second.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# More requests in flight would measure the agent, not the engine.
MOST_CONCURRENCY = 256
# A step lasts so many times the target, between these bounds, in seconds.
_TARGETS, _LEAST_SECONDS, _MOST_SECONDS = 12.0, 2.0, 3.5
# At first each step has so many times the requests of the one before: all steps must fit into a minute.
_GROWTH, _GROWTH_OF_SLOW, _SLOW_MS = 2, 4, 500.0
# The search ends when the bounds are so close, or when more requests in flight serve so little more.
_CLOSE, _LEAST_GAIN = 1.25, 1.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step: `concurrency` requests in flight, of which `requests` ended in `seconds`."""

    concurrency: int
    requests: int
    seconds: float
    p95_ms: float

    @property
    def requests_per_second(self) -> float:
        """The rate."""
        return self.requests / self.seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """What one engine can do within `target_ms`. Where one request alone misses it, that is the step that counts."""

    target_ms: float
    requests_per_second: float
    concurrency: int
    idle_p95_ms: float


def step_seconds(target_ms: float) -> float:
    """How long a step lasts."""
    return min(max(_TARGETS * target_ms / 1000, _LEAST_SECONDS), _MOST_SECONDS)


def p95(latencies_ms: Sequence[float]) -> float:
    """The 95th percentile, by nearest rank; infinite without any value."""
    if not latencies_ms:
        return math.inf
    return sorted(latencies_ms)[math.ceil(0.95 * len(latencies_ms)) - 1]


def next_concurrency(steps: Sequence[Step], target_ms: float, slots: int) -> int | None:
    """The number of requests in flight of the next step; None where the search is over."""
    if not steps:
        return 1
    good = sorted((each for each in steps if each.p95_ms <= target_ms), key=_concurrency)
    bad = [each.concurrency for each in steps if each.p95_ms > target_ms]
    if not good:
        return None
    best = good[-1].concurrency
    if bad:
        between = (best + min(bad)) // 2
        return between if between > best and min(bad) > _CLOSE * best else None
    if best >= slots or (len(good) > 1 and _flat(good[-2], good[-1])):
        return None
    growth = _GROWTH_OF_SLOW if target_ms >= _SLOW_MS else _GROWTH
    return min(growth * best, slots)


def bounded(steps: Sequence[Step], target_ms: float) -> bool:
    """Whether a search that was cut has seen both what the engine can do and what it cannot."""
    kept = [each.p95_ms <= target_ms for each in steps if each.requests]
    return any(kept) and not all(kept)


def capacity(steps: Sequence[Step], target_ms: float) -> Capacity | None:
    """The result of the steps so far; None without any that served a request."""
    served = [each for each in steps if each.requests]
    if not served:
        return None
    good = [each for each in served if each.p95_ms <= target_ms] or served[:1]
    best = max(good, key=lambda each: each.requests_per_second)
    return Capacity(
        target_ms=target_ms,
        requests_per_second=best.requests_per_second,
        concurrency=best.concurrency,
        idle_p95_ms=served[0].p95_ms,
    )


def _concurrency(step: Step) -> int:
    return step.concurrency


def _flat(before: Step, after: Step) -> bool:
    return after.requests_per_second < _LEAST_GAIN * before.requests_per_second
