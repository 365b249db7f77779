"""Kill the operator at every write of a workload: what it leaves must be what an undisturbed run leaves.

The operator talks through a proxy that names each write by verb, path and number, and kills the process either before
the write reaches the API server or after the server carried it out. `make test` takes a seeded sample of the places,
`make soak` all of them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gameai_devcluster.api import Api, Json, path
from gameai_devcluster.testing.waiting import settled
from support import crashing
from support.crashing import Stage, Workload
from support.live import manifest

SAMPLE = 6
HARDWARE = {
    "gpus": 0,
    "cpu": "10m",
    "memory": "16Mi",
    "instanceTypes": ["g5.2xlarge", "m7i.4xlarge"],
    "tolerations": [{"key": "nvidia.com/gpu"}],
}


def full(namespace: str, **changes: Any) -> Json:
    given: dict[str, Any] = {
        "replicas": 2,
        "capacity": {"spotPercent": 50},
        "hardware": HARDWARE,
    }
    return manifest(namespace, **(given | changes))


def create(api: Api, namespace: str) -> None:
    api.apply(full(namespace), manager="kubectl")


def scale(api: Api, namespace: str) -> None:
    api.patch(path("ModelTier", namespace, "gold") + "/scale", {"spec": {"replicas": 3}})


def edit(api: Api, namespace: str) -> None:
    other = {"source": {"huggingFace": {"repository": "a/c"}}}
    api.apply(full(namespace, model=other), manager="kubectl")


def shrink(api: Api, namespace: str) -> None:
    """Spot share and account change: children are pruned."""
    changed = full(namespace, capacity={"spotPercent": 0}, serviceAccountName="default")
    api.apply(changed, manager="kubectl")


def delete(api: Api, namespace: str) -> None:
    api.delete("ModelTier", namespace, "gold")


def gone(api: Api, namespace: str) -> bool:
    """Nothing is left but pods that are ending: a vLLM takes all of its grace."""
    kinds = (*crashing.CHILDREN, "ModelTier", "ReplicaSet", "Pod")
    return all(
        each["metadata"]["name"] in crashing.SYSTEM
        or (kind == "Pod" and "deletionTimestamp" in each["metadata"])
        for kind in kinds
        for each in api.list(kind, namespace)
    )


def ended(api: Api, namespace: str) -> bool:
    tier = api.get("ModelTier", namespace, "gold")
    if not settled(tier):
        return False
    deployments = {each["metadata"]["name"]: each for each in api.list("Deployment", namespace)}
    model = tier["spec"]["model"]["source"]["huggingFace"]["repository"]
    models = {
        each["spec"]["template"]["spec"]["containers"][0]["args"][0]
        for each in deployments.values()
    }
    replicas = sum(each["spec"]["replicas"] for each in deployments.values())
    spot = "gold-spot" in deployments
    if spot != bool(tier["spec"]["capacity"]["spotPercent"]) or models != {model}:
        return False
    accounts = {each["metadata"]["name"] for each in api.list("ServiceAccount", namespace)}
    if ("gold" in accounts) == ("serviceAccountName" in tier["spec"]):
        return False
    quiet = all(
        each["status"].get("observedGeneration") == each["metadata"]["generation"]
        and not each["spec"].get("paused")
        for each in deployments.values()
    )
    return replicas == tier["spec"]["replicas"] and quiet


WORKLOADS = {
    "create": Workload(prepare=None, act=create, ended=ended),
    "scale": Workload(prepare=create, act=scale, ended=ended),
    "edit": Workload(prepare=create, act=edit, ended=ended),
    "shrink": Workload(prepare=create, act=shrink, ended=ended),
    "delete": Workload(prepare=create, act=delete, ended=gone),
}


@pytest.fixture(scope="module")
def stage(api: Api, folder: Path) -> Iterator[Stage]:
    yield from crashing.begin(api, folder, "crashes", WORKLOADS, ended)


def test_a_seeded_sample_of_crashes_ends_as_an_undisturbed_run(stage: Stage, seed: int) -> None:
    every = stage.points()
    assert len([each for _, each, _ in every if not each.path.endswith("/status")]) >= 15
    stage.sample(seed, SAMPLE)


@pytest.mark.soak
def test_a_crash_at_every_write_ends_as_an_undisturbed_run(stage: Stage) -> None:
    stage.sweep()
