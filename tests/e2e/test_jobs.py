"""Jobs from a pod to engines' pods of a Bronze tier that had none, while gateways and the bus are replaced."""

from collections.abc import Callable, Iterator

import pytest
from gameai_devcluster import e2e
from gameai_devcluster.api import Api, Json
from gameai_devcluster.testing.waiting import condition, until
from support import real
from support.live import manifest, world

Kubectl = Callable[..., str]
GATEWAY, BUS = "gameai-operator-gateway", "gameai-operator-bus"
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def archive(api: Api, release: dict[str, float], environment: e2e.Environment) -> Iterator[Json]:
    """A Bronze tier without a replica, and a world that may use it."""
    tier = manifest(
        "e2e",
        name="scribes",
        hardware={"gpus": 0, "cpu": "10m", "memory": "128Mi"},
        engine={"vllm": {"image": environment.double_image, "args": ["--max-num-seqs=4"]}},
        scaling={
            "minReplicas": 0,
            "maxReplicas": 2,
            "queue": {"targetPerReplica": 16},
            "scaleIn": {"windowSeconds": 20, "pods": 2, "periodSeconds": 5},
        },
    )
    tier["spec"]["class"] = "Bronze"
    del tier["spec"]["replicas"]
    account = {"name": "archivist", "namespace": "e2e"}
    api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    api.apply(tier, manager="kubectl")
    made = world(
        "e2e",
        name="archive",
        services=[],
        roles=[{"name": "chronicle", "tierRef": {"name": "scribes"}}],
        callers=[{"namespace": "e2e", "serviceAccount": "archivist"}],
    )
    api.apply(made, manager="kubectl")
    yield real.wait_ready(api, "GameWorld", "e2e", "archive")
    api.delete("GameWorld", "e2e", "archive")
    api.delete("ModelTier", "e2e", "scribes")
    until("the tier is gone", lambda: not deployments(api), seconds=120)


def deployments(api: Api) -> list[Json]:
    return api.list("Deployment", "e2e", selector="gameai.dev/tier=scribes")


def replicas(api: Api) -> int:
    status = api.get("ModelTier", "e2e", "scribes").get("status", {})
    return int(status.get("readyReplicas", 0))


def asleep(api: Api) -> bool:
    tier = api.get("ModelTier", "e2e", "scribes")
    return condition(tier, "Ready").get("reason") == "ScaledToZero" and not real.live(
        api, "e2e", "gameai.dev/tier=scribes"
    )


def test_jobs_wake_a_tier_and_are_answered_while_gateways_and_the_bus_are_replaced(
    archive: Json, environment: e2e.Environment, api: Api, kubectl: Kubectl, figures: list[str]
) -> None:
    until("the tier has no pod", lambda: asleep(api), seconds=180)
    image = f"{environment.registry}/gameai-workloads:{environment.workloads_tag}"
    scribe = real.Caller(api, "e2e", image, (), name="scribe", account="archivist", world="archive")
    scribe.wait_said("all submitted")
    kubectl("-n", real.SYSTEM, "delete", "pod", f"{BUS}-0", "--force", "--grace-period=0")
    kubectl("-n", real.SYSTEM, "rollout", "restart", f"deployment/{GATEWAY}")
    until("the tier has a ready pod", lambda: replicas(api) > 0, seconds=300)
    scribe.wait_said("all ended")
    summary = scribe.result(kubectl)
    figures.append(
        f"jobs of a tier without pods, gateways and bus replaced: {summary['answered']} answered, "
        f"the last after {summary['slowest']:.0f} s, attempts {summary['attempts']}"
    )
    assert summary["answered"] == 20
    assert summary["states"] == ["succeeded"]
    until("the tier has no pod again", lambda: asleep(api), seconds=180)
