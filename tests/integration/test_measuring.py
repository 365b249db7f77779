"""The scaler has one replica measured by its agent: real agents, engines, gateway, scaler and operator; pods are simulated."""

import contextlib
import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from gameai_devcluster.api import Api, Json, path
from gameai_devcluster.operators import Operator
from gameai_devcluster.processes import free_port
from gameai_devcluster.testing.waiting import until
from support.scaled import (
    NAMESPACE,
    process,
    processes,
    scaled,
    slow_gateway,
    tier,
    wait_replicas,
)

PORT = free_port()
HOSTS = ("127.0.0.2", "127.0.0.3")
MEASURED = re.compile(
    r'^gameai_tier_agent_measurements_total\{result="done"\} (\S+)$', re.MULTILINE
)
MEASURING = 'gameai_tier_agent_phase{phase="measuring"} 1.0'


@contextlib.contextmanager
def engine_with_agent(folder: Path, host: str, pod: str) -> Iterator[None]:
    port = free_port()
    engine = ("gameai_vllm", f"--port={port}", "--served-model-name=gold", "--first-token-ms=2")
    agent = (
        "gameai.tier_agent",
        f"--engine=http://127.0.0.1:{port}",
        *("--model=gold", "--class=Gold", "--slots=32", "--engine-hash=abc"),
        *(f"--address={host}", f"--port={PORT}", f"--pod={pod}"),
    )
    with (
        process(folder / f"measuring-engine-{host}.log", *engine),
        process(folder / f"measuring-agent-{host}.log", *agent),
    ):
        yield


def page(host: str) -> str:
    with urllib.request.urlopen(f"http://{host}:{PORT}/metrics", timeout=5) as reply:
        return str(reply.read().decode())


def answers(host: str) -> bool:
    try:
        return bool(page(host))
    except OSError:
        return False


def measured(host: str) -> float:
    found = MEASURED.search(page(host))
    return float(found[1]) if found else 0.0


@pytest.fixture(scope="module")
def agents() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def start_agents(api: Api, folder: Path, stack: contextlib.ExitStack) -> None:
    """A real agent for each simulated pod, and its address for the pod."""
    pods = api.list("Pod", NAMESPACE, selector="gameai.dev/tier=gold")
    for each, host in zip(pods, HOSTS, strict=True):
        name = each["metadata"]["name"]
        stack.enter_context(engine_with_agent(folder, host, name))
        body = {"status": {"podIP": host, "podIPs": [{"ip": host}]}}
        api.patch(f"{path('Pod', NAMESPACE, name)}/status", body)
    for host in HOSTS:
        until(f"the agent at {host} answers", partial(answers, host), seconds=30)


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with slow_gateway(folder) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def own_tier(api: Api) -> Iterator[None]:
    """What was measured stands in status, and would count for the tests of other modules."""
    yield
    api.delete("ModelTier", NAMESPACE, "gold")
    until(
        "no pod is left",
        lambda: not api.list("Pod", NAMESPACE, selector="gameai.dev/tier=gold"),
        seconds=120,
    )


@pytest.fixture
def running(
    api: Api,
    operator_kubeconfig: Path,
    folder: Path,
    gateway: subprocess.Popen[bytes],
    agents: contextlib.ExitStack,
) -> Iterator[Operator]:
    scaler: dict[str, str | float] = {"agent_port": PORT}
    with processes(api, operator_kubeconfig, folder, scaler=scaler, operator={}) as made:
        yield made


def performance(api: Api) -> list[Json]:
    return list(tier(api)["status"].get("performance", []))


def signal(api: Api, name: str) -> Json:
    signals = tier(api)["status"]["scaling"]["signals"]
    return next((each for each in signals if each["name"] == name), {})


def watch_measurement(api: Api) -> int:
    """Until status has an entry: most agents that measured at once."""
    most, end = 0, time.monotonic() + 300
    while not performance(api):
        assert time.monotonic() < end, "nothing was measured"
        most = max(most, sum(MEASURING in page(host) for host in HOSTS))
        time.sleep(0.3)
    return most


def test_one_of_two_replicas_is_measured_and_the_plan_rests_on_it(
    api: Api, running: Operator, folder: Path, agents: contextlib.ExitStack
) -> None:
    scaled(api, minReplicas=2)
    wait_replicas(api, 2)
    start_agents(api, folder, agents)
    assert watch_measurement(api) == 1
    [entry] = performance(api)
    assert (entry["templateHash"], entry["gpuProduct"]) == ("abc", "unknown")
    assert entry["targetMs"] == 16
    assert sum(map(measured, HOSTS)) == 1
    scaling: dict[str, Any] = tier(api)["status"]["scaling"]
    assert scaling["desiredReplicas"] == 2
    reachable = float(entry["idleP95Ms"]) <= 16
    wanted = max(1, int(0.775 * entry["concurrency"])) if reachable else 8
    until(
        "the queue's target is what was measured",
        lambda: signal(api, "queue").get("target") == f"{wanted} per replica",
        seconds=60,
    )
    assert signal(api, "engine")["value"] == "0 running, 0 waiting"
    managers = tier(api)["metadata"]["managedFields"]
    [owner] = [m["manager"] for m in managers if '"f:performance"' in json.dumps(m)]
    assert owner == "gameai-scaler"


def test_another_scaler_finds_the_measurement_and_does_not_repeat_it(
    api: Api, running: Operator
) -> None:
    [before] = performance(api)
    wait_replicas(api, 2)
    until(
        "it knows both engines",
        lambda: signal(api, "engine").get("state") == "Fresh",
        seconds=90,
    )
    time.sleep(10)
    assert performance(api) == [before]
    assert sum(map(measured, HOSTS)) == 1
