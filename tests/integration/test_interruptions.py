"""Nodes that are about to be interrupted: their pods go at once, past the disruption budget, and others take their place."""

from collections.abc import Iterator

import pytest
from gameai_devcluster.api import Api, Json, path
from gameai_devcluster.operators import Operator
from gameai_devcluster.testing.waiting import condition, until
from support.live import manifest

SPOT_ITN = {"key": "aws-node-termination-handler/spot-itn", "effect": "NoSchedule"}


def pods(api: Api, namespace: str, *, terminating: bool = False) -> list[Json]:
    return [
        each
        for each in api.list("Pod", namespace, selector="gameai.dev/tier=gold")
        if ("deletionTimestamp" in each["metadata"]) is terminating
    ]


def tier(namespace: str, replicas: int) -> Json:
    """On nodes of any kind: there are more of them than replicas."""
    tolerations = [{"key": "nvidia.com/gpu"}]
    hardware = {"gpus": 0, "cpu": "10m", "memory": "16Mi", "tolerations": tolerations}
    return manifest(namespace, replicas=replicas, hardware=hardware)


def ready(api: Api, namespace: str, count: int) -> list[Json]:
    """The pods, once there are so many, and all of them ready."""

    def found() -> list[Json] | None:
        seen = pods(api, namespace)
        served = [each for each in seen if condition(each, "Ready").get("status") == "True"]
        return seen if len(served) == len(seen) == count else None

    return until(f"{count} replicas are ready", found, seconds=60)


def taint(api: Api, nodes: set[str], *, taints: bool) -> None:
    for name in nodes:
        spec = api.get("Node", None, name)["spec"]
        others = [each for each in spec.get("taints", []) if each["key"] != SPOT_ITN["key"]]
        wanted = [*others, SPOT_ITN] if taints else others
        api.patch(path("Node", None, name), {"spec": {"taints": wanted}})


@pytest.fixture
def interrupted(api: Api) -> Iterator[set[str]]:
    """Nodes that a test interrupts; they come back afterwards."""
    nodes: set[str] = set()
    yield nodes
    taint(api, nodes, taints=False)


def test_all_pods_of_interrupted_nodes_are_deleted_at_once_and_replaced_elsewhere(
    api: Api, operator: Operator, namespace: str, interrupted: set[str]
) -> None:
    api.apply(tier(namespace, 3), manager="kubectl")
    before = {e["metadata"]["uid"]: e["spec"]["nodeName"] for e in ready(api, namespace, 3)}
    [budget] = api.list("PodDisruptionBudget", namespace)
    assert budget["spec"]["maxUnavailable"] == 1
    interrupted |= set(before.values())
    taint(api, interrupted, taints=True)
    # Stated: at once. A node has two minutes.
    until(
        "all three are deleted",
        lambda: not ({e["metadata"]["uid"] for e in pods(api, namespace)} & set(before)),
        seconds=20,
    )
    going = pods(api, namespace, terminating=True)
    assert {each["metadata"]["deletionGracePeriodSeconds"] for each in going} <= {30}
    now = {each["spec"]["nodeName"] for each in ready(api, namespace, 3)}
    assert now.isdisjoint(interrupted)
    # One that was placed on another node just before that was interrupted too goes as well.
    assert operator.metric("gameai_operator_interrupted_pods_total") >= 3


def test_an_operator_that_was_away_finds_the_interruption(
    api: Api, operator: Operator, namespace: str, interrupted: set[str]
) -> None:
    """Level-triggered: the taint stands on the node before the pod is seen there."""
    api.apply(tier(namespace, 1), manager="kubectl")
    [pod] = ready(api, namespace, 1)
    operator.kill()
    interrupted.add(pod["spec"]["nodeName"])
    taint(api, interrupted, taints=True)
    operator.start()
    operator.wait_ready()
    until(
        "it is deleted",
        lambda: pod["metadata"]["uid"] not in {e["metadata"]["uid"] for e in pods(api, namespace)},
        seconds=60,
    )
    ready(api, namespace, 1)
