"""An operator behind a proxy that kills it at any write, and what an undisturbed run comes to."""

import copy
import difflib
import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from gameai_devcluster import install
from gameai_devcluster.api import Api, Json
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.testing.proxy import DropError, Named, Proxy
from gameai_devcluster.testing.waiting import until

KINDS = (
    "GameWorld",
    "ModelTier",
    "KnowledgeBase",
    "StatefulSet",
    "Job",
    "Deployment",
    "ReplicaSet",
    "Service",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "ServiceAccount",
    "ConfigMap",
    "WorldView",
)
ROOTS = ("GameWorld", "ModelTier", "KnowledgeBase")
# What a world is made of.
CHILDREN = (
    "Deployment",
    "Service",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "ConfigMap",
    "ServiceAccount",
    "WorldView",
)
SYSTEM = {"default", "kube-root-ca.crt"}
# Lease times of a test: 1.5/1/0.2 s; the Lease itself keeps whole seconds.
FLAGS: Mapping[str, str | float] = {
    "lease_seconds": 1.5,
    "lease_renew_seconds": 1.0,
    "lease_retry_seconds": 0.2,
    "resync_seconds": 3600,
    "workers": 1,
}
CONVERGED_SECONDS = 240
# Counts in a status follow at most two seconds later.
REST_SECONDS = 2.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """What a user does to one root: `prepare` is settled before `act`; `ended` tells when all is done."""

    prepare: Callable[[Api, str], None] | None
    act: Callable[[Api, str], None]
    ended: Callable[[Api, str], bool]


@dataclass
class Stage:
    """An operator behind a proxy, and the undisturbed run of each workload."""

    api: Api
    proxy: Proxy
    operator: Operator
    workloads: Mapping[str, Workload]
    prepared: Callable[[Api, str], bool]
    references: dict[str, tuple[list[Named], list[Json]]] = field(default_factory=dict)
    number: int = 0
    kills: int = 0

    def run(
        self,
        name: str,
        arm: Callable[[str], None] | None = None,
        expected: list[Json] | None = None,
    ) -> list[Json]:
        """Run a workload in a fresh namespace; its end state, which is the expected one or stays as it is."""
        workload = self.workloads[name]
        self.number += 1
        namespace = f"crash{self.operator.launch.log.stem}{self.number:03d}"
        install.namespace(self.api, namespace)
        self.revive()
        if workload.prepare:
            workload.prepare(self.api, namespace)
            self.wait(f"{name} is prepared", lambda: self.prepared(self.api, namespace))
        self.proxy.reset()
        if arm:
            arm(namespace)
        workload.act(self.api, namespace)
        self.wait(f"{name} has ended", lambda: workload.ended(self.api, namespace))
        self.proxy.before = self.proxy.after = None
        state = self.rest(namespace, expected)
        for kind in ROOTS:
            for root in self.api.list(kind, namespace):
                self.api.delete(kind, namespace, root["metadata"]["name"])
        return state

    def rest(self, namespace: str, expected: list[Json] | None) -> list[Json]:
        """The expected state, or what is there when the time for that is over; where none is expected, what stays."""
        if expected is None:
            return at_rest(self.api, namespace)
        end = time.monotonic() + CONVERGED_SECONDS
        while (state := snapshot(self.api, namespace)) != expected and time.monotonic() < end:
            time.sleep(0.2)
            self.revive()
        return state

    @property
    def namespace(self) -> str:
        """Where the last workload ran."""
        return f"crash{self.operator.launch.log.stem}{self.number:03d}"

    def wait(self, what: str, done: Callable[[], bool]) -> None:
        """Wait for the end, reviving the operator whenever it was killed."""

        def look() -> bool:
            self.revive()
            return done()

        until(what, look, seconds=CONVERGED_SECONDS)

    def revive(self) -> None:
        if not self.operator.alive():
            self.operator.start()

    def reference(self, name: str) -> tuple[list[Named], list[Json]]:
        """The writes and the end state of an undisturbed run."""
        if name not in self.references:
            state = self.run(name)
            writes = [
                Named(each.verb, each.path.replace(self.namespace, "NAMESPACE"), each.nth)
                for each in self.proxy.seen
                if self.namespace in each.path
            ]
            self.references[name] = (writes, state)
        return self.references[name]

    def points(self) -> list[tuple[str, Named, bool]]:
        """Every workload's every write, before and after."""
        return [
            (name, write, after)
            for name in self.workloads
            for write in self.reference(name)[0]
            for after in (False, True)
        ]

    def check(self, name: str, target: Named, *, after: bool) -> None:
        """Kill the operator at a write; in the end all is as if it had not been."""
        _, expected = self.reference(name)
        state = self.run(name, self._kill_at(target, after=after), expected)
        where = f"{name}: killed {'after' if after else 'before'} {target}"
        assert state == expected, f"{where}\n{difference(expected, state)}"

    def sample(self, seed: int, number: int) -> None:
        """So many crashes, chosen by a seed."""
        every = self.points()
        before = self.kills
        # How many writes there are of one kind is chance: a status may tell of two changes at once. So some do not come again.
        for workload, target, after in random.Random(seed).sample(
            every, min(len(every), 4 * number)
        ):
            if self.kills - before < number:
                self.check(workload, target, after=after)
        assert self.kills - before == number

    def sweep(self) -> None:
        """A crash at every write, before and after it."""
        every = self.points()
        before = self.kills
        failures = []
        for workload, target, after in every:
            try:
                self.check(workload, target, after=after)
            except AssertionError as error:
                failures.append(str(error)[:2000])
        print(f"{self.kills - before} crashes of {len(every)}, {len(failures)} differences")
        assert failures == []
        assert self.kills - before >= len(every) // 2

    def _kill_at(self, target: Named, *, after: bool) -> Callable[[str], None]:
        """Arms the proxy: SIGKILL at this write, before it reaches the server or after it was carried out."""

        def arm(namespace: str) -> None:
            def hook(named: Named) -> None:
                same = Named(named.verb, named.path.replace(namespace, "NAMESPACE"), named.nth)
                if same == target and self.operator.alive():
                    self.operator.kill()
                    self.kills += 1
                    self.proxy.before = self.proxy.after = None
                    raise DropError

            if after:
                self.proxy.after = hook
            else:
                self.proxy.before = hook

        return arm


def begin(
    api: Api,
    folder: Path,
    name: str,
    workloads: Mapping[str, Workload],
    prepared: Callable[[Api, str], bool],
) -> Iterator[Stage]:
    """A stage with an operator of its own, for a fixture to hand on."""
    credentials = api.credentials
    assert credentials.ca_file
    proxy = Proxy(credentials.server, credentials.ca_file)
    kubeconfig = install.operator_kubeconfig(api, folder / f"{name}.kubeconfig", server=proxy.url)
    operator = Operator(Launch(kubeconfig=kubeconfig, log=folder / f"{name}.log", flags=FLAGS))
    yield Stage(
        api=api,
        proxy=proxy,
        operator=operator.wait_ready(),
        workloads=workloads,
        prepared=prepared,
    )
    operator.kill()
    proxy.close()


def at_rest(api: Api, namespace: str) -> list[Json]:
    """What is there once nothing changes any more: counts in a status and the garbage collector come a moment later."""
    before, state = None, snapshot(api, namespace)
    while state != before:
        time.sleep(REST_SECONDS)
        before, state = state, snapshot(api, namespace)
    return state


def snapshot(api: Api, namespace: str) -> list[Json]:
    """Everything in a namespace without what differs from run to run: uids, versions, times."""
    found = [
        without_chance({"kind": kind, **document}, namespace)
        for kind in KINDS
        for document in api.list(kind, namespace)
        if document["metadata"]["name"] not in SYSTEM
    ]
    # Names of Jobs were made equal, so their content decides.
    return sorted(
        found,
        key=lambda each: (each["kind"], each["metadata"]["name"], json.dumps(each, sort_keys=True)),
    )


def difference(expected: Any, found: Any) -> str:
    """Two values as YAML, line by line."""
    before, after = (yaml.safe_dump(each).splitlines() for each in (expected, found))
    return "\n".join(difflib.unified_diff(before, after, "expected", "found", lineterm="", n=2))


def without_chance(document: Json, namespace: str) -> Json:
    made = copy.deepcopy(document)
    _unnamed(made["metadata"])
    if made["kind"] not in ROOTS:
        made.pop("status", None)
    # Of a WorldView: the uid of its world.
    made.get("spec", {}).pop("world", None)
    if clean := _OF_KIND.get(made["kind"]):
        clean(made)
    status = made.get("status", {})
    for entry in status.get("conditions", ()):
        entry.pop("lastTransitionTime")
        entry.pop("observedGeneration")
        entry["message"] = re.sub(r"\d{4}-\d\d-\d\dT[\d:]{8}Z", "TIME", entry.get("message", ""))
    status.pop("observedGeneration", None)
    status.get("restore", {}).pop("inputs", None)
    _timeless(status)
    text = json.dumps(made).replace(namespace, "NAMESPACE")
    # Jobs are named after what they do, the namespace too, and some after the time at which they were decided on.
    text = re.sub(r"-(migrate|ingest|remove|backup|restore)-[0-9a-f]{10}", r"-\1-DIGEST", text)
    # So is a restore, by which its database remembers it.
    text = re.sub(r"--once=[0-9a-f]{16}", "--once=DIGEST", text)
    text = re.sub(r"--slot=\d{8}T\d{6}Z", "--slot=TIME", text)
    cleaned: Json = json.loads(text)
    return cleaned


def _unnamed(metadata: Json) -> None:
    """Metadata without what the API server and our hashes add."""
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
    # The hash of a manifest covers its owner's uid, that of a template the namespace; both are compared themselves.
    for name in (
        "gameai.dev/manifest-hash",
        "gameai.dev/template-hash",
        "kubectl.kubernetes.io/last-applied-configuration",
    ):
        metadata.get("annotations", {}).pop(name, None)


def _config_map(made: Json) -> None:
    made["data"] = {
        name: _timeless(json.loads(text)) if name.endswith(".json") else text
        for name, text in made["data"].items()
    }


def _job(made: Json) -> None:
    """What its controller adds is named after its uid."""
    del made["spec"]["selector"]
    for each in (made["metadata"], made["spec"]["template"]["metadata"]):
        for name in ("controller-uid", "batch.kubernetes.io/controller-uid"):
            each["labels"].pop(name, None)


def _replica_set(made: Json) -> None:
    """Its controller counts name collisions with its own late cache into this hash."""
    metadata = made["metadata"]
    hashed = metadata["labels"].pop("pod-template-hash")
    made["spec"]["selector"]["matchLabels"].pop("pod-template-hash")
    made["spec"]["template"]["metadata"]["labels"].pop("pod-template-hash")
    revision = metadata["annotations"]["deployment.kubernetes.io/revision"]
    metadata["name"] = metadata["name"].replace(hashed, revision)


_OF_KIND: Mapping[str, Callable[[Json], None]] = {
    "ConfigMap": _config_map,
    "Job": _job,
    "ReplicaSet": _replica_set,
}


def _timeless(value: Any) -> Any:
    """Anchors of a clock without when and where."""
    if isinstance(value, dict):
        for name in ("effectiveAt", "worldSeconds", "ingestedAt", "startedAt", "slot", "at"):
            value.pop(name, None)
        for each in value.values():
            _timeless(each)
    elif isinstance(value, list):
        for each in value:
            _timeless(each)
    return value
