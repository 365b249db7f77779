"""A random walk through valid specs: wherever it leads, the children are those of a fresh create of the last spec."""

import contextlib
import copy
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from gameai_devcluster import install
from gameai_devcluster.api import JSON_PATCH, Api, Json, path
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.testing.audit import AuditLog
from gameai_devcluster.testing.waiting import settled, until, world_settled
from gameai_operator.world.clock import MOST_PENDING
from support import crashing
from support.live import manifest, world

pytestmark = pytest.mark.long

SHARED = "walk-shared"
WALKERS = 12
CHECK_EVERY = 4
TRANSITIONS, ALL = 144, 3000
WAITS = "waits for room"
# Twice what the operator waits before it nudges a roll-out that its controller has lost sight of, and more.
SETTLED_SECONDS = 400
SHOWN = ("ModelTier", "GameWorld", "Deployment", "ReplicaSet", "Pod")
Draw = Callable[[random.Random], Json]


def some(chance: random.Random, **fields: list[Any]) -> Json:
    """Each field with one of its values; None leaves it out."""
    drawn = {name: chance.choice(values) for name, values in fields.items()}
    return {name: value for name, value in drawn.items() if value is not None}


def tier_spec(chance: random.Random) -> Json:
    hardware = some(
        chance,
        gpus=[0],
        cpu=["10m", "20m"],
        memory=["16Mi", "1Gi"],
        instanceTypes=[None, ["g5.2xlarge", "m7i.4xlarge"]],
        tolerations=[[{"key": "nvidia.com/gpu"}]],
    )
    hub = some(chance, repository=["a/b", "a/c"], revision=[None, "main"])
    cache = [None, {"emptyDir": {"sizeLimit": "5Gi"}}]
    model = {"source": {"huggingFace": hub}}
    model |= some(chance, maxContextTokens=[None, 4096], cache=cache, quantization=[None, "awq"])
    vllm = some(chance, args=[None, ["--max-num-seqs=8"]], startTimeoutSeconds=[None, 600])
    return some(
        chance,
        replicas=[0, 1, 2, 3],
        capacity=[None, {"spotPercent": 50}, {"spotPercent": 100, "minimumOnDemand": 0}],
        rollout=[None, {"maxSurge": 2}, {"maxSurge": 0, "maxUnavailable": 1}],
        serviceAccountName=[None, "default"],
        podLabels=[None, {"team": "npc"}],
        podAnnotations=[None, {"note": "x"}],
        access=[None, {"from": "All"}],
    ) | {"hardware": hardware, "model": model, "engine": {"vllm": vllm}}


def world_spec(chance: random.Random) -> Json:
    weather = some(
        chance,
        name=["weather-manager"],
        replicas=[None, 1, 2],
        settings=[None, {"climate": "Arid"}, {"regions": "coast, moor"}],
        resources=[None, {"cpu": "10m", "memory": "64Mi"}],
    )
    own = some(
        chance,
        name=["duel"],
        image=["registry.example/duel:1", "registry.example/duel:2"],
        port=[None, 7000],
        probe=[None, "TCP", "None"],
        writablePaths=[None, ["/var/cache/duel"]],
        env=[None, [{"name": "A", "value": "b"}]],
    )
    every = [{"name": "time-manager"}, weather, own]
    services = [each for each in every if chance.random() < 0.7]
    roles = [
        {"name": name, "tierRef": {"name": chance.choice(["gold", "silver"]), "namespace": SHARED}}
        for name in ("dialogue", "reaction")
        if chance.random() < 0.5
    ]
    clock = some(chance, speed=[None, "2", "0.5"], paused=[None, True], dayLengthMinutes=[None, 90])
    spec = {"services": services, "roles": roles, "clock": clock, "seed": chance.choice([1, 2])}
    network: list[Json | None] = [
        None,
        {"mode": "Open"},
        {"allowFrom": [{"podSelector": {}}]},
        {"allowTo": [{"ipBlock": {"cidr": "0.0.0.0/0"}, "ports": [443]}]},
    ]
    return spec | some(chance, network=network, state=["Running", "Running", "Hibernated"])


@dataclass
class Walker:
    """One root and the specs it went through since it was last found right."""

    kind: str
    namespace: str
    draw: Draw
    history: list[Json] = field(default_factory=list)


def document(kind: str, namespace: str, spec: Json) -> Json:
    made = manifest(namespace) if kind == "ModelTier" else world(namespace)
    return made | {"spec": {"class": "Gold", **spec} if kind == "ModelTier" else spec}


def quiet(api: Api, kind: str, namespace: str) -> bool:
    """Whether the present spec is acted on and every controller is through with it."""
    root = api.list(kind, namespace)[0]
    status = root["status"]
    if status.get("observedGeneration") != root["metadata"]["generation"]:
        return False
    if not (settled if kind == "ModelTier" else world_settled)(root):
        return False
    deployments = api.list("Deployment", namespace)
    if kind == "GameWorld" and len(deployments) != len(root["spec"].get("services", ())):
        return False
    return all(
        each["status"].get("observedGeneration") == each["metadata"]["generation"]
        and each["status"].get("replicas", 0) == each["spec"]["replicas"]
        and each["status"].get("readyReplicas", 0) == each["spec"]["replicas"]
        and not each["spec"].get("paused")
        for each in deployments
    )


def shown(document: Json) -> Json:
    """What shows why an object is not quiet."""
    metadata = document["metadata"]
    shown_metadata = {name: metadata.get(name) for name in ("name", "generation", "annotations")}
    return {
        **shown_metadata,
        "status": document.get("status"),
        "replicas": document["spec"].get("replicas"),
    }


def children(api: Api, namespace: str) -> list[Json]:
    """The children without history: a Deployment's revision, and where a clock's earlier anchors were."""
    found = []
    for each in crashing.snapshot(api, namespace):
        if each["kind"] not in crashing.CHILDREN:
            continue
        each["metadata"].get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
        if each["kind"] == "ConfigMap":
            clock = each["data"]["world.json"]["clock"]
            anchors, anchor = clock["anchors"], clock["anchors"][-1]
            still = anchor["speed"] == "0"  # then a day's length is of no consequence
            clock["anchors"] = "still" if still else anchor
            if len(anchors) > MOST_PENDING:
                clock["anchors"] = WAITS
        found.append(each)
    return found


def same(expected: list[Json], found: list[Json]) -> bool:
    """Whether the children are equal; a clock that was changed too often in two minutes has yet to follow."""
    if WAITS not in json.dumps(found):
        return expected == found
    other = copy.deepcopy(expected)
    for each in other:
        if each["kind"] == "ConfigMap":
            each["data"]["world.json"]["clock"]["anchors"] = WAITS
    return other == found


@dataclass
class Stage:
    """An operator, and namespaces to compare in."""

    api: Api
    operator: Operator
    audit: AuditLog
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def apply(self, kind: str, namespace: str, spec: Json) -> None:
        # Replaced, not applied: what a former spec had and this one has not must go.
        made = document(kind, namespace, spec)
        name = made["metadata"]["name"]
        if self.api.find(kind, namespace, name) is None:
            self.api.create(made)
            return
        patch = [{"op": "replace", "path": "/spec", "value": made["spec"]}]
        self.api.patch(path(kind, namespace, name), patch, content_type=JSON_PATCH)

    def settle(self, kind: str, namespace: str, spec: Json) -> None:
        try:
            until(
                f"{kind} in {namespace} is quiet after {json.dumps(spec)}",
                lambda: quiet(self.api, kind, namespace),
                seconds=SETTLED_SECONDS,
            )
        except AssertionError as error:
            found = [each for one in SHOWN for each in self.api.list(one, namespace)]
            raise AssertionError(f"{error}\n{yaml.safe_dump_all(map(shown, found))}") from None

    @contextmanager
    def fresh(self, kind: str, specs: list[Json]) -> Iterator[str]:
        """The namespace of a new object that went through these specs, one after the other."""
        namespace = f"walk-fresh{next(self.numbers):04d}"
        install.namespace(self.api, namespace)
        for spec in specs:
            self.apply(kind, namespace, spec)
            self.settle(kind, namespace, spec)
        yield namespace
        for root in self.api.list(kind, namespace):
            self.api.delete(kind, namespace, root["metadata"]["name"])

    def alike(self, expected: str, found: str, seconds: float) -> bool:
        """Whether both have the same children, looked at together: status comes before the last child does."""
        with contextlib.suppress(AssertionError):
            return until(
                "the same children",
                lambda: same(self.compared(expected), self.compared(found)),
                seconds=seconds,
            )
        return False

    def compared(self, namespace: str) -> list[Json]:
        text = json.dumps(children(self.api, namespace)).replace(namespace, "NAMESPACE")
        found: list[Json] = json.loads(text)
        return found

    def check(self, walker: Walker) -> None:
        """The children are those of a fresh create; else the shortest end of the walk that shows it."""
        last = walker.history[-1]
        with self.fresh(walker.kind, [last]) as beside:
            if not self.alike(beside, walker.namespace, SETTLED_SECONDS):
                expected, found = self.compared(beside), self.compared(walker.namespace)
                steps = self.shrunk(walker, beside)
                raise AssertionError(
                    f"not as a fresh create of the last of these specs:\n{json.dumps(steps, indent=1)}\n"
                    f"{crashing.difference(expected, found)}"
                )
        walker.history = [last]

    def shrunk(self, walker: Walker, beside: str) -> list[Json]:
        for count in range(2, len(walker.history) + 1):
            with self.fresh(walker.kind, walker.history[-count:]) as other:
                if not self.alike(beside, other, 20):
                    return walker.history[-count:]
        return walker.history

    def leaving(self, walkers: list[Walker]) -> bool:
        return any(
            "deletionTimestamp" in pod["metadata"]
            for each in walkers
            for pod in self.api.list("Pod", each.namespace)
        )

    def second_look(self, walkers: list[Walker]) -> None:
        """Touch every root: it is reconciled once more, and nothing is written.

        But for a clock that waits for room: it may get it just now, and is written then.
        """
        # A pod that is being deleted holds its node, and status counts it, until it is gone.
        until("deleted pods are gone", lambda: not self.leaving(walkers), seconds=120)
        self.audit.wait_rest(*(each.namespace for each in walkers))
        waiting = {
            each.namespace
            for each in walkers
            if WAITS in json.dumps(children(self.api, each.namespace))
        }
        for each in walkers:
            name = self.api.list(each.kind, each.namespace)[0]["metadata"]["name"]
            note = {"metadata": {"annotations": {"touched": str(time.monotonic())}}}
            self.api.patch(path(each.kind, each.namespace, name), note)
        time.sleep(1.5)
        ours = {each.namespace for each in walkers}
        turned = ("configmaps", "gameworlds/status")
        assert [
            str(each)
            for each in self.audit.writes()
            if each.namespace in ours
            # Events wait for their turn.
            and each.resource != "events"
            and not (each.namespace in waiting and each.resource in turned)
        ] == []


@pytest.fixture(scope="module")
def stage(api: Api, operator_kubeconfig: Path, folder: Path, cluster: Any) -> Iterator[Stage]:
    install.namespace(api, SHARED)
    for name in ("gold", "silver"):
        api.apply(manifest(SHARED, name=name, replicas=1, access={"from": "All"}))
    operator = Operator(Launch(kubeconfig=operator_kubeconfig, log=folder / "walk.log"))
    operator.wait_ready()
    until(
        "the tiers are Ready",
        lambda: all(settled(each) for each in api.list("ModelTier", SHARED)),
        seconds=60,
    )
    yield Stage(api=api, operator=operator, audit=AuditLog(cluster.site.audit_log))
    log = operator.output()
    assert operator.stop() == 0
    assert "this is a bug" not in log


def walk(stage: Stage, seed: int, transitions: int) -> None:
    chance = random.Random(seed)
    walkers = []
    for number in range(WALKERS):
        kind, draw = ("ModelTier", tier_spec) if number % 2 else ("GameWorld", world_spec)
        namespace = f"walk{seed % 10000:04d}-{number}"
        install.namespace(stage.api, namespace)
        walkers.append(Walker(kind=kind, namespace=namespace, draw=draw))
    for turn in range(1, transitions // WALKERS + 1):
        due = turn % CHECK_EVERY == 0
        # Now and then the next change comes before the last has settled.
        step(stage, walkers, chance, hurried=not due and chance.random() < 0.3)
        if due:
            with ThreadPoolExecutor(WALKERS) as threads:
                list(threads.map(stage.check, walkers))
            stage.second_look(walkers)
    for each in walkers:
        for root in stage.api.list(each.kind, each.namespace):
            stage.api.delete(each.kind, each.namespace, root["metadata"]["name"])
    print(f"{transitions} transitions, no difference")


def step(stage: Stage, walkers: list[Walker], chance: random.Random, *, hurried: bool) -> None:
    for each in walkers:
        each.history.append(each.draw(chance))
        stage.apply(each.kind, each.namespace, each.history[-1])
    for each in [] if hurried else walkers:
        stage.settle(each.kind, each.namespace, each.history[-1])


@pytest.mark.timeout(2400)
def test_a_walk_through_specs_ends_as_a_fresh_create_of_the_last(stage: Stage, seed: int) -> None:
    walk(stage, seed, TRANSITIONS)


@pytest.mark.soak
@pytest.mark.timeout(10_800)
def test_a_long_walk_through_specs_ends_as_a_fresh_create_of_the_last(
    stage: Stage, seed: int
) -> None:
    walk(stage, seed, ALL)
