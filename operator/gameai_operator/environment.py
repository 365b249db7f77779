"""Flags and environment → `Settings`. Every flag has a variable: `--resync-seconds` is GAMEAI_RESYNC_SECONDS."""

import argparse
import os
import re
import socket
import uuid
from collections.abc import Mapping
from typing import Any

from gameai_contract.names import ENVIRONMENT_PREFIX

from gameai_operator.api.base import GROUP
from gameai_operator.resources.network_policy import is_address
from gameai_operator.settings import (
    ANY,
    CapacityLabels,
    GatewaySettings,
    LeaseSettings,
    NetworkSettings,
    Pace,
    PodSettings,
    Policy,
    Settings,
)

_DEFAULTS = Settings()
# A label as a flag gives it; what a key may look like in full an API server knows.
_LABEL = re.compile(r"[A-Za-z0-9][\w./-]*=[\w.-]*", re.ASCII)
_NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"


def add_flags(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """The flags of `run`, with defaults from the environment."""
    connection = parser.add_argument_group("connection")
    flag = _Flags(connection, environment)
    flag("--kubeconfig", None, "path of a kubeconfig; without it the pod's own service account")
    flag("--namespaces", "", "namespaces to watch, with commas; none means all")
    flag("--request-seconds", _DEFAULTS.request_seconds, "longest time of one API request", float)

    _add_work_flags(_Flags(parser.add_argument_group("work"), environment))

    lease, defaults = (
        _Flags(parser.add_argument_group("leader election"), environment),
        _DEFAULTS.lease,
    )
    lease("--lease-name", defaults.name, "name of the Lease")
    lease("--lease-namespace", _own_namespace() or defaults.namespace, "namespace of the Lease")
    lease("--lease-identity", _identity(), "who this process is, unlike every other")
    lease("--lease-seconds", defaults.duration_seconds, "others may take over after this", float)
    lease(
        "--lease-renew-seconds",
        defaults.renew_seconds,
        "writes end this long after a renewal",
        float,
    )
    lease("--lease-retry-seconds", defaults.retry_seconds, "between renewals", float)

    capacity = _Flags(parser.add_argument_group("capacity types"), environment)
    labels = _DEFAULTS.capacity
    capacity("--capacity-label", labels.label, "node label that tells spot from on-demand")
    capacity("--capacity-spot", ",".join(labels.spot), "its values for spot, with commas")
    capacity("--capacity-on-demand", ",".join(labels.on_demand), "its values for on-demand")

    pods = _Flags(parser.add_argument_group("pods"), environment)
    image = _DEFAULTS.workloads_image
    pods("--workloads-image", image, "image of the catalogue's game services")
    pods("--workloads-pull-secrets", "", "Secrets of a world's namespace to pull it with, commas")
    pods("--worlds-at-a-time", "5", "worlds that take a new one at once: a number, or 10%% of all")
    pods("--pod-ids", "fixed", "fixed user ids, or namespace: the cluster's (OpenShift)")
    pods("--common-labels", "", "labels of everything that is made, key=value, commas")
    audience = _DEFAULTS.pods.audience
    pods("--gateway-audience", audience, "of the tokens with which services ask the gateway")
    pods("--gateway-endpoint", "", "where worlds find the gateways, host:port")
    pods("--gateway-ca-file", "", "certificates of the gateways' authority, for worlds; followed")
    pods("--image-registry", "", "stands before vLLM's image where a tier names none")

    _add_policy_flags(_Flags(parser.add_argument_group("what manifests may ask for"), environment))

    _add_network_flags(_Flags(parser.add_argument_group("network policies"), environment))

    own = _Flags(parser.add_argument_group("this process"), environment)
    own(
        "--health-address",
        _DEFAULTS.health_address,
        "address of /livez, /readyz and /metrics; empty: all",
    )
    own("--health-port", _DEFAULTS.health_port, "port of the same; 0 takes a free one", int)
    own("--log-level", _DEFAULTS.log_level, "DEBUG, INFO, WARNING or ERROR")


def _add_work_flags(flag: "_Flags") -> None:
    flag("--workers", _DEFAULTS.workers, "objects reconciled side by side (1 to 100)", int)
    flag(
        "--free-repairs",
        _DEFAULTS.free_repairs,
        "immediate repairs of one field before backing off",
        int,
    )
    flag("--resync-seconds", _DEFAULTS.resync_seconds, "comparison with a LIST, ±20 %%", float)
    flag(
        "--probe-seconds", _DEFAULTS.probe_seconds, "a cheap look for missed events, ±20 %%", float
    )
    flag(
        "--discovery-seconds", _DEFAULTS.discovery_seconds, "poll until all kinds are served", float
    )


def _add_policy_flags(flag: "_Flags") -> None:
    flag("--allowed-host-paths", "", "folders of nodes in which model caches may lie, commas")
    flag("--allowed-hubs", ANY, "hosts that models come from, commas; *: all")
    flag("--allowed-images", ANY, "prefixes of images, commas; *: all")
    flag("--allowed-service-accounts", ANY, "accounts that pods may run as, commas; *: all")
    flag("--allowed-secrets", ANY, "Secrets that pods may get, commas; *: all")
    flag("--allow-open-networks", "on", "on, or off: no mode Open, no addresses outside")


def _policy(options: argparse.Namespace) -> Policy:
    return Policy(
        host_paths=_words(options.allowed_host_paths),
        hubs=_words(options.allowed_hubs),
        images=_words(options.allowed_images),
        service_accounts=_words(options.allowed_service_accounts),
        secrets=_words(options.allowed_secrets),
        open_networks=options.allow_open_networks == "on",
    )


def _add_network_flags(flag: "_Flags") -> None:
    default = _DEFAULTS.network
    flag("--network-policies", "on", "on, or off where others make them")
    flag("--dns-namespace", default.dns_namespace, "where the cluster's DNS servers are")
    flag("--dns-labels", ",".join(default.dns_labels), "labels of their pods, key=value, commas")
    flag("--dns-addresses", ",".join(default.dns_addresses), "where nodes answer DNS, commas")
    flag("--dns-ports", "53", "ports of the DNS pods, commas; OpenShift's listen on 5353")
    flag("--identity-addresses", ",".join(default.identity_addresses), "of Pod Identity, commas")
    flag("--metrics-namespaces", ",".join(default.metrics_namespaces), "who reads metrics, commas")
    flag(
        "--gateway-namespace",
        _own_namespace() or default.gateway_namespace,
        "where the gateway runs",
    )


def settings(options: argparse.Namespace) -> Settings:
    """The settings that flags and environment give. Raises ValueError, naming the flag and what it takes."""
    made = Settings(
        kubeconfig=options.kubeconfig or None,
        namespaces=_words(options.namespaces),
        request_seconds=options.request_seconds,
        policy=_policy(options),
        gateway=GatewaySettings(endpoint=options.gateway_endpoint, ca_file=options.gateway_ca_file),
        workloads_image=options.workloads_image,
        pods=PodSettings(
            pull_secrets=_words(options.workloads_pull_secrets),
            fixed_ids=options.pod_ids == "fixed",
            audience=options.gateway_audience,
            registry=options.image_registry,
            labels=_labels(options.common_labels),
        ),
        worlds_at_a_time=_pace(options.worlds_at_a_time),
        workers=options.workers,
        free_repairs=options.free_repairs,
        resync_seconds=options.resync_seconds,
        probe_seconds=options.probe_seconds,
        discovery_seconds=options.discovery_seconds,
        lease=LeaseSettings(
            name=options.lease_name,
            namespace=options.lease_namespace,
            identity=options.lease_identity,
            scope=_words(options.namespaces),
            duration_seconds=options.lease_seconds,
            renew_seconds=options.lease_renew_seconds,
            retry_seconds=options.lease_retry_seconds,
        ),
        capacity=CapacityLabels(
            label=options.capacity_label,
            spot=_words(options.capacity_spot),
            on_demand=_words(options.capacity_on_demand),
        ),
        network=NetworkSettings(
            policies=options.network_policies == "on",
            dns_namespace=options.dns_namespace,
            dns_labels=_words(options.dns_labels),
            dns_addresses=_words(options.dns_addresses),
            dns_ports=_ports(options.dns_ports),
            identity_addresses=_words(options.identity_addresses),
            metrics_namespaces=_words(options.metrics_namespaces),
            gateway_namespace=options.gateway_namespace,
        ),
        health_address=options.health_address,
        health_port=options.health_port,
        log_level=options.log_level.upper(),
    )
    for name in ("network_policies", "allow_open_networks"):
        if getattr(options, name) not in ("on", "off"):
            raise ValueError(f"--{name.replace('_', '-')} must be on or off")
    if options.pod_ids not in ("fixed", "namespace"):
        raise ValueError("--pod-ids must be fixed or namespace")
    _check(made)
    return made


class _Flags:
    """Adds flags to a group, each with its environment variable's value as default."""

    def __init__(self, group: Any, environment: Mapping[str, str]) -> None:
        self._group = group
        self._environment = environment

    def __call__(self, name: str, default: Any, text: str, kind: type = str) -> None:
        variable = ENVIRONMENT_PREFIX + name.removeprefix("--").replace("-", "_").upper()
        value = self._environment.get(variable, default)
        shown = "" if default in (None, "") else f" (default {default})"
        self._group.add_argument(
            name,
            type=kind,
            default=value,
            metavar=kind.__name__.upper(),
            help=f"{text}{shown}; {variable}",
        )


def _check(made: Settings) -> None:
    lease, network = made.lease, made.network
    wrong = {
        "--dns-namespace and --gateway-namespace must not be empty": not (
            network.dns_namespace and network.gateway_namespace
        ),
        "--dns-labels must be labels, key=value": not network.dns_labels
        or not all(_LABEL.fullmatch(each) for each in network.dns_labels),
        "--dns-addresses and --identity-addresses must be IP addresses": not all(
            is_address(each) for each in (*network.dns_addresses, *network.identity_addresses)
        ),
        "--lease-name, --lease-namespace and --lease-identity must not be empty": not (
            lease.name and lease.namespace and lease.identity
        ),
        "--workloads-image must name an image": not made.workloads_image,
        "--allowed-host-paths must be absolute folders": not all(
            each.startswith("/") for each in made.policy.host_paths
        ),
        "--free-repairs must be from 1 to 1000": not 1 <= made.free_repairs <= 1000,
        "--workers must be from 1 to 100": not 1 <= made.workers <= 100,
        "--lease-retry-seconds < --lease-renew-seconds < --lease-seconds must hold": not (
            0 < lease.retry_seconds < lease.renew_seconds < lease.duration_seconds
        ),
        "--resync-seconds must be at least 0.5": made.resync_seconds < 0.5,
        "--probe-seconds must be at least 0.5": made.probe_seconds < 0.5,
        "--discovery-seconds must be at least 0.1": made.discovery_seconds < 0.1,
        "--request-seconds must be at least 0.1": made.request_seconds < 0.1,
        "--capacity-spot and --capacity-on-demand must each name a value": not (
            made.capacity.spot and made.capacity.on_demand
        ),
        "--log-level must be DEBUG, INFO, WARNING or ERROR": made.log_level
        not in ("DEBUG", "INFO", "WARNING", "ERROR"),
    }
    for sentence, holds in wrong.items():
        if holds:
            raise ValueError(sentence)


def _pace(text: str) -> Pace:
    number, percent = text.removesuffix("%"), text.endswith("%")
    if not number.isdecimal() or not 1 <= int(number) <= (100 if percent else 10_000):
        raise ValueError("--worlds-at-a-time must be from 1 to 10000, or from 1% to 100%")
    return Pace(percent=int(number)) if percent else Pace(number=int(number))


def _ports(text: str) -> tuple[int, ...]:
    words = _words(text)
    if not words or not all(each.isdecimal() and 0 < int(each) < 65536 for each in words):
        raise ValueError("--dns-ports must be port numbers from 1 to 65535")
    return tuple(map(int, words))


def _labels(text: str) -> dict[str, str]:
    words = _words(text)
    if not all(_LABEL.fullmatch(each) for each in words):
        raise ValueError("--common-labels must be labels, key=value")
    found = dict(each.split("=", 1) for each in words)
    taken = [each for each in found if each.startswith((f"{GROUP}/", "app.kubernetes.io/"))]
    if taken:
        raise ValueError(f"--common-labels must not set {taken[0]}: the operator does")
    return found


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _identity() -> str:
    """A pod's own name, or this host and a chance number: two processes of one host are two candidates."""
    return os.environ.get("POD_NAME") or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"  # noqa: TID251 - an identity, no decision


def _own_namespace() -> str | None:
    try:
        with open(_NAMESPACE_FILE, encoding="utf-8") as file:  # noqa: PTH123 - one short read
            return file.read().strip()
    except OSError:
        return None
