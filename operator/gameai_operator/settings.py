"""PURE: what a run of the operator was told, as one frozen value."""

from dataclasses import dataclass, field

from gameai import contract


@dataclass(frozen=True, kw_only=True, slots=True)
class CapacityLabels:
    """How nodes say whether they are spot: a label and its values (Karpenter's by default)."""

    label: str = "karpenter.sh/capacity-type"
    spot: tuple[str, ...] = ("spot",)
    on_demand: tuple[str, ...] = ("on-demand", "reserved")


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaseSettings:
    """Leader election: times in seconds; `identity` is unlike that of every other process."""

    name: str = "gameai-operator"
    namespace: str = "gameai-system"
    identity: str = "operator"
    duration_seconds: float = 15.0
    renew_seconds: float = 10.0
    retry_seconds: float = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkSettings:
    """What a cluster's network looks like, for NetworkPolicies; without `policies` none are made.

    DNS is found by namespace and labels (`key=value`) or, where nodes answer it themselves, by address.
    """

    policies: bool = True
    dns_namespace: str = "kube-system"
    dns_labels: tuple[str, ...] = ("k8s-app=kube-dns",)
    dns_addresses: tuple[str, ...] = ("169.254.20.10",)
    identity_addresses: tuple[str, ...] = ("169.254.170.23", "fd00:ec2::23")
    metrics_namespaces: tuple[str, ...] = ("monitoring",)
    gateway_namespace: str = "gameai-system"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything a run of the operator depends on; empty `namespaces` means all of them."""

    kubeconfig: str | None = None
    namespaces: tuple[str, ...] = ()
    lease: LeaseSettings = field(default_factory=LeaseSettings)
    capacity: CapacityLabels = field(default_factory=CapacityLabels)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    allowed_host_paths: tuple[str, ...] = ()
    workloads_image: str = "gameai-workloads:0.1.0"
    workloads_pull_secrets: tuple[str, ...] = ()
    worlds_at_a_time: int = 5
    workers: int = 10
    resync_seconds: float = 450.0
    discovery_seconds: float = 3.0
    request_seconds: float = 10.0
    health_address: str = "0.0.0.0"  # noqa: S104 - a pod is probed and scraped on its own address
    health_port: int = contract.HEALTH_PORT
    log_level: str = "INFO"
