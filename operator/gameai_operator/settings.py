"""PURE: the configuration of a run of the operator, as one frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from gameai_contract.names import AGENT_PORT, HEALTH_PORT, KEDA_PORT, TOKEN_AUDIENCE


@dataclass(frozen=True, kw_only=True, slots=True)
class CapacityLabels:
    """How nodes say whether they are spot: a label and its values (Karpenter's by default)."""

    label: str = "karpenter.sh/capacity-type"
    spot: tuple[str, ...] = ("spot",)
    on_demand: tuple[str, ...] = ("on-demand", "reserved")


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaseSettings:
    """Leader election: times in seconds; `identity` is unlike that of every other process, `scope` the namespaces."""

    name: str = "gameai-operator"
    namespace: str = "gameai-system"
    identity: str = "operator"
    scope: tuple[str, ...] = ()
    duration_seconds: float = 15.0
    renew_seconds: float = 10.0
    retry_seconds: float = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PodSettings:
    """What a cluster asks of every pod.

    `pull_secrets` are names of Secrets, for the image of built-in services; with `fixed_ids` pods name the user they
    run as, without it the cluster does (OpenShift gives each namespace a range of its own); `labels` are added.
    `audience` is that of tokens for the gateway; `registry` stands before images that a manifest leaves to us.
    """

    pull_secrets: tuple[str, ...] = ()
    fixed_ids: bool = True
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    audience: str = TOKEN_AUDIENCE
    registry: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON, for an annotation; the inverse of `parse`."""
        return {
            "pullSecrets": list(self.pull_secrets),
            "fixedIds": self.fixed_ids,
            "labels": dict(self.labels),
            # Left out, so that what former releases wrote stays the same.
            **({"audience": self.audience} if self.audience != TOKEN_AUDIENCE else {}),
            **({"registry": self.registry} if self.registry else {}),
        }

    @classmethod
    def parse(cls, entry: Any) -> "PodSettings | None":
        """The settings in a JSON value; None where it holds none."""
        try:
            return cls(
                pull_secrets=tuple(map(str, entry["pullSecrets"])),
                fixed_ids=bool(entry["fixedIds"]),
                labels={str(key): str(value) for key, value in entry["labels"].items()},
                audience=str(entry.get("audience", TOKEN_AUDIENCE)),
                registry=str(entry.get("registry", "")),
            )
        except (AttributeError, KeyError, TypeError):
            return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How many worlds a new image reaches at once: a number, or a percentage of all worlds."""

    number: int = 5
    percent: int = 0

    def of(self, worlds: int) -> int:
        """The number for so many worlds, rounded up; at least 1."""
        return max(1, -(-worlds * self.percent // 100)) if self.percent else self.number


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkSettings:
    """What a cluster's network looks like, for NetworkPolicies; without `policies` none are made.

    DNS is found by namespace and labels (`key=value`) or, where nodes answer it themselves, by address. Its ports are
    those of its pods, which a policy sees (5353 on OpenShift), not the Service's.
    """

    policies: bool = True
    dns_namespace: str = "kube-system"
    dns_labels: tuple[str, ...] = ("k8s-app=kube-dns",)
    dns_addresses: tuple[str, ...] = ("169.254.20.10",)
    dns_ports: tuple[int, ...] = (53,)
    identity_addresses: tuple[str, ...] = ("169.254.170.23", "fd00:ec2::23")
    metrics_namespaces: tuple[str, ...] = ("monitoring",)
    gateway_namespace: str = "gameai-system"


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewaySettings:
    """Where worlds find the gateways (`host:port`, empty: none), and the file with their certificate authority."""

    endpoint: str = ""
    ca_file: str = ""


# In a list of the policy: everything.
ANY = "*"


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What tenants' manifests may ask for: values, or `*` for all.

    `host_paths` are folders of nodes; `hubs` hosts of model hubs (`*.example.com`: all below);
    `images` prefixes; `open_networks`: mode Open, and addresses outside of the cluster.
    """

    host_paths: tuple[str, ...] = ()
    hubs: tuple[str, ...] = (ANY,)
    images: tuple[str, ...] = (ANY,)
    service_accounts: tuple[str, ...] = (ANY,)
    secrets: tuple[str, ...] = (ANY,)
    open_networks: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalerSettings:
    """The scaler: metrics of gateways and of GPUs, how often it decides, and where it answers KEDA.

    Metrics are `host:port`; a name stands for all of its addresses. `agent_port` is that of tier agents, 0 without any.
    `keda_port` 0 is any free port; without `certificate_file` and `key_file` KEDA is answered in clear.
    """

    gateways: tuple[str, ...] = ()
    gpu_metrics: tuple[str, ...] = ()
    seconds: float = 5.0
    agent_port: int = AGENT_PORT
    keda_port: int = KEDA_PORT
    certificate_file: str = ""
    key_file: str = ""


@dataclass(frozen=True, slots=True)
class KedaSettings:
    """Where KEDA reaches the scaler (`host:port`, empty: nowhere), and the ClusterTriggerAuthentication for TLS."""

    scaler_address: str = ""
    authentication: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything a run of the operator depends on; empty `namespaces` means all of them."""

    kubeconfig: str | None = None
    namespaces: tuple[str, ...] = ()
    lease: LeaseSettings = field(default_factory=LeaseSettings)
    capacity: CapacityLabels = field(default_factory=CapacityLabels)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    policy: Policy = field(default_factory=Policy)
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    # Where worlds find the event bus, `host:port`; empty: there is none.
    bus_endpoint: str = ""
    # The file with the certificates of the bus's authority.
    bus_ca_file: str = ""
    scaler: ScalerSettings = field(default_factory=ScalerSettings)
    keda: KedaSettings = field(default_factory=KedaSettings)
    headroom_priority_class: str = ""
    workloads_image: str = "gameai-workloads:0.1.0"
    knowledge_image: str = "gameai-knowledge:0.1.0"
    pods: PodSettings = field(default_factory=PodSettings)
    worlds_at_a_time: Pace = field(default_factory=Pace)
    workers: int = 10
    free_repairs: int = 5
    resync_seconds: float = 450.0
    probe_seconds: float = 20.0
    discovery_seconds: float = 3.0
    request_seconds: float = 10.0
    # Empty: every address of the pod, IPv4 and IPv6.
    health_address: str = ""
    health_port: int = HEALTH_PORT
    port_file: str = ""
    log_level: str = "INFO"
