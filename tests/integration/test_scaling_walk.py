"""Load comes and goes while the tier is edited: whatever meets, replicas follow, the roll-out ends, and some always serve."""

import asyncio
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gameai_devcluster.api import Api, Json
from gameai_devcluster.operators import Operator
from gameai_devcluster.testing.waiting import condition
from support.live import manifest
from support.scaled import FAST, NAMESPACE, load, processes, slow_gateway, tier

pytestmark = pytest.mark.timeout(0)
PER_REPLICA, MOST = 8, 10
# A round of the walk settles within seconds. Each of up to twenty pods may have to be replaced one by one, on a busy machine.
SETTLES_SECONDS = 240.0
SAMPLE_SECONDS, ALL_SECONDS = 45.0, 1800.0


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with slow_gateway(folder) as made:
        yield made


@pytest.fixture(scope="module")
def running(
    api: Api, operator_kubeconfig: Path, folder: Path, gateway: subprocess.Popen[bytes]
) -> Iterator[Operator]:
    with processes(api, operator_kubeconfig, folder, scaler={}, operator={}) as made:
        yield made


def drawn(chance: random.Random) -> Json:
    """A valid spec, without a number of replicas."""
    document = manifest(NAMESPACE)
    spec: dict[str, Any] = document["spec"]
    del spec["replicas"]
    spec["hardware"]["tolerations"] = [{"key": "nvidia.com/gpu"}]
    spec["podLabels"] = {"turn": str(chance.randrange(4))}
    spec["engine"]["vllm"]["args"] = [f"--max-num-seqs={chance.choice([8, 16])}"]
    spec["rollout"] = chance.choice(
        [{"maxSurge": 1}, {"maxSurge": 3}, {"maxSurge": 0, "maxUnavailable": 1}]
    )
    spec["capacity"] = chance.choice([{}, {"spotPercent": 50}, {"spotPercent": 80}])
    out = {"pods": 50, "periodSeconds": 1}
    scaling = {"maxReplicas": MOST, "scaleIn": FAST, "scaleOut": out}
    # An engine that takes two seconds misses its target at any number of replicas, which the guard learns once it is idle.
    guard = {"maxExtraPercent": 0}
    queue = {"targetPerReplica": PER_REPLICA}
    spec["scaling"] = {**scaling, "queue": queue, "latencyGuard": guard}
    return document


def serving(api: Api) -> list[Json]:
    """The pods that would get questions."""
    pods = api.list("Pod", NAMESPACE, selector="gameai.dev/tier=gold")
    return [
        each
        for each in pods
        if "deletionTimestamp" not in each["metadata"]
        and condition(each, "Ready").get("status") == "True"
    ]


def unsettled(found: Json, expected: set[int]) -> str:
    """What is not as it should be; empty where nothing is."""
    status = found["status"]
    if found["spec"].get("replicas") not in expected:
        return f"spec.replicas is {found['spec'].get('replicas')}, not {expected}"
    if status.get("observedGeneration") != found["metadata"]["generation"]:
        return "the last edit was not looked at"
    if status.get("readyReplicas") != found["spec"]["replicas"]:
        return f"{status.get('readyReplicas')} replicas are ready"
    if condition(found, "Reconciling").get("status") == "True":
        return f"Reconciling: {condition(found, 'Reconciling')}"
    return ""


async def walk(api: Api, seconds: float, seed: int) -> int:
    """Walk for so long; the number of rounds."""
    chance, rounds, end = random.Random(seed), 0, time.monotonic() + seconds
    former = {"maxSurge": 1}
    while time.monotonic() < end:
        rounds += 1
        number = chance.choice([0, 6, 20, 38, 60, 78])
        # A caller between an answer and its next question has nothing in flight.
        least = max(1, -(-int(number * 0.8) // PER_REPLICA))
        expected = set(range(least, min(MOST, max(1, -(-number // PER_REPLICA))) + 1))
        document = drawn(chance)
        rollout = document["spec"]["rollout"]
        # Who gives up one pod without another gives up the only one.
        away = any("maxUnavailable" in each for each in (former, rollout))
        where, former = f"seed {seed}, round {rounds}, {number} questions", rollout
        async with load(number):
            await asyncio.to_thread(api.apply, document, manager="kubectl")
            await asyncio.to_thread(settle, api, expected, where, may_be_away=away)
    return rounds


def settle(api: Api, expected: set[int], where: str, *, may_be_away: bool) -> None:
    end, still = time.monotonic() + SETTLES_SECONDS, 0
    while still < 3:
        wrong = unsettled(tier(api), expected)
        assert may_be_away or serving(api), f"{where}: nothing serves"
        still = 0 if wrong else still + 1
        assert time.monotonic() < end, f"{where}: {wrong}"
        time.sleep(0.5)


async def test_a_seeded_sample_of_loads_and_edits_always_settles(
    api: Api, running: Operator, request: pytest.FixtureRequest
) -> None:
    seed = request.config.getoption("--seed") or 15
    api.apply(drawn(random.Random(0)), manager="kubectl")
    await asyncio.to_thread(settle_first, api)
    assert await walk(api, SAMPLE_SECONDS, int(seed)) > 1


@pytest.mark.soak
async def test_half_an_hour_of_loads_and_edits_always_settles(api: Api, running: Operator) -> None:
    api.apply(drawn(random.Random(0)), manager="kubectl")
    await asyncio.to_thread(settle_first, api)
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    assert await walk(api, ALL_SECONDS, seed) > 20


def settle_first(api: Api) -> None:
    """Until the first replica serves."""
    end = time.monotonic() + 60
    while not serving(api):
        assert time.monotonic() < end
        time.sleep(0.3)
