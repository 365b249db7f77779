"""Placeholders on the real scheduler: a replica without a free node takes the place of one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from gameai_devcluster import install
from gameai_devcluster.api import Api, Json, path
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.testing.waiting import condition, until
from support.live import manifest

ONLY_HERE = {"test.gameai.dev/headroom": "yes"}


@pytest.fixture(scope="module")
def running(operator_kubeconfig: Path, folder: Path) -> Iterator[Operator]:
    flags: dict[str, str | float] = {"headroom_priority_class": install.HEADROOM_CLASS}
    log = folder / "headroom.log"
    made = Operator(Launch(kubeconfig=operator_kubeconfig, log=log, flags=flags))
    made.wait_ready()
    yield made
    assert made.stop() == 0
    assert "this is a bug" not in made.output()


@pytest.fixture
def three_nodes(api: Api) -> Iterator[None]:
    """Three nodes with a GPU each, for this test alone."""
    gpus = [n for n in api.list("Node") if "nvidia.com/gpu" in n["status"].get("capacity", {})]
    names = [each["metadata"]["name"] for each in gpus if "on-demand" in each["metadata"]["name"]]
    for name in names[:3]:
        api.patch(path("Node", None, name), {"metadata": {"labels": ONLY_HERE}})
    yield
    for name in names[:3]:
        body = {"metadata": {"labels": dict.fromkeys(ONLY_HERE)}}
        api.patch(path("Node", None, name), body)


def tier(namespace: str, replicas: int, placeholders: int) -> Json:
    return manifest(
        namespace,
        replicas=replicas,
        hardware={"gpus": 1, "cpu": "10m", "memory": "16Mi", "nodeSelector": ONLY_HERE},
        capacity={"headroomReplicas": placeholders},
    )


def placed(api: Api, namespace: str, capacity: str) -> dict[str, str]:
    pods = api.list("Pod", namespace, selector=f"gameai.dev/capacity={capacity}")
    return {
        each["metadata"]["name"]: each["spec"]["nodeName"]
        for each in pods
        if "nodeName" in each["spec"] and "deletionTimestamp" not in each["metadata"]
    }


def wait_placed(api: Api, namespace: str, replicas: int, placeholders: int) -> set[str]:
    """Nodes of replicas, once so many of both have one."""

    def found() -> set[str] | None:
        serving = placed(api, namespace, "on-demand")
        held = placed(api, namespace, "headroom")
        right = (len(serving), len(held)) == (replicas, placeholders)
        return set(serving.values()) if right else None

    return until(f"{replicas} replicas, {placeholders} placeholders", found, seconds=60)


def test_a_replica_without_a_free_node_takes_the_place_of_a_placeholder(
    api: Api, running: Operator, namespace: str, three_nodes: None
) -> None:
    api.apply(tier(namespace, 1, 2), manager="kubectl")
    wait_placed(api, namespace, 1, 2)
    held = set(placed(api, namespace, "headroom").values())
    api.patch(path("ModelTier", namespace, "gold"), {"spec": {"replicas": 2}})
    serving = wait_placed(api, namespace, 2, 1)
    assert serving & held, "all three nodes were taken"
    until(
        "both are ready",
        lambda: api.get("ModelTier", namespace, "gold")["status"].get("readyReplicas") == 2,
        seconds=60,
    )
    found = api.get("ModelTier", namespace, "gold")
    # A placeholder waits for a node, which is no matter of the tier's.
    assert condition(found, "Ready")["message"] == "2 of 2 replicas are ready"
    api.patch(path("ModelTier", namespace, "gold"), {"spec": {"capacity": {"headroomReplicas": 0}}})
    until(
        "no placeholder is left",
        lambda: api.find("Deployment", namespace, "gold-headroom") is None,
        seconds=30,
    )
    assert len(placed(api, namespace, "on-demand")) == 2
