"""GPU tiers on nodes from Karpenter's own controllers, with the chart's node pools; nodes and pods are simulated."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gameai_devcluster import charts, install, karpenter
from gameai_devcluster.api import Api, Json
from gameai_devcluster.cluster import Cluster
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.testing.waiting import until
from support.live import manifest

pytestmark = pytest.mark.integrations
NAMESPACE = "nodes"
BOOT_SECONDS = 10
SECONDS = 200.0
VALUES: dict[str, Any] = {
    "karpenter": {
        "enabled": True,
        "nodeClass": {"role": "nodes", "discovery": "games", "amiAlias": "al2023@v20261101"},
        "classes": {
            "gold": {"instanceTypes": [karpenter.INSTANCE_TYPE], "maxGpus": 8},
            "silver": None,
        },
    }
}


def pools(**limits: int) -> list[Json]:
    """The chart's node pools, of simulated nodes; a limit of GPUs by capacity type."""
    made = [each for each in charts.rendered(values=VALUES) if each["kind"] == "NodePool"]
    for each in made:
        each["spec"]["template"]["spec"]["nodeClassRef"] = karpenter.NODE_CLASS
        capacity = "spot" if each["metadata"]["name"].endswith("spot") else "on_demand"
        if capacity in limits:
            each["spec"]["limits"] = {"nvidia.com/gpu": limits[capacity]}
    return made


@pytest.fixture(scope="module")
def running(
    api: Api, cluster: Cluster, operator_kubeconfig: Path, folder: Path
) -> Iterator[Operator]:
    launch = Launch(kubeconfig=operator_kubeconfig, log=folder / "karpenter-operator.log")
    operator = Operator(launch).wait_ready()
    install.namespace(api, NAMESPACE)
    with karpenter.running(cluster, folder, boot_seconds=BOOT_SECONDS, progress=print):
        yield operator
        api.delete("ModelTier", NAMESPACE, "gold")
    assert operator.stop() == 0
    assert "this is a bug" not in operator.output()


def tier(api: Api, replicas: int) -> None:
    api.apply(
        manifest(
            NAMESPACE,
            replicas=replicas,
            hardware={
                "gpus": 1,
                "cpu": "1",
                "memory": "1Gi",
                "instanceTypes": [karpenter.INSTANCE_TYPE],
            },
            capacity={"spotPercent": 50, "minimumOnDemand": 1, "lendAfterSeconds": 30},
        ),
        manager="kubectl",
    )


def status(api: Api) -> Json:
    found: Json = api.get("ModelTier", NAMESPACE, "gold").get("status", {})
    return found


def nodes(api: Api) -> list[str]:
    """Capacity types of the nodes that Karpenter made."""
    return sorted(
        each["metadata"]["labels"]["karpenter.sh/capacity-type"]
        for each in api.list("Node", selector="karpenter.sh/nodepool")
        if each["metadata"]["labels"]["node.kubernetes.io/instance-type"] == karpenter.INSTANCE_TYPE
    )


def wait_ready(api: Api, replicas: int) -> Json:
    return until(
        f"{replicas} replicas are ready",
        lambda: found if (found := status(api)).get("readyReplicas") == replicas else None,
        seconds=SECONDS,
    )


def test_pending_pods_get_nodes_of_the_capacity_type_that_the_tier_chose(
    api: Api, running: Operator
) -> None:
    for pool in pools():
        api.apply(pool)
    tier(api, 4)
    found = wait_ready(api, 4)
    assert found["capacity"] == {"onDemand": 2, "spot": 2, "lent": 0, "any": 0, "headroom": 0}
    assert nodes(api) == ["on-demand", "on-demand", "spot", "spot"]


def missing(api: Api) -> int:
    """Spot nodes that four spot replicas lack.

    Not always two: in about one run of four Karpenter makes a third node before it has counted those that it made.
    """
    return 4 - nodes(api).count("spot")


def test_a_spot_shortage_is_lent_to_on_demand_and_repaid(api: Api, running: Operator) -> None:
    for pool in pools(spot=2):
        api.apply(pool)
    tier(api, 8)
    until(
        "every spot replica without a node is lent",
        lambda: 0 < status(api).get("capacity", {}).get("lent", 0) == missing(api),
        seconds=SECONDS,
    )
    wait_ready(api, 8)
    assert 0 < missing(api) == status(api)["capacity"]["lent"]
    for pool in pools(spot=8):
        api.apply(pool)
    repaid = until(
        "spot nodes are back, and the loan is repaid",
        lambda: (
            s
            if (s := status(api)).get("capacity")
            == {"onDemand": 4, "spot": 4, "lent": 0, "any": 0, "headroom": 0}
            and s.get("readyReplicas") == 8
            else None
        ),
        seconds=SECONDS,
    )
    assert repaid["replicas"] == 8
