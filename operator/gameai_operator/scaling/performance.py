"""PURE: measured capacities: what status keeps of them, which count now, and when another measurement is due.

A capacity is measured once for each pair of engine (its hash) and GPU product, at the latency target of the tier. Another target makes
another measurement. The one pod that is measured serves nothing meanwhile, so the others must be able to carry the load.
"""

import datetime
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from gameai_contract.tier_agent import Phase

from gameai_operator.api.tier import PerformanceStatus
from gameai_operator.controller.manifest import timestamp
from gameai_operator.scaling.agents import Capacity, Report

MOST_ENTRIES = 8
# After a request to measure, so long before the next one: a measurement may have been given up.
AGAIN_SECONDS = 900.0
# The other pods may be loaded to this part of their target while one is measured.
_BUSY = 0.5
_LEAST_SERVING = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """What a measurement depends on: replicas wanted and ready, requests queued and in flight (None: unknown), and their target per replica."""

    target_ms: int
    current: int
    ready: int
    requests: float | None
    per_replica: int
    rolling: bool


def merged(
    kept: Sequence[PerformanceStatus],
    reports: Collection[Report],
    target_ms: int,
    now: datetime.datetime,
) -> tuple[PerformanceStatus, ...]:
    """The entries of status with what was newly measured; of engines that do not run now only the newest few are kept."""
    entries = {(each.template_hash, each.gpu_product): each for each in kept}
    for report in reports:
        key, capacity = (report.engine_hash, report.gpu_product), report.capacity
        known = entries.get(key)
        if capacity is None or capacity.target_ms != target_ms or not all(key):
            continue
        if known is None or known.target_ms != target_ms:
            entries[key] = _entry(report, capacity, now)
    running = {(each.engine_hash, each.gpu_product) for each in reports}
    by_age = sorted(entries.values(), key=lambda each: each.measured_at, reverse=True)
    first = sorted(by_age, key=lambda each: (each.template_hash, each.gpu_product) not in running)
    return tuple(sorted(first[:MOST_ENTRIES], key=_identity))


def counting(
    entries: Sequence[PerformanceStatus], reports: Collection[Report], target_ms: int
) -> Capacity | None:
    """The least capacity of the engines that run; None where one was not measured at this target, or nothing runs."""
    by_key = {_identity(each): each for each in entries if each.target_ms == target_ms}
    running = {(each.engine_hash, each.gpu_product) for each in reports}
    if not running or not running <= by_key.keys():
        return None
    found = [by_key[key] for key in running]
    return Capacity(
        target_ms=target_ms,
        requests_per_second=min(float(each.requests_per_second) for each in found),
        concurrency=min(each.concurrency for each in found),
        idle_p95_ms=max(float(each.idle_p95_ms) for each in found),
    )


def due(
    entries: Sequence[PerformanceStatus], reports: Mapping[str, Report], seen: Situation
) -> str | None:
    """The address of the agent that should measure now; None where all is measured, or the pod is needed."""
    serving = sorted(name for name, each in reports.items() if each.phase is Phase.SERVING)
    calm = seen.ready == seen.current == len(serving) == len(reports) >= _LEAST_SERVING
    if not calm or seen.rolling or seen.requests is None:
        return None
    if seen.requests > _BUSY * seen.per_replica * (seen.ready - 1):
        return None
    known = {_identity(each) for each in entries if each.target_ms == seen.target_ms}
    for name in serving:
        key = (reports[name].engine_hash, reports[name].gpu_product)
        if all(key) and key not in known:
            return name
    return None


def _identity(entry: PerformanceStatus) -> tuple[str, str]:
    return entry.template_hash, entry.gpu_product


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
