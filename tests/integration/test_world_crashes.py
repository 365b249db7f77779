"""The same for worlds: kill the operator at every write of what a game team does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gameai_devcluster import install
from gameai_devcluster.api import Api, Json
from gameai_devcluster.testing.waiting import settled, until, world_settled
from support import crashing
from support.crashing import Stage, Workload
from support.live import manifest, world

SAMPLE = 6
SHARED = "crash-shared"


def made(namespace: str, *, role: str = "gold", services: int = 2, **spec: Any) -> Json:
    """A world with one role and some services, the last of which has two replicas."""
    every = [
        {"name": "time-manager"},
        {"name": "weather-manager", "replicas": 2},
        {"name": "duel", "image": "registry.example/duel:1"},
    ]
    roles = [{"name": "dialogue", "tierRef": {"name": role, "namespace": SHARED}}]
    return world(namespace, seed=7, services=every[:services], roles=roles, **spec)


def create(api: Api, namespace: str) -> None:
    api.apply(made(namespace), manager="kubectl")


def add_a_service(api: Api, namespace: str) -> None:
    api.apply(made(namespace, services=3), manager="kubectl")


def drop_a_service(api: Api, namespace: str) -> None:
    api.apply(made(namespace, services=1), manager="kubectl")


def change_a_role(api: Api, namespace: str) -> None:
    api.apply(made(namespace, role="silver"), manager="kubectl")


def hibernate(api: Api, namespace: str) -> None:
    api.apply(made(namespace, state="Hibernated"), manager="kubectl")


def delete(api: Api, namespace: str) -> None:
    api.delete("GameWorld", namespace, "moor")


def left(api: Api, namespace: str) -> list[Json]:
    return [
        each
        for kind in (*crashing.CHILDREN, "GameWorld", "ReplicaSet", "Pod")
        for each in api.list(kind, namespace)
        if each["metadata"]["name"] not in crashing.SYSTEM
    ]


def gone(api: Api, namespace: str) -> bool:
    return not left(api, namespace)


def ended(api: Api, namespace: str) -> bool:
    """The world is settled, and its children are those of its spec, seen by their controllers."""
    root = api.get("GameWorld", namespace, "moor")
    if not world_settled(root):
        return False
    services = {f"moor-{each['name']}": each for each in root["spec"]["services"]}
    budgets = {name for name, each in services.items() if each["replicas"] > 1}
    deployments = api.list("Deployment", namespace)
    config = api.get("ConfigMap", namespace, "moor-world")["data"]["world.json"]
    role = root["spec"]["roles"][0]["tierRef"]["name"]
    asleep = root["spec"].get("state") == "Hibernated"
    return (
        {each["metadata"]["name"] for each in deployments} == set(services)
        and {each["metadata"]["name"] for each in api.list("Service", namespace)} == set(services)
        and {e["metadata"]["name"] for e in api.list("PodDisruptionBudget", namespace)} == budgets
        and len(api.list("ReplicaSet", namespace)) == len(services)
        and all(
            each["status"].get("observedGeneration") == each["metadata"]["generation"]
            for each in deployments
        )
        and f'"tier": "{role}"' in config
        and ('"speed": "0"' in config) == asleep
        and not (asleep and api.list("Pod", namespace))
    )


WORKLOADS = {
    "create": Workload(prepare=None, act=create, ended=ended),
    "add a service": Workload(prepare=create, act=add_a_service, ended=ended),
    "drop a service": Workload(prepare=create, act=drop_a_service, ended=ended),
    "change a role": Workload(prepare=create, act=change_a_role, ended=ended),
    "hibernate": Workload(prepare=create, act=hibernate, ended=ended),
    "delete": Workload(prepare=create, act=delete, ended=gone),
}


@pytest.fixture(scope="module")
def stage(api: Api, folder: Path) -> Iterator[Stage]:
    install.namespace(api, SHARED)
    for name in ("gold", "silver"):
        api.apply(manifest(SHARED, name=name, replicas=1, access={"from": "All"}))
    for running in crashing.begin(api, folder, "worlds", WORKLOADS, ended):
        until(
            "the tiers are Ready",
            lambda: all(settled(each) for each in api.list("ModelTier", SHARED)),
            seconds=60,
        )
        yield running
    for name in ("gold", "silver"):
        api.delete("ModelTier", SHARED, name)


def test_a_seeded_sample_of_crashes_ends_as_an_undisturbed_run(stage: Stage, seed: int) -> None:
    every = stage.points()
    assert len([each for _, each, _ in every if not each.path.endswith("/status")]) >= 20
    stage.sample(seed, SAMPLE)


def test_a_world_recreated_while_the_operator_is_down_adopts_nothing_of_the_old_one(
    stage: Stage, api: Api, namespace: str
) -> None:
    create(api, namespace)
    stage.wait("the first world is there", lambda: ended(api, namespace))
    before = {each["metadata"]["uid"] for each in left(api, namespace)}
    stage.operator.kill()
    api.delete("GameWorld", namespace, "moor")
    create(api, namespace)
    own = api.get("GameWorld", namespace, "moor")["metadata"]["uid"]
    stage.wait(
        "the second world is there",
        lambda: (
            ended(api, namespace)
            and before.isdisjoint({e["metadata"]["uid"] for e in left(api, namespace)})
        ),
    )
    again = api.get("GameWorld", namespace, "moor")
    created = again["metadata"]["creationTimestamp"]
    assert again["status"]["clock"]["effectiveAt"] == created, "its clock is its own"
    children = [each for kind in crashing.CHILDREN for each in api.list(kind, namespace)]
    named = [each for each in children if each["metadata"]["name"] not in crashing.SYSTEM]
    assert named
    assert before.isdisjoint({each["metadata"]["uid"] for each in named})
    owners = {each["metadata"]["ownerReferences"][0]["uid"] for each in named}
    assert owners == {own}


@pytest.mark.soak
def test_a_crash_at_every_write_ends_as_an_undisturbed_run(stage: Stage) -> None:
    stage.sweep()
