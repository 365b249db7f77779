"""PURE: a world's objects: account, configuration and network policy, then a Deployment, Service and budget for each game service."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gameai_contract.names import (
    ARCHETYPES_KEY,
    CONFIG_KEY,
    GATEWAY_CA_KEY,
    MANAGED_BY,
    PART_OF,
    SERVICE_LABEL,
    WORLD_LABEL,
)
from gameai_contract.world_time import Anchor

from gameai_operator.api.network import NetworkMode
from gameai_operator.api.world import GameWorld, WorldState
from gameai_operator.controller.manifest import digest, without_empty
from gameai_operator.resources.deployment import TEMPLATE_HASH, TEMPLATE_INPUTS
from gameai_operator.resources.network_policy import policy
from gameai_operator.settings import NetworkSettings
from gameai_operator.world import network
from gameai_operator.world.archetypes import handed_on
from gameai_operator.world.catalogue import Effective
from gameai_operator.world.config import configuration
from gameai_operator.world.revisions import Inputs
from gameai_operator.world.roles import RoleSight
from gameai_operator.world.template import account_name, config_name, selector, template
from gameai_operator.world.view import view

_PROGRESS_SECONDS = 600

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gateway:
    """Where the gateways are (`host:port`), and the certificates of their authority; each empty if absent."""

    endpoint: str = ""
    authority: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """All that a world's objects are made of in addition to its spec; `services` are those that can be rendered.

    Without `inputs` nothing that pods are started with is rendered: no Deployment, no account, and no configuration,
    which must stay that of the pods that run. `network` is None if its policy cannot be rendered or is not wanted.
    `archetypes` are read now, `shown_archetypes` those that gateways have: the last that were right.
    """

    services: Sequence[Effective]
    roles: Sequence[RoleSight]
    anchors: Sequence[Anchor]
    inputs: Inputs | None
    network: NetworkSettings | None
    archetypes: str = ""
    shown_archetypes: str = ""
    gateway: Gateway = field(default_factory=Gateway)


def objects(world: GameWorld, parts: Parts) -> tuple[Document, ...]:
    """Every object of a world, in the order in which they are applied: what pods read comes before them."""
    made = [_account(world, parts.inputs)] if parts.inputs else []
    if parts.archetypes:
        # Gateways of the former release read it; to be removed with the next one.
        made.append(_archetypes(world, parts.archetypes))
    metadata = _metadata(world, world.metadata.name, "world")
    made.append(view(world, parts.roles, parts.shown_archetypes, metadata))
    if parts.inputs:
        made.append(_config(world, parts))
    if parts.network:
        made.append(_network_policy(world, parts.network))
    for service in parts.services:
        made.append(_service(world, service))
        made += [_deployment(world, service, parts.inputs)] if parts.inputs else []
        made += [_budget(world, service)] if service.service.replicas > 1 else []
    return tuple(made)


def isolated(world: GameWorld, settings: NetworkSettings) -> bool:
    """Whether a world gets a network policy."""
    return settings.policies and world.spec.network.mode is NetworkMode.ISOLATED


def replicas(world: GameWorld, service: Effective) -> int:
    """Pods of a service now."""
    return service.service.replicas if world.spec.state is WorldState.RUNNING else 0


def deployment_name(world: GameWorld, service: Effective) -> str:
    """Name of a service's Deployment, Service and budget."""
    return f"{world.metadata.name}-{service.name}"


def _labels(world: GameWorld, component: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": component,
        "app.kubernetes.io/instance": world.metadata.name,
        "app.kubernetes.io/component": "world",
        **PART_OF,
        **MANAGED_BY,
        WORLD_LABEL: world.metadata.name,
    }


def _metadata(world: GameWorld, name: str, component: str, **extra: Any) -> Document:
    labels = {**_labels(world, component), **extra.pop("labels", {})}
    return {"name": name, "namespace": world.metadata.namespace, "labels": labels, **extra}


def _account(world: GameWorld, inputs: Inputs) -> Document:
    """Its pull secrets are those of the first template revision; since the second they stand in the pods.

    Other controllers write into an account's list too (OpenShift's does), and two writers would never agree.
    """
    names = inputs.pods.pull_secrets if inputs.revision == 1 else ()
    secrets = [{"name": each} for each in names]
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(world, account_name(world), "world"),
        "automountServiceAccountToken": False,
        **({"imagePullSecrets": secrets} if secrets else {}),
    }


def _config(world: GameWorld, parts: Parts) -> Document:
    gateway = parts.gateway
    text = configuration(world, parts.services, parts.roles, parts.anchors, gateway.endpoint)
    authority = {GATEWAY_CA_KEY: gateway.authority} if gateway.authority else {}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(world, config_name(world), "world"),
        "data": {CONFIG_KEY: text, **authority},
    }


def _archetypes(world: GameWorld, document: str) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(world, handed_on(world).name, "world"),
        "data": {ARCHETYPES_KEY: document},
    }


def _network_policy(world: GameWorld, settings: NetworkSettings) -> Document:
    """One for all of its services; a user's own policies may open more, since they add up."""
    metadata = _metadata(world, config_name(world), "world")
    selector = {WORLD_LABEL: world.metadata.name}
    ingress, egress = network.ingress(world, settings), network.egress(world, settings)
    return policy(metadata, selector, ingress, egress)


def _service(world: GameWorld, service: Effective) -> Document:
    """Headless: a gRPC client must see every pod, for one connection would stick to one."""
    name, labels = deployment_name(world, service), {SERVICE_LABEL: service.name}
    port = {"name": "grpc", "port": service.port, "protocol": "TCP", "targetPort": "grpc"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(world, name, service.name, labels=labels),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "selector": selector(world, service),
            "publishNotReadyAddresses": False,
            "ports": [{**port, "appProtocol": "kubernetes.io/h2c"}],
        },
    }


def _deployment(world: GameWorld, service: Effective, inputs: Inputs) -> Document:
    labels = {**_labels(world, service.name), SERVICE_LABEL: service.name}
    pods = without_empty(template(world, service, labels, inputs))
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(
            world,
            deployment_name(world, service),
            service.name,
            labels=labels,
            annotations=_notes(pods, inputs),
        ),
        "spec": {
            "selector": {"matchLabels": selector(world, service)},
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": _PROGRESS_SECONDS,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "template": pods,
        },
    }


def _notes(pods: Document, inputs: Inputs) -> dict[str, str]:
    own = {TEMPLATE_HASH: digest(pods)}
    return own if inputs.revision == 1 else {**own, TEMPLATE_INPUTS: inputs.text()}


def _budget(world: GameWorld, service: Effective) -> Document:
    name, labels = deployment_name(world, service), {SERVICE_LABEL: service.name}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(world, name, service.name, labels=labels),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector(world, service)},
            # A pod that never became ready must not hold up a node's drain.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
