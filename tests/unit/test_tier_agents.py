"""Which agents are asked, which one is to measure, and for how long it continues."""

import asyncio
import datetime
import json
from typing import Any

import pytest
from gameai_contract.tier_agent import Phase
from gameai_operator.controller.cache import Cache, Entry, Root
from gameai_operator.controller.manifest import Key
from gameai_operator.scaling.agents import Capacity, Report, Seen
from gameai_operator.scaling.behavior import Memory
from gameai_operator.scaling.decide import Fleet, decide
from gameai_operator.scaling.decided import Decided, Made, State
from gameai_operator.scaling.signals import Sample, Signals
from gameai_operator.scaling.tier_agents import TierAgents, with_agents
from support import tiers
from support.tier_decisions import a_pod

NOW, WALL = 1000.0, datetime.datetime(2026, 11, 28, 9, 0, tzinfo=datetime.UTC)
GOLD = Key("ModelTier", "eldermoor", "gold")
SCALED: dict[str, Any] = {"scaling": {"maxReplicas": 5}}
READY = {"observedGeneration": 1, "readyReplicas": 2, "wantedReplicas": 2}


class Asked:
    """Remembers each request; gives an answer or a failure."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.failure: Exception | None = None

    async def __call__(self, address: str, target_ms: int) -> str:
        self.calls.append((address, target_ms))
        if self.failure is not None:
            raise self.failure
        return "202 measuring"


def cache(*pods: Any, **spec: Any) -> Cache:
    made, root = Cache(), tiers.resource(**spec)
    made.put(Entry(key=GOLD, uid="g", version=1, root=GOLD, value=_root(root)), 0.0)
    for number, pod in enumerate(pods, start=2):
        key = Key("Pod", "eldermoor", pod.name)
        made.put(Entry(key=key, uid=pod.name, version=number, root=GOLD, value=pod), 0.0)
    return made


def _root(document: dict[str, Any]) -> Root:
    return Root(json.dumps(document).encode())


def report(phase: Phase = Phase.SERVING, **facts: Any) -> Report:
    given: dict[str, Any] = {
        "at": NOW,
        "pod": "p",
        "engine_hash": "abc",
        "gpu_product": "L4",
        "phase": phase,
        "running": None,
        "waiting": None,
        "capacity": None,
    }
    return Report(**(given | facts))


def test_agents_of_living_pods_of_scaled_tiers_are_asked() -> None:
    pods = (
        a_pod(name="a", address="10.0.0.1", has_agent=True),
        a_pod(name="b", address="fd00::1", has_agent=True),
        a_pod(name="c", address="10.0.0.3", has_agent=True, terminating=True),
        a_pod(name="d", address="10.0.0.4", has_agent=True, dead="Evicted: node was low"),
        a_pod(name="e", has_agent=True),
        a_pod(name="f", address="10.0.0.6"),
    )
    found = TierAgents(cache(*pods, **SCALED), 8080, Asked()).targets()
    assert found == ("10.0.0.1:8080", "[fd00::1]:8080")
    assert TierAgents(cache(*pods, **SCALED), 0, Asked()).targets() == ()
    assert TierAgents(cache(*pods), 8080, Asked()).targets() == ()


async def measure(
    agents: TierAgents,
    seen: Seen,
    *,
    status: dict[str, Any] | None = None,
    in_flight: float = 1.0,
    now: float = NOW,
) -> None:
    root = tiers.resource(status=READY | (status or {}), replicas=2, **SCALED)
    tier = tiers.tier(status=READY | (status or {}), replicas=2, **SCALED)
    assert tier.spec.scaling is not None
    signals = Signals(queued=Sample(0.0, now), in_flight=Sample(in_flight, now))
    fleet = Fleet(current=2, ready=2, target_ms=16)
    decision = decide(tier.spec.scaling, fleet, signals, Memory(), now=now, wall=WALL)
    made = Made(
        scaling=tier.spec.scaling,
        state=State(uid="g", memory=Memory()),
        fleet=fleet,
        signals=signals,
        decision=decision,
        agents=seen,
    )
    agents.measure(Decided(key=GOLD, root=root, tier=tier, at=now, made=made), made, now, WALL)
    # What is asked runs in tasks of its own.
    for _ in range(5):
        await asyncio.sleep(0)


TWO = {"a:1": report(), "b:1": report()}


async def test_one_is_asked_and_a_try_without_a_result_is_repeated_later_with_another() -> None:
    asked = Asked()
    agents = TierAgents(Cache(), 1, asked)
    hour = 3600
    table = ((0, "a:1"), (hour / 4, ""), (hour / 2, "b:1"), (hour, ""), (1.5 * hour, "a:1"))
    for seconds, expected in table:
        asked.calls.clear()
        await measure(agents, Seen(TWO, None), now=NOW + seconds)
        assert [address for address, _ in asked.calls] == ([expected] if expected else []), seconds


async def test_after_a_result_the_next_engine_is_measured_at_once() -> None:
    asked = Asked()
    agents = TierAgents(Cache(), 1, asked)
    both = Seen({"a:1": report(), "b:1": report(engine_hash="def")}, None)
    await measure(agents, both)
    row = {
        "templateHash": "abc", "gpuProduct": "L4", "targetMs": 16, "concurrency": 8,
        "requestsPerSecond": "20.00", "idleP95Ms": "9.0", "measuredAt": "2026-11-28T08:00:00Z",
    }  # fmt: skip
    await measure(agents, both, status={"performance": [row]}, now=NOW + 30)
    assert asked.calls == [("a:1", 16), ("b:1", 16)]


async def test_a_measurement_is_asked_for_again_while_it_may_go_on() -> None:
    asked = Asked()
    agents = TierAgents(Cache(), 1, asked)
    await measure(agents, Seen(TWO, None))
    asked.calls.clear()
    going = Seen({"a:1": report(Phase.MEASURING), "b:1": report()}, None)
    for _ in range(2):
        await measure(agents, going)
    assert asked.calls == [("a:1", 16), ("a:1", 16)]
    await measure(agents, going, in_flight=100.0)
    assert len(asked.calls) == 2, "the other one is busy"


async def test_a_measurement_that_another_process_began_ends_by_itself() -> None:
    asked = Asked()
    going = Seen({"a:1": report(Phase.MEASURING), "b:1": report()}, None)
    await measure(TierAgents(Cache(), 1, asked), going)
    assert asked.calls == []


@pytest.mark.parametrize(
    "status",
    [
        {"observedGeneration": 0},
        {"conditions": [{
            "type": "Reconciling", "status": "True", "reason": "RollingOut", "message": "",
            "lastTransitionTime": "2026-11-28T09:00:00Z",
        }]},
    ],
)  # fmt: skip
async def test_nothing_is_measured_during_a_rollout_or_before_an_edit_was_seen(
    status: dict[str, Any],
) -> None:
    asked = Asked()
    await measure(TierAgents(Cache(), 1, asked), Seen(TWO, None), status=status)
    assert asked.calls == []


@pytest.mark.parametrize(
    "failure", [OSError("refused"), TimeoutError(), ValueError("no HTTP response")]
)
async def test_an_agent_that_does_not_answer_fails_nothing(failure: Exception) -> None:
    asked = Asked()
    asked.failure = failure
    agents = TierAgents(Cache(), 1, asked)
    await measure(agents, Seen(TWO, None))
    assert len(asked.calls) == 1
    agents.keep({})
    await measure(agents, Seen(TWO, None))
    assert len(asked.calls) == 2, "a new tier of that name has no history"


def test_only_a_capacity_within_the_target_is_a_signal() -> None:
    good = Capacity(target_ms=16, requests_per_second=50.0, concurrency=8, idle_p95_ms=9.0)
    late = Capacity(target_ms=16, requests_per_second=50.0, concurrency=1, idle_p95_ms=90.0)
    loaded = {"a:1": report(running=3.0, waiting=1.0)}
    found = with_agents(Signals(), Seen(loaded, good))
    assert (found.capacity_per_second, found.engine_running) == (50.0, Sample(3.0, NOW))
    assert with_agents(Signals(), Seen(loaded, late)).capacity_per_second is None
    # What made-up questions take says nothing of real ones.
    assert found.idle_p95_ms is None
    assert with_agents(Signals(), Seen({}, None)) == Signals()
