"""PURE: a world's objects: account, configuration and network policy, then a Deployment, Service and budget for each game service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gameai_contract.names import (
    ARCHETYPES_KEY,
    BUS_CA_KEY,
    CONFIG_KEY,
    GATEWAY_CA_KEY,
    SERVICE_LABEL,
    WORLD_LABEL,
)
from gameai_contract.world_time import Anchor

from gameai_operator.api.network import NetworkMode
from gameai_operator.api.world import GameWorld, WorldState
from gameai_operator.controller.manifest import Document, without_empty
from gameai_operator.resources.config_map import config_map
from gameai_operator.resources.deployment import Strategy, annotations, build
from gameai_operator.resources.disruption_budget import disruption_budget
from gameai_operator.resources.metadata import labels, metadata
from gameai_operator.resources.network_policy import policy
from gameai_operator.resources.service import headless
from gameai_operator.resources.service_account import service_account
from gameai_operator.resources.template_inputs import Inputs
from gameai_operator.settings import NetworkSettings
from gameai_operator.world import network
from gameai_operator.world.archetypes import handed_on
from gameai_operator.world.catalogue import Effective
from gameai_operator.world.config import configuration
from gameai_operator.world.knowledge import KnowledgeSight
from gameai_operator.world.roles import RoleSight
from gameai_operator.world.template import account_name, config_name, selector, template
from gameai_operator.world.view import view

_PROGRESS_SECONDS = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class Authorities:
    """The certificates of the authorities of gateways and event bus; each empty where connections are not encrypted."""

    gateway: str = ""
    bus: str = ""

    def files(self) -> dict[str, str]:
        """Those that a world gets with its configuration, by the names of their files."""
        found = {GATEWAY_CA_KEY: self.gateway, BUS_CA_KEY: self.bus}
        return {name: text for name, text in found.items() if text}


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Where worlds find the gateways and the event bus, `host:port`; empty: there are none."""

    gateway: str = ""
    bus: str = ""
    authorities: Authorities = field(default_factory=Authorities)


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
    knowledge: KnowledgeSight | None = None
    places: Places = field(default_factory=Places)


def objects(world: GameWorld, parts: Parts) -> tuple[Document, ...]:
    """Every object of a world, in the order in which they are applied: what pods read comes before them."""
    made = [_account(world, parts.inputs)] if parts.inputs else []
    if parts.archetypes:
        # Gateways of the former release read it; to be removed with the next one.
        made.append(_archetypes(world, parts.archetypes))
    own = _metadata(world, world.metadata.name)
    made.append(view(world, parts.roles, parts.shown_archetypes, parts.knowledge, own))
    if parts.inputs:
        made.append(_config(world, parts))
    if parts.network:
        made.append(_network_policy(world, parts.network, bus=bool(parts.places.bus)))
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


def _metadata(world: GameWorld, name: str) -> Document:
    """That of the objects which belong to the world as a whole."""
    return metadata(world.metadata.namespace, name, _labels(world, "world"))


def _service_metadata(
    world: GameWorld, service: Effective, notes: Mapping[str, str] | None = None
) -> Document:
    own = _service_labels(world, service)
    return metadata(world.metadata.namespace, deployment_name(world, service), own, notes)


def _labels(world: GameWorld, name: str) -> dict[str, str]:
    instance = world.metadata.name
    return labels(name=name, instance=instance, component="world", root={WORLD_LABEL: instance})


def _service_labels(world: GameWorld, service: Effective) -> dict[str, str]:
    return {**_labels(world, service.name), SERVICE_LABEL: service.name}


def _account(world: GameWorld, inputs: Inputs) -> Document:
    """Its pull secrets are those of the first template revision; since the second they stand in the pods.

    Other controllers write into an account's list too (OpenShift's does), and two writers would never agree.
    """
    names = inputs.pods.pull_secrets if inputs.revision == 1 else ()
    return service_account(_metadata(world, account_name(world)), names)


def _config(world: GameWorld, parts: Parts) -> Document:
    text = configuration(
        *(world, parts.services, parts.roles, parts.anchors, parts.places.gateway, parts.knowledge),
        bus=parts.places.bus,
    )
    files = parts.places.authorities.files()
    return config_map(_metadata(world, config_name(world)), {CONFIG_KEY: text, **files})


def _archetypes(world: GameWorld, document: str) -> Document:
    return config_map(_metadata(world, handed_on(world).name), {ARCHETYPES_KEY: document})


def _network_policy(world: GameWorld, settings: NetworkSettings, *, bus: bool) -> Document:
    """One for all of its services; a user's own policies may open more, since they add up."""
    ingress, egress = network.ingress(world, settings), network.egress(world, settings, bus=bus)
    own = {WORLD_LABEL: world.metadata.name}
    return policy(_metadata(world, config_name(world)), own, ingress, egress)


def _service(world: GameWorld, service: Effective) -> Document:
    """Headless: a gRPC client must see every pod, for one connection would stick to one."""
    return headless(
        _service_metadata(world, service),
        selector(world, service),
        port_name="grpc",
        port=service.port,
        app_protocol="kubernetes.io/h2c",
    )


def _deployment(world: GameWorld, service: Effective, inputs: Inputs) -> Document:
    pods = without_empty(template(world, service, _service_labels(world, service), inputs))
    notes = annotations(pods, None if inputs.revision == 1 else inputs.text())
    about = _service_metadata(world, service, notes)
    strategy = Strategy(surge=1, unavailable=0, deadline_seconds=_PROGRESS_SECONDS)
    return build(about, selector(world, service), pods, strategy)


def _budget(world: GameWorld, service: Effective) -> Document:
    return disruption_budget(_service_metadata(world, service), selector(world, service), 1)
