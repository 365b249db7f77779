"""EDGE: the flags of `run` and `scaler`, one row each. Every flag has a variable: `--resync-seconds` is GAMEAI_RESYNC_SECONDS."""

import argparse
import os
import socket
import uuid
from collections.abc import Mapping
from typing import Any

from gameai_contract.names import ENVIRONMENT_PREFIX

from gameai_operator.settings import ANY, LeaseSettings, Settings

_NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
# Name, default, help.
_Row = tuple[str, Any, str]


def add_flags(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Add all flags, with the variables of the environment as defaults."""
    default = Settings()
    for title, rows in (_process(default) | _objects(default) | _limits(default)).items():
        group = parser.add_argument_group(title)
        for name, default, text in rows:
            _add(group, environment, name, default, text)


def add_scaler_flags(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Add the flags of the scaler: those of a process, with a Lease of its own, and its own."""
    default = Settings(lease=LeaseSettings(name="gameai-scaler"))
    own: dict[str, tuple[_Row, ...]] = {
        "scaling": (
            ("--gateways", "", "comma-separated host:port of the gateways' metrics; a name stands for all of its addresses"),
            ("--gpu-metrics", "", "comma-separated host:port of dcgm-exporter; a name stands for all of its addresses (a headless Service)"),
            ("--agent-port", default.scaler.agent_port, "port of the agents of engines; 0: they are not read, and nothing is measured"),
            ("--scaling-seconds", default.scaler.seconds, "interval of scrapes and decisions, in seconds"),
            ("--keda-port", default.scaler.keda_port, "port on which KEDA's gRPC requests are answered, on --health-address; 0: any free port"),
            ("--keda-certificate-file", "", "file with the TLS certificate of that port, for tiers with driver KEDA; empty: without TLS"),
            ("--keda-key-file", "", "file with the private key of that certificate"),
        )
    }  # fmt: skip
    for title, rows in (own | _process(default)).items():
        group = parser.add_argument_group(title)
        for name, value, text in rows:
            _add(group, environment, name, value, text)
    hidden = {
        name.removeprefix("--").replace("-", "_"): value
        for rows in (_objects(default) | _limits(default)).values()
        for name, value, _ in rows
    }
    parser.set_defaults(**hidden)


def _add(group: Any, environment: Mapping[str, str], name: str, default: Any, text: str) -> None:
    variable = ENVIRONMENT_PREFIX + name.removeprefix("--").replace("-", "_").upper()
    kind = type(default) if isinstance(default, int | float) else str
    shown = "" if default in (None, "") else f" (default {default})"
    group.add_argument(
        name,
        type=kind,
        default=environment.get(variable, default),
        metavar=kind.__name__.upper(),
        help=f"{text}{shown}; {variable}",
    )


# fmt: off
def _process(default: Settings) -> dict[str, tuple[_Row, ...]]:
    lease = default.lease
    return {
        "connection": (
            ("--kubeconfig", None, "path of a kubeconfig file; default: the ServiceAccount of the pod"),
            ("--namespaces", "", "comma-separated namespaces to watch; empty: all"),
            ("--request-seconds", default.request_seconds, "timeout of an API request, in seconds"),
        ),
        "work": (
            ("--workers", default.workers, "number of objects reconciled concurrently (1 to 100)"),
            ("--free-repairs", default.free_repairs, "immediate repairs of one child before the operator backs off"),
            ("--resync-seconds", default.resync_seconds, "interval of the comparison with a LIST, in seconds, ±20 %%"),
            ("--probe-seconds", default.probe_seconds, "interval of the check for missed events, in seconds, ±20 %%"),
            ("--discovery-seconds", default.discovery_seconds, "poll interval until all CRDs are installed, in seconds"),
        ),
        "this process": (
            ("--health-address", default.health_address, "listen address of /livez, /readyz and /metrics; empty: all interfaces"),
            ("--health-port", default.health_port, "port of /livez, /readyz and /metrics; 0: any free port"),
            ("--port-file", "", "file to write the port to, as JSON, once it is open"),
            ("--log-level", default.log_level, "DEBUG, INFO, WARNING or ERROR"),
        ),
        "leader election": (
            ("--lease-name", lease.name, "name of the Lease"),
            ("--lease-namespace", _own_namespace() or lease.namespace, "namespace of the Lease"),
            ("--lease-identity", _identity(), "identity of this process, unique among all instances"),
            ("--lease-seconds", lease.duration_seconds, "lease duration, in seconds; another instance may take over after it"),
            ("--lease-renew-seconds", lease.renew_seconds, "renew deadline, in seconds; this instance stops writing after it"),
            ("--lease-retry-seconds", lease.retry_seconds, "interval between renewals, in seconds"),
        ),
    }


def _objects(default: Settings) -> dict[str, tuple[_Row, ...]]:
    labels = default.capacity
    return {
        "capacity types": (
            ("--capacity-label", labels.label, "node label with the capacity type (spot or on-demand)"),
            ("--capacity-spot", ",".join(labels.spot), "comma-separated values of that label for spot nodes"),
            ("--capacity-on-demand", ",".join(labels.on_demand), "comma-separated values of that label for on-demand nodes"),
        ),
        "pods": (
            ("--workloads-image", default.workloads_image, "image of the built-in game services, and of the agents of tiers"),
            ("--knowledge-image", default.knowledge_image, "image of the memory of knowledge bases"),
            ("--workloads-pull-secrets", "", "comma-separated pull Secrets for that image, in the namespace of the world"),
            ("--worlds-at-a-time", "5", "maximum number of GameWorlds updated to a new image concurrently: a number, or a percentage (10%%)"),
            ("--pod-ids", "fixed", "fixed: run pods with fixed user IDs; namespace: with those of the namespace (OpenShift)"),
            ("--common-labels", "", "comma-separated key=value labels for all created objects"),
            ("--gateway-audience", default.pods.audience, "audience of the tokens with which services authenticate at the gateway"),
            ("--gateway-endpoint", "", "address of the gateways for worlds, host:port"),
            ("--gateway-ca-file", "", "file with the CA certificates of the gateways, for worlds; changes are picked up"),
            ("--bus-endpoint", "", "address of the event bus for worlds, host:port"),
            ("--bus-ca-file", "", "file with the CA certificates of the event bus, for worlds; changes are picked up"),
            ("--headroom-priority-class", "", "PriorityClass of placeholders, for tiers with capacity.headroomReplicas"),
            ("--image-registry", "", "registry prefix of the default vLLM image"),
        ),
        "KEDA": (
            ("--keda-scaler-address", "", "address of the scaler for KEDA, host:port; needed for tiers with driver KEDA"),
            ("--keda-authentication", "", "ClusterTriggerAuthentication with the CA certificate of the scaler; empty: without TLS"),
        ),
    }


def _limits(default: Settings) -> dict[str, tuple[_Row, ...]]:
    network = default.network
    return {
        "restrictions for manifests": (
            ("--allowed-host-paths", "", "comma-separated node directories allowed for model caches"),
            ("--allowed-hubs", ANY, "comma-separated hosts allowed for model downloads; *: all"),
            ("--allowed-images", ANY, "comma-separated allowed image prefixes; *: all"),
            ("--allowed-service-accounts", ANY, "comma-separated ServiceAccounts allowed for pods; *: all"),
            ("--allowed-secrets", ANY, "comma-separated Secrets allowed for pods; *: all"),
            ("--allow-open-networks", "on", "on: spec.network may use mode Open and ipBlock; off: it may not"),
        ),
        "network policies": (
            ("--network-policies", "on", "on: the operator creates NetworkPolicies; off: it does not"),
            ("--dns-namespace", network.dns_namespace, "namespace of the cluster DNS"),
            ("--dns-labels", ",".join(network.dns_labels), "comma-separated key=value labels of the DNS pods"),
            ("--dns-addresses", ",".join(network.dns_addresses), "comma-separated addresses of node-local DNS"),
            ("--dns-ports", "53", "comma-separated ports of the DNS pods (OpenShift: 5353)"),
            ("--identity-addresses", ",".join(network.identity_addresses), "comma-separated IP addresses of the EKS Pod Identity agent"),
            ("--metrics-namespaces", ",".join(network.metrics_namespaces), "comma-separated namespaces of Prometheus"),
            ("--gateway-namespace", _own_namespace() or network.gateway_namespace, "namespace of the gateway"),
        ),
    }
# fmt: on


def _identity() -> str:
    """A pod's own name, or this host and a chance number: two processes of one host are two candidates."""
    return os.environ.get("POD_NAME") or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"  # noqa: TID251 - an identity, no decision


def _own_namespace() -> str | None:
    try:
        with open(_NAMESPACE_FILE, encoding="utf-8") as file:  # noqa: PTH123 - one short read
            return file.read().strip()
    except OSError:
        return None
