"""With the commands in its comment, every example of a feature is accepted, and what it declares becomes Ready."""

import re
import shlex
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml
from gameai_devcluster import install
from gameai_devcluster.api import Api, Json
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.testing.waiting import (
    condition,
    knowledge_settled,
    settled,
    until,
    world_settled,
)

Kubectl = Callable[..., str]
SETTLED = {
    "ModelTier": settled,
    "GameWorld": world_settled,
    "KnowledgeBase": knowledge_settled,
}
EXAMPLES = sorted((install.ROOT / "examples/features").glob("*.yaml"))


@pytest.fixture(scope="module", autouse=True)
def operator(operator_kubeconfig: Path, folder: Path) -> Iterator[Operator]:
    flags: dict[str, str | float] = {
        "keda_scaler_address": "127.0.0.1:6000",
        "headroom_priority_class": install.HEADROOM_CLASS,
    }
    log = folder / "examples.log"
    made = Operator(Launch(kubeconfig=operator_kubeconfig, log=log, flags=flags))
    made.wait_ready()
    yield made
    assert made.stop() == 0


def volume(claim: Json) -> Json:
    """What a storage driver would make for a claim."""
    metadata, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{metadata['namespace']}-{metadata['name']}"},
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": spec["resources"]["requests"],
            "storageClassName": spec.get("storageClassName", ""),
            "claimRef": {"namespace": metadata["namespace"], "name": metadata["name"]},
            "hostPath": {"path": "/models"},
        },
    }


def settled_root(api: Api, kind: str, namespace: str, name: str) -> Json:
    """The root once it is settled; else an error with its conditions."""
    ends = SETTLED[kind]
    try:
        return until(
            f"{kind} {name} is settled",
            lambda: live if ends(live := api.get(kind, namespace, name)) else None,
            seconds=60,
        )
    except AssertionError as error:
        raise AssertionError(f"{error}\n{api.get(kind, namespace, name)['status']}") from None


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_becomes_ready(api: Api, kubectl: Kubectl, file: Path) -> None:
    documents = list(yaml.safe_load_all(file.read_text()))
    install.namespace(api, "studio")
    for command in re.findall(r"^#   kubectl (.+)$", file.read_text(), re.MULTILINE):
        kubectl(*shlex.split(command))
    kubectl("apply", "-f", str(file))
    for each in documents:
        if each["kind"] == "PersistentVolumeClaim":
            api.apply(volume(each), manager="storage")
        if each.get("spec", {}).get("database", {}).get("managed"):
            namespace, name = each["metadata"]["namespace"], f"data-{each['metadata']['name']}-db-0"
            claim = until(
                "a claim", partial(api.find, "PersistentVolumeClaim", namespace, name), seconds=30
            )
            api.apply(volume(claim), manager="storage")
    roots = [
        (each["kind"], each["metadata"]["namespace"], each["metadata"]["name"])
        for each in documents
        if install.has_status(each)
    ]
    for kind, namespace, name in roots:
        found = settled_root(api, kind, namespace, name)
        assert condition(found, "Ready")["status"] == "True"
        stalled = condition(found, "Stalled")
        # The operator of these tests knows no event bus.
        assert stalled["status"] == "False" or stalled["reason"] == "BusMissing"
    for kind, namespace, name in reversed(roots):
        api.delete(kind, namespace, name)
