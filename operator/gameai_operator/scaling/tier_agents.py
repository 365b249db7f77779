"""asyncio: the agents of each tier: where they are, what they report, and which one is asked to measure."""

import datetime
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gameai_operator.api.base import is_true
from gameai_operator.api.tier import ModelTier
from gameai_operator.controller.cache import Cache
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.pod_facts import Pod
from gameai_operator.scaling import agents, performance
from gameai_operator.scaling.agents import Agents, Seen
from gameai_operator.scaling.decide import Fleet
from gameai_operator.scaling.decided import Decided, Made
from gameai_operator.scaling.newest import Newest
from gameai_operator.scaling.performance import Situation, pause_seconds
from gameai_operator.scaling.signals import Signals, fresh
from gameai_operator.tier.effective import effective

_LOG = logging.getLogger(__name__)
# Of one namespace; others are not asked, so that nothing of theirs counts.
_MOST_PER_NAMESPACE = 300
# Requests to measure at the same time, for all tiers.
_MOST_REQUESTS = 32

# Asks the agent at an address to measure at a target in milliseconds; what it answers. Raises OSError, TimeoutError and ValueError.
Ask = Callable[[str, int], Awaitable[str]]


@dataclass(slots=True)
class _Tries:
    """Which agent of a tier was last asked to measure, when, and how often in a row that came to nothing."""

    address: str
    at: float
    count: int
    known: int


class TierAgents:
    """Every agent that runs in a pod of a tier. `port` 0 means that there are none to ask."""

    def __init__(self, cache: Cache, port: int, ask: Ask) -> None:
        self.store = Agents()
        self._cache = cache
        self._port = port
        self._ask = ask
        self._tries: dict[Key, _Tries] = {}
        self._requests = Newest(_MOST_REQUESTS)

    def targets(self) -> tuple[str, ...]:
        """The address of every agent whose tier is scaled."""
        tiers = sorted(self._cache.keys("ModelTier")) if self._port else ()
        found: dict[str, list[str]] = defaultdict(list)
        for tier in tiers:
            if self._is_scaled(tier):
                found[tier.namespace] += self._pods(tier)
        return tuple(e for each in found.values() for e in each[:_MOST_PER_NAMESPACE])

    def _is_scaled(self, tier: Key) -> bool:
        root = self._cache.root(tier)
        return root is not None and "scaling" in root["spec"]

    def _pods(self, tier: Key) -> dict[str, str]:
        """The names of the pods of a tier that live, by the address of their agent."""
        pods = (entry.value for entry in self._cache.below(tier) if isinstance(entry.value, Pod))
        alive = (e for e in pods if e.has_agent and not (e.terminating or e.dead))
        return {each.at(self._port): each.name for each in alive if each.address}

    def seen(self, key: Key, tier: ModelTier, target_ms: int, now: float) -> Seen:
        """What the agents of a tier said within the last minute."""
        reports = self.store.reports(self._pods(key), now) if self._port else {}
        counting = performance.counting(tier.status.performance, reports.values(), target_ms)
        return Seen(reports, counting)

    async def end(self) -> None:
        """Ask nothing more."""
        await self._requests.end()

    def keep(self, tiers: Mapping[Key, Any]) -> None:
        """Forget all tiers but these."""
        self._tries = {key: each for key, each in self._tries.items() if key in tiers}

    def measure(self, decided: Decided, made: Made, now: float, wall: datetime.datetime) -> None:
        """Have one replica measured where that is due, and let a measurement go on while the others carry the load.

        Nothing waits for the agents' answers.
        """
        key, tier, fleet, seen = decided.key, decided.tier, made.fleet, made.agents
        situation = _situation(tier, fleet, made.signals, now, wall)
        known = len(tier.status.performance)
        tries = self._tries.get(key)
        # What another process began ends by itself.
        if tries is not None and tries.address in performance.goes_on(seen.reports, situation):
            self._request(key, tries.address, fleet.target_ms)
        if seen.measuring:
            return
        if tries is not None and known != tries.known:
            tries = None
        count = 0 if tries is None else tries.count
        if tries is not None and now - tries.at < pause_seconds(count):
            return
        due = performance.due(tier.status.performance, seen.reports, situation, count)
        if due is not None:
            self._tries[key] = _Tries(due, now, count + 1, known)
            _LOG.info("%s: measuring %s", key, seen.reports[due].pod)
            self._request(key, due, fleet.target_ms)

    def _request(self, key: Key, address: str, target_ms: int) -> None:
        async def ask() -> None:
            try:
                answer = await self._ask(address, target_ms)
            except (OSError, TimeoutError, ValueError) as error:
                answer = f"{type(error).__name__}: {error}"
            _LOG.debug("%s: the agent at %s was asked to measure: %s", key, address, answer[:200])

        self._requests.offer(key, ask)


def with_agents(signals: Signals, seen: Seen) -> Signals:
    """The signals with what engines count themselves, and with the measured rate of a replica that keeps its target."""
    running, waiting = agents.load(seen.reports.values())
    rate = seen.capacity.requests_per_second if seen.capacity and seen.capacity.reachable else None
    return replace(
        signals, engine_running=running, engine_waiting=waiting, capacity_per_second=rate
    )


def _situation(
    tier: ModelTier, fleet: Fleet, signals: Signals, now: float, wall: datetime.datetime
) -> Situation:
    queued, running = fresh(signals.queued, now), fresh(signals.in_flight, now)
    known = queued is not None and running is not None and not signals.silent
    return Situation(
        now=wall,
        target_ms=fleet.target_ms,
        current=fleet.current,
        ready=tier.status.ready_replicas or 0,
        needed=effective(tier).needed,
        requests=(queued or 0) + (running or 0) if known else None,
        per_replica=fleet.per_replica,
        rolling=_is_rolling(tier),
    )


def _is_rolling(tier: ModelTier) -> bool:
    """Whether a roll-out is in progress, or the last edit was not looked at yet."""
    unseen = tier.status.observed_generation != tier.metadata.generation
    return unseen or is_true(tier.status.conditions, "Reconciling")
