"""A Bronze tier without replicas: jobs wake it, and it goes to sleep again."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from gameai_devcluster.api import Api, Json
from gameai_devcluster.broker import Broker
from gameai_devcluster.operators import Operator
from gameai_devcluster.testing.waiting import condition, until
from support.inference import FAST, engine
from support.jobs import View, gateway
from support.live import manifest
from support.scaled import HEALTH, NAMESPACE, processes

SCALING = {
    "minReplicas": 0,
    "maxReplicas": 4,
    "queue": {"targetPerReplica": 2},
    "scaleIn": {"windowSeconds": 2, "pods": 4, "periodSeconds": 1},
}


@pytest.fixture
def running(api: Api, operator_kubeconfig: Path, folder: Path) -> Iterator[Operator]:
    with processes(api, operator_kubeconfig, folder, scaler={}, operator={}) as made:
        yield made
        # Other tests count the tiers of this namespace.
        api.delete("ModelTier", NAMESPACE, "bronze")
        until(
            "the tier is gone", lambda: not api.find("ModelTier", NAMESPACE, "bronze"), seconds=30
        )


def tier(api: Api) -> Json:
    return api.get("ModelTier", NAMESPACE, "bronze")


def wait_replicas(api: Api, number: int) -> Json:
    def there() -> Json | None:
        found = tier(api)
        seen = (found["spec"].get("replicas"), found["status"].get("readyReplicas", 0))
        return found if seen == (number, number) else None

    return until(f"{number} replicas", there, seconds=60)


@pytest.mark.usefixtures("running")
async def test_jobs_wake_a_tier_that_has_no_replica(api: Api, bus: Broker, tmp_path: Path) -> None:
    view = View(tmp_path / "view.yaml", NAMESPACE)
    view.write([])
    document = manifest(NAMESPACE, "bronze", scaling=SCALING)
    document["spec"] |= {"class": "Bronze"}
    del document["spec"]["replicas"]
    async with (
        gateway(view, bus, f"--health-port={HEALTH}") as served,
        served.client(f"{NAMESPACE}/moor") as ai,
    ):
        api.apply(document, manager="kubectl")
        asleep = await asyncio.to_thread(wait_replicas, api, 0)
        assert condition(asleep, "Ready")["reason"] == "ScaledToZero"
        jobs = [await ai.jobs.submit(role="chronicle", prompt=f"{n}") for n in range(6)]
        awake = await asyncio.to_thread(wait_replicas, api, 3)
        assert awake["status"]["scaling"]["history"][0]["reason"] == "queue"
        async with engine("bronze", FAST) as (_, address):
            view.write([address])
            assert all([(await each.result(30)).text for each in jobs])
            await asyncio.to_thread(wait_replicas, api, 0)
