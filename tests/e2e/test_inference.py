"""NPCs' questions from a game server's pod through the gateway's pods to engines' pods, while all of them come and go.

The engines are the double of vLLM in the operator's own pods: what a real one does on the wire is replayed elsewhere.
"""

from collections.abc import Callable

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


def rolled(api: Api) -> bool:
    wanted = api.get("Deployment", real.SYSTEM, GATEWAY)["spec"]["replicas"]
    pods = api.list("Pod", real.SYSTEM, selector="app.kubernetes.io/name=gameai-gateway")
    return real.rolled(api, GATEWAY) and len(pods) == wanted


def test_game_servers_are_answered_by_engines_while_gateways_and_engines_are_replaced(
    tavern: Json, environment: e2e.Environment, api: Api, kubectl: Kubectl, figures: list[str]
) -> None:
    until("two gateways are ready", lambda: rolled(api), seconds=180)
    image = f"{environment.registry}/gameai-workloads:{environment.workloads_tag}"
    asker = real.Caller(api, "e2e", image, (), name="asker", account="match", world="tavern")
    asker.wait_said('"ENGINE"')
    kubectl("-n", real.SYSTEM, "rollout", "restart", f"deployment/{GATEWAY}")
    until("every gateway is a new one", lambda: rolled(api), seconds=240)
    before = {each["metadata"]["uid"] for each in real.live(api, "e2e", ENGINES)}
    api.patch(path("ModelTier", "e2e", "echo"), {"spec": {"podLabels": {"turn": "2"}}})
    real.wait_ready(api, "ModelTier", "e2e", "echo", seconds=240)
    after = {each["metadata"]["uid"] for each in real.live(api, "e2e", ENGINES)}
    assert before.isdisjoint(after)
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
