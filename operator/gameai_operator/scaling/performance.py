"""PURE: measured capacities: what status keeps of them, which count now, and when a measurement is due.

A capacity is measured for each pair of engine (its hash) and GPU product, at the latency target of the tier, and again for
another target or after 30 days. The one pod that is measured serves nothing meanwhile, so the others must be able to
carry the load, before it begins and as long as it lasts.
"""

import datetime
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from gameai_contract.tier_agent import MOST_TARGET_MS, Phase

from gameai_operator.api.tier import PerformanceStatus
from gameai_operator.controller.manifest import timestamp
from gameai_operator.scaling.agents import Capacity, Report

MOST_ENTRIES = 8
_AGE = datetime.timedelta(days=30)
# The other pods may be loaded to this part of their target while one is measured.
_BUSY = 0.5
# After a try, so long before the next one, doubled each time that it came to nothing.
_FIRST_PAUSE_SECONDS, _MOST_PAUSE_SECONDS = 900.0, 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """What a measurement depends on.

    `current` replicas are wanted and `ready` are ready, of which `needed` must be for the tier to be Ready. `requests`
    are queued and in flight (None: unknown), of which a replica is planned for `per_replica`.
    """

    now: datetime.datetime
    target_ms: int
    current: int
    ready: int
    needed: int
    requests: float | None
    per_replica: int
    rolling: bool

    def carried_by(self, others: int) -> bool:
        """Whether so many replicas carry the load without the one that is measured."""
        if self.requests is None or self.rolling or others < max(1, self.needed):
            return False
        return self.requests <= _BUSY * self.per_replica * others


def pause_seconds(tries: int) -> float:
    """How long after so many tries in a row that came to nothing."""
    return min(_FIRST_PAUSE_SECONDS * 2.0 ** min(tries, 20), _MOST_PAUSE_SECONDS)


def merged(
    kept: Sequence[PerformanceStatus],
    reports: Collection[Report],
    target_ms: int,
    now: datetime.datetime,
) -> tuple[PerformanceStatus, ...]:
    """The entries of status with what was newly measured. Those of engines that run come first, and older ones before new ones."""
    entries = {_identity(each): each for each in kept}
    for report in reports:
        key, capacity = _running(report), report.capacity
        known = entries.get(key)
        if capacity is None or capacity.target_ms != target_ms or not all(key):
            continue
        if known is None or known.target_ms != target_ms or _is_old(known, now):
            entries[key] = _entry(report, capacity, now)
    running, before = {_running(each) for each in reports}, {_identity(each) for each in kept}
    order = sorted(entries, key=lambda key: entries[key].measured_at, reverse=True)
    order.sort(key=lambda key: (key not in running, key not in before))
    return tuple(entries[key] for key in sorted(order[:MOST_ENTRIES]))


def counting(
    entries: Sequence[PerformanceStatus], reports: Collection[Report], target_ms: int
) -> Capacity | None:
    """The capacity that a replica is planned with: the least of the measured engines that run.

    Engines that were not measured do not take away what is known of others, and neither does the silence of agents: then
    the newest entry counts. At another target the former measurement counts until there is a new one. None where nothing
    was measured, or other engines run than those that were.
    """
    right = [each for each in entries if each.target_ms == target_ms] or list(entries)
    running = {_running(each) for each in reports}
    found = [each for each in right if _identity(each) in running]
    if not running:
        found = sorted(right, key=lambda each: each.measured_at)[-1:]
    if not found:
        return None
    return Capacity(
        target_ms=found[0].target_ms,
        requests_per_second=min(float(each.requests_per_second) for each in found),
        concurrency=min(each.concurrency for each in found),
        idle_p95_ms=max(float(each.idle_p95_ms) for each in found),
    )


def due(
    entries: Sequence[PerformanceStatus],
    reports: Mapping[str, Report],
    seen: Situation,
    tries: int = 0,
) -> str | None:
    """The address of the agent that should measure now; None where all is measured, or the pod is needed.

    After `tries` that came to nothing it is another one's turn.
    """
    serving = sorted(name for name, each in reports.items() if each.phase is Phase.SERVING)
    calm = seen.ready == seen.current == len(serving) == len(reports)
    if not calm or not seen.carried_by(len(serving) - 1) or seen.target_ms > MOST_TARGET_MS:
        return None
    running = {_running(each) for each in reports.values()}
    measured = {_identity(e) for e in entries if e.target_ms == seen.target_ms}
    fresh = measured - {_identity(each) for each in entries if _is_old(each, seen.now)}
    if len(measured & running) >= MOST_ENTRIES:
        return None
    missing = [
        name
        for name in serving
        if all(_running(reports[name])) and _running(reports[name]) not in fresh
    ]
    return missing[tries % len(missing)] if missing else None


def goes_on(reports: Mapping[str, Report], seen: Situation) -> tuple[str, ...]:
    """The agents whose measurement may go on."""
    phases = {name: each.phase for name, each in reports.items()}
    measuring = tuple(name for name, phase in phases.items() if phase is Phase.MEASURING)
    others = sum(phase is Phase.SERVING for phase in phases.values())
    return measuring if seen.carried_by(others) else ()


def _identity(entry: PerformanceStatus) -> tuple[str, str]:
    return entry.template_hash, entry.gpu_product


def _running(report: Report) -> tuple[str, str]:
    return report.engine_hash, report.gpu_product


def _is_old(entry: PerformanceStatus, now: datetime.datetime) -> bool:
    return now - datetime.datetime.fromisoformat(entry.measured_at) > _AGE


def _entry(report: Report, capacity: Capacity, now: datetime.datetime) -> PerformanceStatus:
    return PerformanceStatus(
        template_hash=report.engine_hash,
        gpu_product=report.gpu_product,
        target_ms=capacity.target_ms,
        requests_per_second=f"{capacity.requests_per_second:.2f}",
        concurrency=capacity.concurrency,
        idle_p95_ms=f"{capacity.idle_p95_ms:.1f}",
        measured_at=timestamp(now),
    )
