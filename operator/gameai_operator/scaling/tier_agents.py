"""asyncio: the agents of each tier: where they are, what they report, and which one is asked to measure."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from gameai_operator.api.base import ConditionStatus
from gameai_operator.api.tier import ModelTier
from gameai_operator.controller.cache import Cache
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.pod_facts import Pod
from gameai_operator.scaling import agents, performance
from gameai_operator.scaling.agents import Agents, Seen
from gameai_operator.scaling.decide import Fleet
from gameai_operator.scaling.performance import AGAIN_SECONDS, Situation
from gameai_operator.scaling.signals import Sample, Signals, fresh

_LOG = logging.getLogger(__name__)
# Of one tier; others are not asked, so that nothing of theirs counts.
_MOST_PER_TIER = 1000

# Asks the agent at an address to measure at a target in milliseconds; what it answers. Raises OSError and TimeoutError.
Ask = Callable[[str, int], Awaitable[str]]


class TierAgents:
    """Every agent that runs in a pod of a tier. `port` 0 means that there are none to ask."""

    def __init__(self, cache: Cache, port: int, ask: Ask) -> None:
        self.store = Agents()
        self._cache = cache
        self._port = port
        self._ask = ask
        self._asked: dict[Key, float] = {}

    def targets(self) -> tuple[str, ...]:
        """The address of every agent whose tier is scaled."""
        tiers = sorted(self._cache.keys("ModelTier")) if self._port else ()
        return tuple(e for tier in tiers if self._is_scaled(tier) for e in self._of(tier))

    def _is_scaled(self, tier: Key) -> bool:
        root = self._cache.root(tier)
        return root is not None and "scaling" in root["spec"]

    def _of(self, tier: Key) -> Sequence[str]:
        pods = (entry.value for entry in self._cache.below(tier) if isinstance(entry.value, Pod))
        hosts = (pod.agent_address for pod in pods if pod.agent_address and not pod.terminating)
        found = [
            f"[{each}]:{self._port}" if ":" in each else f"{each}:{self._port}" for each in hosts
        ]
        return found[:_MOST_PER_TIER]

    def seen(self, key: Key, tier: ModelTier, target_ms: int, now: float) -> Seen:
        """What the agents of a tier said within the last minute."""
        if not self._port:
            return Seen({}, None)
        reports = self.store.reports(self._of(key), now)
        counting = performance.counting(tier.status.performance, reports.values(), target_ms)
        return Seen(reports, counting)

    def keep(self, tiers: Mapping[Key, Any]) -> None:
        """Forget all tiers but these."""
        self._asked = {key: at for key, at in self._asked.items() if key in tiers}

    async def measure(
        self, key: Key, tier: ModelTier, fleet: Fleet, seen: Seen, signals: Signals, now: float
    ) -> None:
        """Have one replica measured, where that is due."""
        if not seen.reports or now - self._asked.get(key, now - AGAIN_SECONDS) < AGAIN_SECONDS:
            return
        queued, running = fresh(signals.queued, now), fresh(signals.in_flight, now)
        known = queued is not None and running is not None and not signals.silent
        situation = Situation(
            target_ms=fleet.target_ms,
            current=fleet.current,
            ready=tier.status.ready_replicas or 0,
            requests=(queued or 0) + (running or 0) if known else None,
            per_replica=fleet.per_replica,
            rolling=_rolling(tier),
        )
        address = performance.due(tier.status.performance, seen.reports, situation)
        if address is None:
            return
        self._asked[key] = now
        try:
            answer = await self._ask(address, fleet.target_ms)
        except (OSError, TimeoutError) as error:
            answer = f"{type(error).__name__}: {error}"
        _LOG.info("%s: the agent at %s was asked to measure: %s", key, address, answer)


def with_agents(signals: Signals, seen: Seen, now: float) -> dict[str, Any]:
    """The signals that agents add: what engines count themselves, and measurements as long as real requests say nothing."""
    running, waiting = agents.load(seen.reports.values())
    found: dict[str, Any] = {"engine_running": running, "engine_waiting": waiting}
    if seen.capacity is not None:
        if seen.capacity.reachable:
            found["capacity_per_second"] = seen.capacity.requests_per_second
        if signals.idle_p95_ms is None:
            found["idle_p95_ms"] = Sample(seen.capacity.idle_p95_ms, now)
    return found


def _rolling(tier: ModelTier) -> bool:
    return any(
        each.type == "Reconciling" and each.status is ConditionStatus.TRUE
        for each in tier.status.conditions
    )
