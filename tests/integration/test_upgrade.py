"""An upgrade of charts and operator from an older commit: nothing restarts, and nothing is lost."""

import subprocess
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import helm_python
import pytest
from gameai_devcluster import charts, install
from gameai_devcluster import cluster as clusters
from gameai_devcluster.api import Api, Json
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.processes import free_port
from gameai_devcluster.testing.waiting import settled, until, world_settled
from support.live import manifest, world

# The last commit before the packages, the words and the gateway's rooms changed.
BEFORE = "9664db7"
SYSTEM = install.NAMESPACE


@pytest.fixture(scope="module")
def older(folder: Path) -> Path:
    """The tree of that commit."""
    command = ["git", "-C", str(install.ROOT), "archive", BEFORE]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"commit {BEFORE} is not in this checkout: fetch the whole history")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder / "older", filter="data")
    return folder / "older"


@pytest.fixture(scope="module")
def cluster_of_its_own(folder: Path) -> Iterator[clusters.Cluster]:
    options = clusters.Options(die_with_parent=True, start_delays_ms={"": 20})
    running = clusters.start(folder / "upgraded", options, print)
    yield running
    clusters.stop(folder / "upgraded")


def running_pods(api: Api) -> dict[str, str]:
    return {each["metadata"]["name"]: each["metadata"]["uid"] for each in api.list("Pod", "games")}


def templates(api: Api) -> dict[str, Json]:
    """Pod templates and selectors."""
    return {
        each["metadata"]["name"]: {
            "template": each["spec"]["template"],
            "selector": each["spec"]["selector"],
        }
        for each in api.list("Deployment", "games")
    }


def names(api: Api) -> set[str]:
    kinds = ("Deployment", "Service", "ConfigMap", "ServiceAccount", "NetworkPolicy")
    return {f"{kind}/{e['metadata']['name']}" for kind in kinds for e in api.list(kind, "games")}


def wait_ready(api: Api, operator: Operator) -> None:
    """Until the operator that runs has acted on both, and they are Ready."""

    def look() -> bool:
        tier = settled(api.get("ModelTier", "games", "gold"))
        return tier and world_settled(api.get("GameWorld", "games", "moor"))

    try:
        until("tier and world are Ready", look, seconds=60)
    except AssertionError as error:
        seen = [
            api.get(k, "games", n)["status"]
            for k, n in (("ModelTier", "gold"), ("GameWorld", "moor"))
        ]
        raise AssertionError(f"{error}\n{seen}\n{operator.output()[-2000:]}") from None


def test_an_upgrade_restarts_no_pod_and_loses_no_object(
    cluster_of_its_own: clusters.Cluster, older: Path, folder: Path
) -> None:
    api = cluster_of_its_own.api()
    for namespace in (SYSTEM, "games"):
        install.namespace(api, namespace)
    document = manifest("games", replicas=3, capacity={"spotPercent": 50})
    document["spec"]["hardware"] = {"cpu": "10m", "memory": "16Mi", "instanceTypes": ["g5.xlarge"]}
    kubeconfig_file = folder / "upgraded.kubeconfig"
    packages = ("operator", "workloads")
    python_path = ":".join(str(older / each) for each in packages)
    with helm_python.Config(
        kubeconfig_path=cluster_of_its_own.kubeconfig, namespace=SYSTEM
    ) as helm:
        helm.install(older / "charts/gameai-crds", "gameai-crds", wait="watcher", timeout=60)
        helm.install(older / "charts/gameai-operator", "gameai-operator")
        kubeconfig = install.operator_kubeconfig(api, kubeconfig_file)
        log = folder / "older.log"
        operator = Operator(
            Launch(
                kubeconfig=kubeconfig,
                log=log,
                flags={"health_port": free_port()},
                python_path=python_path,
            )
        )
        operator.wait_ready()
        for each in (document, world("games")):
            api.apply(each, manager="kubectl")
        wait_ready(api, operator)
        assert operator.stop() == 0
        before = running_pods(api), templates(api), names(api)

        helm.upgrade(charts.CRDS, "gameai-crds")
        helm.upgrade(charts.OPERATOR, "gameai-operator")
        operator = Operator(Launch(kubeconfig=kubeconfig, log=folder / "newer.log"))
        operator.wait_ready()
        until(
            "the newer operator acted: its WorldView is there",
            lambda: api.list("WorldView", "games"),
            seconds=60,
        )
        wait_ready(api, operator)
        until(
            "the newer operator acted on the tier: it reports what the older one did not know",
            lambda: "wantedReplicas" in api.get("ModelTier", "games", "gold")["status"],
            seconds=60,
        )
        after = running_pods(api), templates(api), names(api)
        assert operator.stop() == 0
    assert after[0] == before[0]
    assert after[1] == before[1]
    assert before[2] <= after[2]
