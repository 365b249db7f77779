"""Where benchmarks play: a cluster of their own with pods that are ready in a millisecond, and an operator."""

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gameai_devcluster import cluster as clusters
from gameai_devcluster import install
from gameai_devcluster.api import Api, ApiError, Json, path
from gameai_devcluster.nodes import NODES, NodeRow
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.testing.waiting import until

KINDS = ("ModelTier", "GameWorld")
CHILDREN = ("Pod", "ReplicaSet", "Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy")
_CPU = NODES[-1]
_ROWS: tuple[NodeRow, ...] = (
    replace(_CPU, per_zone=2),
    replace(_CPU, capacity_type="spot", per_zone=2),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """A running cluster with CRDs and rights, and a folder for logs."""

    cluster: clusters.Cluster
    folder: Path

    @property
    def api(self) -> Api:
        """A client with the administrator's rights."""
        return self.cluster.api()

    def operator(self, name: str, **flags: float | str) -> Operator:
        """Start an operator; the caller stops it."""
        kubeconfig = install.operator_kubeconfig(self.api, self.folder / "operator.kubeconfig")
        log = self.folder / f"{name}.log"
        return Operator(Launch(kubeconfig=kubeconfig, log=log, flags=flags))


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """A cluster for the time of a benchmark."""
    with tempfile.TemporaryDirectory(prefix="gameai-bench-") as scratch:
        options = clusters.Options(die_with_parent=True, rows=_ROWS, start_delays_ms={"": 1})
        running = clusters.start(Path(scratch) / "cluster", options, lambda _: None)
        try:
            install.crds(running.api())
            install.rights(running.api())
            yield Stage(running, Path(scratch))
        finally:
            clusters.stop(running.site.folder)


def tier(namespace: str, name: str, **spec: Any) -> Json:
    """A tier of two replicas, one on demand and one on spot, on the simulated CPU nodes."""
    small = {
        "class": "Gold",
        "model": {"source": {"huggingFace": {"repository": "a/b"}}},
        "hardware": {"gpus": 0, "cpu": "10m", "memory": "16Mi"},
        "capacity": {"spotPercent": 50},
        "replicas": 2,
    }
    return {
        "apiVersion": "gameai.dev/v1alpha1",
        "kind": "ModelTier",
        "metadata": {"name": name, "namespace": namespace},
        "spec": small | spec,
    }


def world(namespace: str, name: str) -> Json:
    """A world of two services, one pod each: seven children and two pods."""
    return {
        "apiVersion": "gameai.dev/v1alpha1",
        "kind": "GameWorld",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"services": [{"name": "time-manager"}, {"name": "weather-manager"}]},
    }


class Available(threading.Thread):
    """Watches the Deployments of a namespace; `at` is the time at which the last of `count` was Available."""

    def __init__(self, api: Api, namespace: str, count: int) -> None:
        super().__init__(daemon=True)
        self._api = api
        self._where = path("Deployment", namespace)
        self._count = count
        self.at = 0.0

    def run(self) -> None:
        """Read the watch until all are there."""
        done: set[str] = set()
        end = time.monotonic() + 300
        while len(done) < self._count and time.monotonic() < end:
            for event in self._api.watch(self._where, query={"resourceVersion": "0"}, seconds=60):
                deployment = event["object"]
                conditions = deployment.get("status", {}).get("conditions", ())
                if any(c["type"] == "Available" and c["status"] == "True" for c in conditions):
                    done.add(deployment["metadata"]["name"])
                if len(done) == self._count:
                    self.at = time.time()
                    return


def clear(api: Api, namespace: str) -> None:
    """Delete every tier and what it owned, at once, and wait until the controllers are through with it."""
    now = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}

    def gone() -> bool:
        # A thousand take longer than one request may; what is not done is asked for again.
        try:
            for kind in KINDS:
                api.request("DELETE", path(kind, namespace))
            time.sleep(1.0)
            api.request("DELETE", path("Pod", namespace), body=now)
            return not any(api.list(kind, namespace) for kind in (*KINDS, *CHILDREN))
        except ApiError as error:
            if error.status:
                raise
            return False

    until(f"{namespace} is empty", gone, seconds=300)
    time.sleep(2.0)
