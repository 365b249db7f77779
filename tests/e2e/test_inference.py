"""NPCs' questions from a game server's pod through the gateway's pods to engines' pods, while all of them come and go.

The engines are the double of vLLM in the operator's own pods: what a real one does on the wire is replayed elsewhere.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from gameai_devcluster import e2e
from gameai_devcluster.api import Api, Json, path
from gameai_devcluster.testing.waiting import until
from support import real
from support.live import manifest, world

Kubectl = Callable[..., str]
GATEWAY = "gameai-operator-gateway"
NPCS = "version: 1\narchetypes:\n  guard: {actions: [patrol, flee], defaults: [patrol]}\n"
ENGINES = "gameai.dev/tier=echo"
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def tavern(api: Api, release: dict[str, float], environment: e2e.Environment) -> Json:
    """A tier of two engines, a world whose NPCs react by it, and who may ask."""
    tier = manifest(
        "e2e",
        name="echo",
        latency={"targetMs": 3000},
        hardware={"gpus": 0, "cpu": "10m", "memory": "128Mi"},
        engine={"vllm": {"image": environment.double_image, "args": ["--max-num-seqs=16"]}},
        replicas=2,
    )
    labels = {"app.kubernetes.io/part-of": "gameai"}
    metadata = {"name": "npcs", "namespace": "e2e", "labels": labels}
    api.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"n.yaml": NPCS}}
    )
    account = {"name": "match", "namespace": "e2e"}
    api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    api.apply(tier, manager="kubectl")
    roles = [{"name": "reaction", "tierRef": {"name": "echo"}}]
    made = world(
        "e2e",
        name="tavern",
        services=[],
        roles=roles,
        archetypes={"configMap": {"name": "npcs"}},
        callers=[{"namespace": "e2e", "serviceAccount": "match"}],
    )
    api.apply(made, manager="kubectl")
    real.wait_ready(api, "ModelTier", "e2e", "echo")
    return real.wait_ready(api, "GameWorld", "e2e", "tavern")


class Agent:
    """The agent of an engine's pod, whose log is followed to its end."""

    def __init__(self, api: Api, kubeconfig: str, pod: str) -> None:
        self._metrics = f"{path('Pod', 'e2e', pod)}:8080/proxy/metrics"
        self._api = api
        program = str(Path(sys.executable).parent / "kubectl")
        command = [program, f"--kubeconfig={kubeconfig}", "-n", "e2e", "logs", "-f", pod]
        self._log = subprocess.Popen([*command, "-c", "agent"], stdout=subprocess.PIPE, text=True)

    def starts(self) -> float:
        page = self._api.text(self._metrics)
        found = re.search(r"^gameai_tier_agent_engine_starts_total (\S+)$", page, re.MULTILINE)
        assert found
        return float(found[1])

    def drain(self) -> str:
        """How its engine was drained, once its pod has ended."""
        log, _ = self._log.communicate(timeout=120)
        [line] = [each for each in log.splitlines() if '"drained in' in each]
        return str(json.loads(line)["message"])


def rolled(api: Api) -> bool:
    gateway = api.get("Deployment", real.SYSTEM, GATEWAY)
    pods = api.list("Pod", real.SYSTEM, selector="app.kubernetes.io/name=gameai-gateway")
    return real.rolled(gateway) and len(pods) == gateway["spec"]["replicas"]


def test_game_servers_are_answered_by_engines_while_gateways_and_engines_are_replaced(
    tavern: Json, environment: e2e.Environment, api: Api, kubectl: Kubectl, figures: list[str]
) -> None:
    until("two gateways are ready", lambda: rolled(api), seconds=180)
    image = f"{environment.registry}/gameai-workloads:{environment.workloads_tag}"
    asker = real.Caller(api, "e2e", image, (), name="asker", account="match", world="tavern")
    asker.wait_said('"ENGINE"')
    kubectl("-n", real.SYSTEM, "rollout", "restart", f"deployment/{GATEWAY}")
    until("every gateway is a new one", lambda: rolled(api), seconds=240)
    engines = real.live(api, "e2e", ENGINES)
    agents = [Agent(api, environment.kubeconfig, e["metadata"]["name"]) for e in engines]
    assert [each.starts() for each in agents] == [1, 1]
    before = {each["metadata"]["uid"] for each in engines}
    api.patch(path("ModelTier", "e2e", "echo"), {"spec": {"podLabels": {"turn": "2"}}})
    real.wait_ready(api, "ModelTier", "e2e", "echo", seconds=240)
    after = {each["metadata"]["uid"] for each in real.live(api, "e2e", ENGINES)}
    assert before.isdisjoint(after)
    drained = [agent.drain() for agent in agents]
    figures.append(f"engines drained by their agents: {drained}")
    assert all(each.endswith(": idle") for each in drained)
    summary = asker.result(kubectl)
    figures.append(
        f"NPCs while gateways and engines were replaced: {summary['asked']} asked, "
        f"{summary['sources']}, reasons {summary['reasons']}, slowest {summary['slowest'] * 1000:.0f} ms"
    )
    assert summary["failures"] == {}
    assert summary["answered"] == summary["asked"] > 100
    assert set(summary["sources"]) <= {"ENGINE", "DEFAULT"}
    assert summary["sources"]["ENGINE"] >= 0.99 * summary["asked"]


def test_without_any_engine_npcs_get_their_default(
    tavern: Json, environment: e2e.Environment, api: Api, kubectl: Kubectl
) -> None:
    api.patch(path("ModelTier", "e2e", "echo"), {"spec": {"replicas": 0}})
    until("no engine is left", lambda: not real.live(api, "e2e", ENGINES), seconds=120)
    image = f"{environment.registry}/gameai-workloads:{environment.workloads_tag}"
    asker = real.Caller(api, "e2e", image, (), name="asker", account="match", world="tavern")
    asker.wait_said('"DEFAULT"')
    summary = asker.result(kubectl)
    assert summary["failures"] == {}
    assert set(summary["sources"]) == {"DEFAULT"}
    for kind, name in (("GameWorld", "tavern"), ("ModelTier", "echo")):
        api.delete(kind, "e2e", name)
    until("no pod is left", lambda: not real.live(api, "e2e", ENGINES), seconds=120)
