"""Clients of a world's services, by name, while pods come and go."""

from collections.abc import Callable

import pytest
from gameai_devcluster import e2e
from gameai_devcluster.api import Api, Json
from gameai_devcluster.testing.waiting import until
from support import real

Kubectl = Callable[..., str]
UPDATES = 5
TARGET = "dns:///moor-weather-manager.eldermoor.svc:50051"
AWAY = "UNAVAILABLE: this replica is going away: call again"


@pytest.mark.parametrize("replicas", [2, 1])
def test_rolling_updates_cost_no_call_and_streams_end_by_goaway_alone(
    replicas: int,
    examples: list[Json],
    environment: e2e.Environment,
    api: Api,
    kubectl: Kubectl,
    figures: list[str],
) -> None:
    real.scaled(api, replicas)
    image = f"{environment.registry}/gameai-workloads:{environment.workloads_tag}"
    # As a pod of the world itself it is let in by the world's network policy.
    labels = {"gameai.dev/world": "moor"}
    caller = real.Caller(api, "eldermoor", image, (TARGET, "coast"), labels=labels)
    caller.wait_said('"first"')
    for _ in range(UPDATES):
        kubectl("-n", "eldermoor", "rollout", "restart", "deployment/moor-weather-manager")
        kubectl(
            *("-n", "eldermoor", "rollout", "status", "deployment/moor-weather-manager"),
            "--timeout=120s",
        )
    # The last of the old pods still drains.
    until(
        "old pods are gone",
        lambda: len(api.list("Pod", "eldermoor", selector=real.WEATHER)) == replicas,
        seconds=120,
    )
    summary = caller.result(kubectl)
    figures.append(
        f"{UPDATES} rolling updates at {replicas} replicas: {summary['answered']} calls answered, "
        f"slowest {summary['slowest'] * 1000:.0f} ms, failures {summary['failures']}, "
        f"streams ended {summary['ends']}"
    )
    assert summary["failures"] == {}
    assert summary["answered"] > 100
    assert set(summary["ends"]) == {AWAY}
    assert 1 <= summary["ends"][AWAY] <= UPDATES * replicas
