"""Flags and environment → `Settings`. Every flag has a variable: `--resync-seconds` is GAMEAI_RESYNC_SECONDS."""

import argparse
import re

from gameai_operator.api.base import GROUP
from gameai_operator.resources.network_policy import is_address
from gameai_operator.settings import (
    CapacityLabels,
    GatewaySettings,
    KedaSettings,
    LeaseSettings,
    NetworkSettings,
    Pace,
    PodSettings,
    Policy,
    ScalerSettings,
    Settings,
)

_DEFAULTS = Settings()
# A label as a flag gives it; what a key may look like in full an API server knows.
_TARGET = re.compile(r"(\[[0-9a-f:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9][\w./-]*=[\w.-]*", re.ASCII)


def _policy(options: argparse.Namespace) -> Policy:
    return Policy(
        host_paths=_words(options.allowed_host_paths),
        hubs=_words(options.allowed_hubs),
        images=_words(options.allowed_images),
        service_accounts=_words(options.allowed_service_accounts),
        secrets=_words(options.allowed_secrets),
        open_networks=options.allow_open_networks == "on",
    )


def _pods(options: argparse.Namespace) -> PodSettings:
    return PodSettings(
        pull_secrets=_words(options.workloads_pull_secrets),
        fixed_ids=options.pod_ids == "fixed",
        audience=options.gateway_audience,
        registry=options.image_registry,
        labels=_labels(options.common_labels),
    )


def _scaler(options: argparse.Namespace) -> ScalerSettings:
    """The scaler's own flags, which `run` does not have."""
    gateways, gpu_metrics = getattr(options, "gateways", ""), getattr(options, "gpu_metrics", "")
    seconds = getattr(options, "scaling_seconds", _DEFAULTS.scaler.seconds)
    return ScalerSettings(
        gateways=_words(gateways),
        gpu_metrics=_words(gpu_metrics),
        seconds=seconds,
        agent_port=getattr(options, "agent_port", _DEFAULTS.scaler.agent_port),
        keda_port=getattr(options, "keda_port", _DEFAULTS.scaler.keda_port),
        certificate_file=getattr(options, "keda_certificate_file", ""),
        key_file=getattr(options, "keda_key_file", ""),
    )


def settings(options: argparse.Namespace) -> Settings:
    """The settings that flags and environment give. Raises ValueError, naming the flag and what it takes."""
    made = Settings(
        kubeconfig=options.kubeconfig or None,
        namespaces=_words(options.namespaces),
        request_seconds=options.request_seconds,
        policy=_policy(options),
        gateway=GatewaySettings(endpoint=options.gateway_endpoint, ca_file=options.gateway_ca_file),
        bus_endpoint=options.bus_endpoint,
        bus_ca_file=options.bus_ca_file,
        scaler=_scaler(options),
        keda=KedaSettings(options.keda_scaler_address, options.keda_authentication),
        headroom_priority_class=options.headroom_priority_class,
        workloads_image=options.workloads_image,
        knowledge_image=options.knowledge_image,
        pods=_pods(options),
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
        port_file=options.port_file,
        log_level=options.log_level.upper(),
    )
    for name in ("network_policies", "allow_open_networks"):
        if getattr(options, name) not in ("on", "off"):
            raise ValueError(f"--{name.replace('_', '-')} must be on or off")
    if options.pod_ids not in ("fixed", "namespace"):
        raise ValueError("--pod-ids must be fixed or namespace")
    _check(made)
    return made


def _check(made: Settings) -> None:
    lease, network, address = made.lease, made.network, made.keda.scaler_address
    wrong = {
        "--dns-namespace and --gateway-namespace must not be empty": not (
            network.dns_namespace and network.gateway_namespace
        ),
        "--dns-labels must be labels, key=value": not network.dns_labels
        or not all(_LABEL.fullmatch(each) for each in network.dns_labels),
        "--dns-addresses and --identity-addresses must be IP addresses": not all(
            is_address(each) for each in (*network.dns_addresses, *network.identity_addresses)
        ),
        "--bus-endpoint must be host:port": bool(made.bus_endpoint)
        and not _TARGET.fullmatch(made.bus_endpoint),
        "--lease-name, --lease-namespace and --lease-identity must not be empty": not (
            lease.name and lease.namespace and lease.identity
        ),
        "--workloads-image and --knowledge-image must not be empty": not (
            made.workloads_image and made.knowledge_image
        ),
        "--allowed-host-paths must be absolute paths": not all(
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
        "--capacity-spot and --capacity-on-demand must not be empty": not (
            made.capacity.spot and made.capacity.on_demand
        ),
        "--gateways must be host:port": not all(map(_TARGET.fullmatch, made.scaler.gateways)),
        "--gpu-metrics must be host:port": not all(map(_TARGET.fullmatch, made.scaler.gpu_metrics)),
        "--keda-scaler-address must be host:port": address != "" and not _TARGET.fullmatch(address),
        "--keda-authentication needs --keda-scaler-address": made.keda.authentication != ""
        and not address,
        "--agent-port must be from 0 to 65535": not 0 <= made.scaler.agent_port <= 65535,
        "--keda-port must be from 0 to 65535": not 0 <= made.scaler.keda_port <= 65535,
        "--keda-certificate-file and --keda-key-file must be set together": bool(
            made.scaler.certificate_file
        )
        != bool(made.scaler.key_file),
        "--scaling-seconds must be from 1 to 60": not 1 <= made.scaler.seconds <= 60,
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
