"""PURE: the simulated nodes, as rows of one table."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")
GPU_RESOURCE = "nvidia.com/gpu"
SIMULATED_TAINT = "kwok.x-k8s.io/node"
CAPACITY_LABEL = "karpenter.sh/capacity-type"


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeRow:
    """Nodes of one instance type and capacity type; `per_zone` of them in each zone.

    `cpu` and `memory` are what a node of this type has to give (allocatable on EKS).
    """

    instance_type: str
    capacity_type: str
    per_zone: int
    cpu: str
    memory: str
    gpus: int = 0
    gpu_name: str = ""
    pods: int = 58


NODES = (
    NodeRow(
        instance_type="g5.xlarge",
        capacity_type="on-demand",
        per_zone=2,
        cpu="3920m",
        memory="14162Mi",
        gpus=1,
        gpu_name="a10g",
    ),
    NodeRow(
        instance_type="g5.xlarge",
        capacity_type="spot",
        per_zone=4,
        cpu="3920m",
        memory="14162Mi",
        gpus=1,
        gpu_name="a10g",
    ),
    NodeRow(
        instance_type="g5.2xlarge",
        capacity_type="on-demand",
        per_zone=2,
        cpu="7910m",
        memory="29317Mi",
        gpus=1,
        gpu_name="a10g",
    ),
    NodeRow(
        instance_type="g5.2xlarge",
        capacity_type="spot",
        per_zone=4,
        cpu="7910m",
        memory="29317Mi",
        gpus=1,
        gpu_name="a10g",
    ),
    NodeRow(
        instance_type="m7i.4xlarge",
        capacity_type="on-demand",
        per_zone=1,
        cpu="15890m",
        memory="57Gi",
        pods=234,
    ),
)


def manifests(
    rows: tuple[NodeRow, ...] = NODES, *, beside_real: bool = False
) -> Iterator[dict[str, Any]]:
    """One Node object per row, zone and count; names contain type, capacity and zone.

    Beside a real node those without GPUs are tainted, so that what needs no GPU really runs.
    """
    places = ((row, zone, index) for row in rows for zone in ZONES for index in range(row.per_zone))
    for row, zone, index in places:
        made = _manifest(row, zone, index)
        if beside_real and not row.gpus:
            made["spec"]["taints"] = [{"key": SIMULATED_TAINT, "effect": "NoSchedule"}]
        yield made


def _manifest(row: NodeRow, zone: str, index: int) -> dict[str, Any]:
    name = f"{row.instance_type.replace('.', '-')}-{row.capacity_type}-{zone[-1]}{index}"
    resources = {"cpu": row.cpu, "memory": row.memory, "pods": str(row.pods)}
    resources |= {GPU_RESOURCE: str(row.gpus)} if row.gpus else {}
    taints = [{"key": GPU_RESOURCE, "effect": "NoSchedule"}] if row.gpus else []
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": _labels(row, zone, name),
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "spec": {"taints": taints},
        "status": {"capacity": resources, "allocatable": resources},
    }


def _labels(row: NodeRow, zone: str, name: str) -> dict[str, str]:
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "node.kubernetes.io/instance-type": row.instance_type,
        "topology.kubernetes.io/zone": zone,
        "topology.kubernetes.io/region": zone[:-1],
        CAPACITY_LABEL: row.capacity_type,
        "karpenter.sh/nodepool": f"gpu-{row.capacity_type}" if row.gpus else "general",
    }
    if row.gpus:
        labels["karpenter.k8s.aws/instance-gpu-name"] = row.gpu_name
        labels["karpenter.k8s.aws/instance-gpu-count"] = str(row.gpus)
    return labels
