"""Tiers with driver KEDA, with KEDA's own operator and adapter and the HorizontalPodAutoscaler of Kubernetes."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gameai_devcluster import keda
from gameai_devcluster.api import Api, Json
from gameai_devcluster.cluster import Cluster
from gameai_devcluster.operators import Operator
from gameai_devcluster.processes import free_port
from gameai_devcluster.testing.waiting import condition, until
from support import scaled as support
from support.scaled import (
    NAMESPACE,
    load,
    processes,
    slow_gateway,
    tier,
    wait_reason,
    wait_replicas,
)

pytestmark = pytest.mark.integrations
# The HorizontalPodAutoscaler looks every 15 seconds.
SECONDS = 150.0


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with slow_gateway(folder) as made:
        yield made


@pytest.fixture(scope="module")
def running(
    api: Api,
    cluster: Cluster,
    operator_kubeconfig: Path,
    folder: Path,
    gateway: subprocess.Popen[bytes],
) -> Iterator[Operator]:
    """Operator and scaler, and then KEDA: it may be installed later than they are."""
    port = free_port()
    with processes(
        api,
        operator_kubeconfig,
        folder,
        scaler={"keda_port": port},
        operator={"keda_scaler_address": f"127.0.0.1:{port}"},
    ) as made:
        scaled(api)
        wait_reason(api, "ScalingActive", "KedaNotInstalled")
        with keda.running(cluster, folder, print):
            yield made


def scaled(api: Api, **scaling: Any) -> None:
    """Scaled by the queue alone, and by KEDA: the engine misses the target of 16 ms at any load."""
    support.scaled(api, **({"driver": "KEDA", "latencyGuard": {"maxExtraPercent": 0}} | scaling))


def autoscaler(api: Api) -> Json | None:
    return api.find("HorizontalPodAutoscaler", NAMESPACE, "keda-hpa-gold")


async def test_a_horizontal_pod_autoscaler_brings_a_tier_to_the_recommended_number(
    api: Api, running: Operator
) -> None:
    await asyncio.to_thread(wait_reason, api, "ScalingActive", "ValidSignals", SECONDS)
    await asyncio.to_thread(wait_replicas, api, 1)
    async with load(40):
        await asyncio.to_thread(wait_replicas, api, 5, SECONDS)
        made = autoscaler(api)
        assert made is not None
        assert made["spec"]["behavior"]["scaleUp"]["tolerance"] == "0"
        changes = await asyncio.to_thread(
            until,
            "the change is reported",
            lambda: tier(api)["status"]["scaling"].get("history"),
            seconds=60,
        )
        assert (changes[0]["to"], changes[0]["reason"]) == (5, "queue")
    await asyncio.to_thread(wait_replicas, api, 1, SECONDS)
    writers = {e["manager"] for e in tier(api)["metadata"]["managedFields"]}
    assert "gameai-scaler" in writers
    assert running.metric("gameai_scaler_keda_requests_total") > 0
    events = [each for each in api.list("Event", NAMESPACE) if each["reason"] == "Scaled"]
    assert any(each["message"].startswith("1 → 5 replicas; queue: ") for each in events)


@pytest.mark.parametrize("driver", ["KEDA", "BuiltIn"])
async def test_both_drivers_reach_the_same_numbers(
    api: Api, running: Operator, driver: str
) -> None:
    scaled(api, driver=driver)
    await asyncio.to_thread(wait_reason, api, "ScalingActive", "ValidSignals", SECONDS)
    for questions, replicas in ((24, 3), (80, 10), (120, 12), (30, 4)):
        async with load(questions):
            await asyncio.to_thread(wait_replicas, api, replicas, SECONDS)


async def test_with_driver_built_in_the_scaled_object_goes(api: Api, running: Operator) -> None:
    scaled(api, driver="BuiltIn")
    await asyncio.to_thread(
        until,
        "ScaledObject and HorizontalPodAutoscaler are gone",
        lambda: not api.list("ScaledObject", NAMESPACE) and autoscaler(api) is None,
        seconds=60,
    )
    scaled(api)
    await asyncio.to_thread(wait_reason, api, "ScalingActive", "ValidSignals", SECONDS)


async def test_freeze_and_recommend_hold_for_keda_too(api: Api, running: Operator) -> None:
    scaled(api, freeze="All")
    await asyncio.to_thread(wait_reason, api, "ScalingActive", "Frozen", SECONDS)
    before = tier(api)["spec"]["replicas"]
    async with load(60):
        await asyncio.sleep(45)
        assert tier(api)["spec"]["replicas"] == before
    scaled(api, mode="Recommend")
    await asyncio.to_thread(wait_reason, api, "ScalingActive", "Recommend", SECONDS)
    await asyncio.to_thread(
        until,
        "the ScaledObject is gone",
        lambda: not api.list("ScaledObject", NAMESPACE),
        seconds=60,
    )


async def test_a_scaler_that_is_gone_costs_no_replica(api: Api, running: Operator) -> None:
    scaled(api)
    async with load(40):
        await asyncio.to_thread(wait_replicas, api, 5, SECONDS)
        running.kill()
    # KEDA 2.20 falls back only where the metric is described and not given; else the autoscaler has no metric.
    await asyncio.to_thread(
        until,
        "the autoscaler has no metric",
        lambda: (
            condition(api.get("ScaledObject", NAMESPACE, "gold"), "HPAActive").get("status")
            == "False"
        ),
        seconds=SECONDS,
    )
    await asyncio.sleep(35)
    assert tier(api)["spec"]["replicas"] == 5
    running.start()
    running.wait_ready()
    await asyncio.to_thread(wait_reason, api, "ScalingActive", "ValidSignals", SECONDS)
