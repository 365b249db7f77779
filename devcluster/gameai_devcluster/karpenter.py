"""EDGE: Karpenter with its kwok provider, as a process beside a cluster of this machine: it makes simulated nodes for pending pods."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gameai_devcluster import install
from gameai_devcluster.api import Api, path
from gameai_devcluster.binary import KARPENTER, KARPENTER_MODULE, Progress, built, module_source
from gameai_devcluster.cluster import Cluster
from gameai_devcluster.nodes import CAPACITY_LABEL, GPU_RESOURCE, ZONES
from gameai_devcluster.processes import free_port, start_in_background

# A type that no simulated node of the table has, so that only Karpenter gives one.
INSTANCE_TYPE = "g6e.xlarge"
NODE_CLASS = {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "simulated"}
_PRICES = {"spot": 0.8, "on-demand": 1.861}
_STOP_SECONDS = 20.0


@contextlib.contextmanager
def running(
    cluster: Cluster, folder: Path, *, boot_seconds: int, progress: Progress
) -> Iterator[None]:
    """Karpenter on a cluster, with its CRDs and a node class, until the end of the block. Raises `BuildError`."""
    binary = built(KARPENTER, progress)
    api = cluster.api()
    kwok = module_source(KARPENTER_MODULE) / "kwok"
    install.crds(api, kwok / "charts" / "crds", "karpenter*.yaml")
    install.crds(api, kwok / "apis" / "crds")
    api.apply(
        {
            "apiVersion": "karpenter.kwok.sh/v1alpha1",
            "kind": "KWOKNodeClass",
            "metadata": {"name": NODE_CLASS["name"]},
            "spec": {"nodeRegistrationDelay": f"{boot_seconds}s"},
        }
    )
    _disown(api)
    types = folder / "instance-types.json"
    types.write_text(json.dumps([_instance_type()]))
    process = start_in_background(
        [str(binary)],
        folder / "karpenter.log",
        die_with_parent=True,
        environment={
            **os.environ,
            "KUBECONFIG": str(cluster.kubeconfig),
            "INSTANCE_TYPES_FILE_PATH": str(types),
            "DISABLE_LEADER_ELECTION": "true",
            "METRICS_PORT": str(free_port()),
            "HEALTH_PROBE_PORT": str(free_port()),
            "SYSTEM_NAMESPACE": "kube-system",
        },
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _disown(api: Api) -> None:
    """Take the label of Karpenter's nodes from those that are there: it would wait for their NodeClaims."""
    for node in api.list("Node"):
        change = {"metadata": {"labels": {"karpenter.sh/nodepool": None}}}
        api.patch(path("Node", None, node["metadata"]["name"]), change)


def _instance_type() -> dict[str, Any]:
    return {
        "name": INSTANCE_TYPE,
        "architecture": "amd64",
        "operatingSystems": ["linux"],
        "resources": {"cpu": "4", "memory": "30Gi", "pods": "58", GPU_RESOURCE: "1"},
        "offerings": [
            {
                "Price": price,
                "Available": True,
                "Requirements": [
                    {"key": CAPACITY_LABEL, "operator": "In", "values": [capacity]},
                    {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]},
                ],
            }
            for capacity, price in _PRICES.items()
            for zone in ZONES
        ],
    }
