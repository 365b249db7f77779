"""SIGKILL before and after every write of a workload: the end is that of an undisturbed run."""

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from gameai_devcluster import install
from gameai_devcluster.api import Api, Json, path
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.testing.proxy import DropError, Named, Proxy
from gameai_devcluster.testing.waiting import settled, until
from live import manifest

KINDS = (
    "ModelTier",
    "Deployment",
    "ReplicaSet",
    "Service",
    "PodDisruptionBudget",
    "ServiceAccount",
)
# Lease times of a test: 1.5/1/0.2 s; the Lease itself keeps whole seconds.
FLAGS = {
    "lease_seconds": 1.5,
    "lease_renew_seconds": 1.0,
    "lease_retry_seconds": 0.2,
    "resync_seconds": 3600,
    "workers": 1,
}
SAMPLE = 6
CONVERGED_SECONDS = 90


def full(namespace: str, **changes: Any) -> Json:
    given: dict[str, Any] = {
        "replicas": 2,
        "capacity": {"spotPercent": 50},
        "hardware": HARDWARE,
    }
    return manifest(namespace, **(given | changes))


HARDWARE = {
    "gpus": 0,
    "cpu": "10m",
    "memory": "16Mi",
    "instanceTypes": ["g5.2xlarge", "m7i.4xlarge"],
    "tolerations": [{"key": "nvidia.com/gpu"}],
}


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


WORKLOADS: dict[str, Callable[[Api, str], None]] = {
    "create": create,
    "scale": scale,
    "edit": edit,
    "shrink": shrink,
    "delete": delete,
}


@dataclass
class Stage:
    """An operator behind a proxy, and the undisturbed run of each workload."""

    api: Api
    proxy: Proxy
    operator: Operator
    references: dict[str, tuple[list[Named], list[Json]]] = field(default_factory=dict)
    number: int = 0

    def run(self, workload: str, arm: Callable[[str], None] | None = None) -> list[Json]:
        """Run a workload in a fresh namespace; its end state."""
        self.number += 1
        namespace = f"crash{self.number:03d}"
        install.namespace(self.api, namespace)
        self.revive()
        if workload != "create":
            create(self.api, namespace)
            self.wait("create", namespace)
        self.proxy.reset()
        if arm:
            arm(namespace)
        WORKLOADS[workload](self.api, namespace)
        self.wait(workload, namespace)
        return self.cleaned(workload, namespace)

    def wait(self, workload: str, namespace: str) -> None:
        """Wait for the end, reviving the operator whenever it was killed."""

        def done() -> bool:
            self.revive()
            return ended(self.api, workload, namespace)

        until(f"{workload} has ended", done, seconds=CONVERGED_SECONDS)

    def revive(self) -> None:
        if not self.operator.alive():
            self.operator.start()

    def cleaned(self, workload: str, namespace: str) -> list[Json]:
        state = snapshot(self.api, namespace)
        if workload != "delete":
            delete(self.api, namespace)
        return state


def ended(api: Api, workload: str, namespace: str) -> bool:
    if workload == "delete":
        kinds = ("ModelTier", "Deployment", "Service", "PodDisruptionBudget", "ReplicaSet", "Pod")
        return not any(api.list(kind, namespace) for kind in kinds)
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


def snapshot(api: Api, namespace: str) -> list[Json]:
    """Everything in a namespace without what differs from run to run: uids, versions, times."""
    found = [
        without_chance({"kind": kind, **document}, namespace)
        for kind in KINDS
        for document in api.list(kind, namespace)
        if document["metadata"]["name"] != "default"
    ]
    return sorted(found, key=lambda each: (each["kind"], each["metadata"]["name"]))


def without_chance(document: Json, namespace: str) -> Json:
    made = copy.deepcopy(document)
    metadata = made["metadata"]
    for name in (
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "managedFields",
        "namespace",
        "generation",
    ):
        metadata.pop(name, None)
    for owner in metadata.get("ownerReferences", ()):
        owner.pop("uid")
    # The hash of a manifest covers its owner's uid.
    metadata.get("annotations", {}).pop("gameai.dev/manifest-hash", None)
    metadata.get("annotations", {}).pop("kubectl.kubernetes.io/last-applied-configuration", None)
    if made["kind"] != "ModelTier":
        made.pop("status", None)
    if made["kind"] == "ReplicaSet":
        # Its controller counts name collisions with its own late cache into this hash.
        hashed = metadata["labels"].pop("pod-template-hash")
        made["spec"]["selector"]["matchLabels"].pop("pod-template-hash")
        made["spec"]["template"]["metadata"]["labels"].pop("pod-template-hash")
        revision = metadata["annotations"]["deployment.kubernetes.io/revision"]
        metadata["name"] = metadata["name"].replace(hashed, revision)
    for entry in made.get("status", {}).get("conditions", ()):
        entry.pop("lastTransitionTime")
    text = yaml.safe_dump(made).replace(namespace, "NAMESPACE")
    cleaned: Json = yaml.safe_load(text)
    return cleaned


@pytest.fixture(scope="module")
def stage(api: Api, folder: Path) -> Iterator[Stage]:
    credentials = api.credentials
    assert credentials.ca_file
    proxy = Proxy(credentials.server, credentials.ca_file)
    kubeconfig = install.operator_kubeconfig(api, folder / "proxied.kubeconfig", server=proxy.url)
    launch = Launch(kubeconfig=kubeconfig, log=folder / "crashes.log", flags=FLAGS)
    made = Stage(api=api, proxy=proxy, operator=Operator(launch).wait_ready())
    yield made
    made.operator.kill()
    proxy.close()


def reference(stage: Stage, workload: str) -> tuple[list[Named], list[Json]]:
    """The writes and the end state of an undisturbed run."""
    if workload not in stage.references:
        state = stage.run(workload)
        namespace = f"crash{stage.number:03d}"
        names = [
            Named(each.verb, each.path.replace(namespace, "NAMESPACE"), each.nth)
            for each in stage.proxy.seen
            if namespace in each.path
        ]
        stage.references[workload] = (names, state)
    return stage.references[workload]


def kill_at(stage: Stage, target: Named, *, after: bool) -> Callable[[str], None]:
    """Arms the proxy: SIGKILL at this write, before it reaches the server or after it was carried out."""

    def arm(namespace: str) -> None:
        def hook(named: Named) -> None:
            same = Named(named.verb, named.path.replace(namespace, "NAMESPACE"), named.nth)
            if same == target and stage.operator.alive():
                stage.operator.kill()
                stage.proxy.before = stage.proxy.after = None
                raise DropError

        if after:
            stage.proxy.after = hook
        else:
            stage.proxy.before = hook

    return arm


def check(stage: Stage, workload: str, target: Named, *, after: bool) -> None:
    _, expected = reference(stage, workload)
    state = stage.run(workload, kill_at(stage, target, after=after))
    assert state == expected, f"{workload}: killed {'after' if after else 'before'} {target}"


def points(stage: Stage) -> list[tuple[str, Named, bool]]:
    """Every workload's every write, before and after."""
    return [
        (workload, name, after)
        for workload in WORKLOADS
        for name in reference(stage, workload)[0]
        for after in (False, True)
    ]


def test_a_seeded_sample_of_crashes_ends_as_an_undisturbed_run(stage: Stage, seed: int) -> None:
    every = points(stage)
    assert len(every) >= 30
    for workload, target, after in random.Random(seed).sample(every, SAMPLE):
        check(stage, workload, target, after=after)


@pytest.mark.soak
def test_a_crash_at_every_write_ends_as_an_undisturbed_run(stage: Stage) -> None:
    every = points(stage)
    failures = []
    for workload, target, after in every:
        try:
            check(stage, workload, target, after=after)
        except AssertionError as error:
            failures.append(str(error)[:2000])
    print(f"{len(every)} crashes, {len(failures)} differences")
    assert failures == []
