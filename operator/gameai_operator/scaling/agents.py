"""PURE: what the agents of a tier's engines report: phases, load and measured capacities."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from gameai_contract import tier_agent
from gameai_contract.tier_agent import Phase

from gameai_operator.scaling.exposition import Scrape
from gameai_operator.scaling.signals import STALE_SECONDS, Sample

SERIES = (tier_agent.PREFIX,)
FAMILY = tier_agent.ENGINE_INFO
_MOST_TEXT = 63
# Beyond these a page is not believed.
_MOST_REQUESTS_PER_SECOND, _MOST_CONCURRENCY, _MOST_SECONDS = 1e6, 1e5, 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """What one engine can do within `target_ms`, as its agent measured it."""

    target_ms: int
    requests_per_second: float
    concurrency: int
    idle_p95_ms: float

    @property
    def reachable(self) -> bool:
        """Whether an engine without load keeps the target."""
        return self.idle_p95_ms <= self.target_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What one agent said last, and when, in seconds of the scrapes' clock."""

    at: float
    pod: str
    engine_hash: str
    gpu_product: str
    phase: Phase | None
    running: float | None
    waiting: float | None
    capacity: Capacity | None


class Seen(NamedTuple):
    """What the agents of a tier say, by address, and the capacity that counts."""

    reports: Mapping[str, Report]
    capacity: Capacity | None

    @property
    def measuring(self) -> int:
        """How many replicas are measured just now: they are not ready, and do not start either."""
        return sum(each.phase is Phase.MEASURING for each in self.reports.values())


class Agents:
    """The last report of each agent, by address. An agent counts until it is no longer listed."""

    def __init__(self) -> None:
        self._last: dict[str, Report] = {}

    def listed(self, addresses: Iterable[str]) -> None:
        """These agents exist now; what others said is forgotten."""
        for gone in set(self._last) - set(addresses):
            del self._last[gone]

    def take(self, address: str, scrape: Scrape) -> None:
        """An agent answered."""
        self._last[address] = _report(scrape)

    def reports(self, pods: Mapping[str, str], now: float) -> dict[str, Report]:
        """What the agents of these pods, by address, said within the last minute. An address may have been another pod's."""
        found = {each: self._last[each] for each in sorted(pods) if each in self._last}
        return {
            address: each
            for address, each in found.items()
            if now - each.at <= STALE_SECONDS and each.pod == pods[address]
        }


def load(reports: Iterable[Report]) -> tuple[Sample | None, Sample | None]:
    """Requests that run and that wait in all engines that say so; None where none does."""
    known = [each for each in reports if each.running is not None and each.waiting is not None]
    if not known:
        return None, None
    at = min(each.at for each in known)
    running = sum(each.running or 0.0 for each in known)
    return Sample(running, at), Sample(sum(each.waiting or 0.0 for each in known), at)


def _report(scrape: Scrape) -> Report:
    values = {series.name: value for series, value in scrape.values.items()}
    info: Mapping[str, str] = {}
    phase = None
    for series, value in scrape.values.items():
        if series.name == tier_agent.ENGINE_INFO:
            info = dict(series.labels)
        if series.name == tier_agent.PHASE and value == 1 and series.label("phase") in set(Phase):
            phase = Phase(series.label("phase"))
    return Report(
        at=scrape.at,
        pod=info.get("pod", ""),
        engine_hash=info.get("engine_hash", "")[:_MOST_TEXT],
        gpu_product=info.get("gpu_product", "")[:_MOST_TEXT],
        phase=phase,
        running=values.get(tier_agent.REQUESTS_RUNNING),
        waiting=values.get(tier_agent.REQUESTS_WAITING),
        capacity=_capacity(values),
    )


def _capacity(values: Mapping[str, float]) -> Capacity | None:
    rate = values.get(tier_agent.CAPACITY_REQUESTS, 0.0)
    concurrency = values.get(tier_agent.CAPACITY_CONCURRENCY, 0.0)
    idle, target = (
        values.get(name, 0.0) for name in (tier_agent.CAPACITY_IDLE_P95, tier_agent.CAPACITY_TARGET)
    )
    within = (
        0 < rate <= _MOST_REQUESTS_PER_SECOND
        and 1 <= concurrency <= _MOST_CONCURRENCY
        and 0 < idle <= _MOST_SECONDS
        and 0 < target <= _MOST_SECONDS
    )
    if not within:
        return None
    return Capacity(
        target_ms=round(1000 * target),
        requests_per_second=rate,
        concurrency=int(concurrency),
        idle_p95_ms=1000 * idle,
    )
