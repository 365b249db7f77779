"""The charts as releases: install, upgrade, roll back, uninstall, on a control plane of their own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from gameai_devcluster import charts, install
from gameai_devcluster import cluster as clusters
from gameai_devcluster.api import Api, ApiError, Json, path
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.testing.waiting import settled, until, world_settled
from support.live import manifest, world

SYSTEM = install.NAMESPACE
DATA = install.ROOT / "tests" / "data"
# Kinds that no golden resource may name here, since nothing of that name exists.
ABSENT = ("serviceAccountName", "priorityClassName")


@pytest.fixture(scope="module")
def helmed(folder: Path) -> Iterator[clusters.Cluster]:
    options = clusters.Options(die_with_parent=True, start_delays_ms={"": 20})
    running = clusters.start(folder / "helmed", options, print)
    yield running
    clusters.stop(folder / "helmed")


@pytest.fixture(scope="module")
def helm(helmed: clusters.Cluster) -> Iterator[helm_python.Config]:
    install.namespace(helmed.api(), SYSTEM)
    with helm_python.Config(kubeconfig_path=helmed.kubeconfig, namespace=SYSTEM) as config:
        config.install(charts.CRDS, "gameai-crds", wait="watcher", timeout=60)
        config.install(charts.OPERATOR, "gameai-operator")
        yield config


@pytest.fixture(scope="module")
def operator(
    helm: helm_python.Config, helmed: clusters.Cluster, folder: Path
) -> Iterator[Operator]:
    """The operator as a process, under the account and rights of the release."""
    kubeconfig = install.operator_kubeconfig(helmed.api(), folder / "helmed.kubeconfig")
    flags = {"allowed_host_paths": "/mnt/models"}
    running = Operator(Launch(kubeconfig=kubeconfig, log=folder / "helmed.log", flags=flags))
    yield running.wait_ready()
    assert running.stop() == 0


@pytest.fixture
def api(helmed: clusters.Cluster) -> Api:
    return helmed.api()


def every_field(kind: str, namespace: str) -> Json:
    """The golden resource with every field set, in this namespace."""
    document: Json = yaml.safe_load((DATA / kind / "every-field" / "resource.yaml").read_text())
    document["metadata"]["namespace"] = namespace
    for name in ABSENT:
        document["spec"].pop(name, None)
    document["spec"].get("hardware", {}).pop("runtimeClassName", None)
    return document


def specs(api: Api, namespace: str) -> dict[str, Any]:
    return {
        kind: [each["spec"] for each in api.list(kind, namespace)]
        for kind in ("ModelTier", "GameWorld")
    }


def pods(api: Api, namespace: str) -> set[str]:
    return {each["metadata"]["uid"] for each in api.list("Pod", namespace)}


def test_a_release_makes_tiers_and_worlds_ready(api: Api, operator: Operator) -> None:
    install.namespace(api, "games")
    api.apply(manifest("games"), manager="kubectl")
    api.apply(world("games"), manager="kubectl")
    until("the tier", lambda: settled(api.get("ModelTier", "games", "gold")), seconds=60)
    until("the world", lambda: world_settled(api.get("GameWorld", "games", "moor")), seconds=60)
    assert operator.alive()


def test_the_operators_own_pods_are_of_the_chart(api: Api, operator: Operator) -> None:
    deployment = until(
        "both replicas run",
        lambda: (
            found
            if (found := api.get("Deployment", SYSTEM, "gameai-operator"))["status"].get(
                "readyReplicas"
            )
            == 2
            else None
        ),
        seconds=60,
    )
    assert deployment["spec"]["template"]["spec"]["containers"][0]["command"][-1] == "run"


def test_an_upgrade_and_a_rollback_lose_no_field_and_restart_no_pod(
    api: Api, helm: helm_python.Config, operator: Operator, tmp_path: Path
) -> None:
    install.namespace(api, "every")
    for kind in ("tier", "world"):
        api.apply(every_field(kind, "every"), manager="kubectl")
    until("pods are there", lambda: len(pods(api, "every")) >= 5, seconds=60)
    before, running = specs(api, "every"), pods(api, "games")
    newer = tmp_path / "newer"
    with helm_python.Chart.load(charts.OPERATOR) as chart:
        copy = Path(chart.save_dir(newer))
    described = (copy / "Chart.yaml").read_text().replace("0.1.0", "0.2.0")
    (copy / "Chart.yaml").write_text(described)
    helm.upgrade(copy, "gameai-operator", {"replicas": 3, "logLevel": "DEBUG"})
    assert api.get("Deployment", SYSTEM, "gameai-operator")["spec"]["replicas"] == 3
    assert specs(api, "every") == before
    helm.rollback("gameai-operator", version=1)
    assert api.get("Deployment", SYSTEM, "gameai-operator")["spec"]["replicas"] == 2
    assert specs(api, "every") == before
    assert pods(api, "games") == running
    assert operator.alive()


@pytest.mark.parametrize(("kind", "name"), [("ModelTier", "gold"), ("GameWorld", "moor")])
def test_a_protected_object_is_not_deleted(
    kind: str, name: str, api: Api, operator: Operator
) -> None:
    install.namespace(api, "kept")
    document = manifest("kept") if kind == "ModelTier" else world("kept")
    document["metadata"]["annotations"] = {"gameai.dev/deletion-protection": "true"}
    api.apply(document, manager="kubectl")

    def refusal() -> str:
        try:
            api.delete(kind, "kept", name, dryRun=["All"])
        except ApiError as error:
            return error.message
        return ""

    words = "is protected: remove its annotation gameai.dev/deletion-protection first"
    until("it is refused", lambda: words in refusal(), seconds=30)
    assert name in refusal()
    document["metadata"]["annotations"] = {"gameai.dev/deletion-protection": "false"}
    api.apply(document, manager="kubectl")
    assert refusal() == ""
    api.delete(kind, "kept", name)


def test_a_protected_namespace_is_not_deleted(api: Api, operator: Operator) -> None:
    """With it everything around a protected object would go, and there is no way back."""
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "fort", "annotations": {"gameai.dev/deletion-protection": "true"}},
    }
    api.apply(namespace)

    def refusal() -> str:
        try:
            api.request("DELETE", "/api/v1/namespaces/fort", query={"dryRun": "All"})
        except ApiError as error:
            return error.message
        return ""

    until("it is refused", lambda: "Namespace fort is protected" in refusal(), seconds=30)
    namespace["metadata"] = {"name": "fort", "annotations": {}}
    api.apply(namespace)
    assert refusal() == ""
    assert operator.alive()


def test_a_gateway_whose_autoscaling_is_switched_on_keeps_its_number(
    api: Api, helm: helm_python.Config
) -> None:
    name = "gameai-operator-gateway"
    # The autoscaler may have raised the number to its minimum already: Helm then changes it to no other one.
    api.patch(path("Deployment", SYSTEM, name), {"spec": {"replicas": 6}})
    helm.upgrade(
        charts.OPERATOR,
        "gameai-operator",
        {"gateway": {"autoscaling": {"enabled": False}, "replicas": 6}},
    )
    assert api.get("Deployment", SYSTEM, name)["spec"]["replicas"] == 6
    scaled = {"gateway": {"autoscaling": {"enabled": True, "minReplicas": 4}}}
    helm.upgrade(charts.OPERATOR, "gameai-operator", scaled)
    assert api.get("Deployment", SYSTEM, name)["spec"]["replicas"] == 6
    helm.upgrade(charts.OPERATOR, "gameai-operator", {})


def test_a_wrong_value_stops_an_upgrade_and_changes_nothing(
    api: Api, helm: helm_python.Config
) -> None:
    with pytest.raises(helm_python.HelmError, match="replicas"):
        helm.upgrade(charts.OPERATOR, "gameai-operator", {"replicas": 0})
    assert api.get("Deployment", SYSTEM, "gameai-operator")["spec"]["replicas"] == 2


def test_uninstalling_leaves_kinds_tiers_and_worlds(
    api: Api, helm: helm_python.Config, operator: Operator
) -> None:
    helm.uninstall("gameai-operator")
    helm.uninstall("gameai-crds")
    assert api.get("GameWorld", "games", "moor")["spec"]["services"]
    assert api.get("ModelTier", "games", "gold")["spec"]["class"] == "Gold"
    assert api.list("Pod", "games")
