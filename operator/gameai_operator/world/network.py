"""PURE: who may call a world's services, and what they may call."""

from gameai_contract.names import (
    GRPC_PORT,
    HEALTH_PORT,
    KNOWLEDGE_LABEL,
    MEMORY_NAME,
    WORLD_LABEL,
)

from gameai_operator.api.network import Peer
from gameai_operator.api.selector import LabelSelector
from gameai_operator.api.world import GameWorld
from gameai_operator.controller.manifest import Document
from gameai_operator.resources import network_policy
from gameai_operator.settings import NetworkSettings
from gameai_operator.world import knowledge


def ingress(world: GameWorld, settings: NetworkSettings) -> list[Document]:
    """The world itself, Prometheus, the scaler where a service counts players, and the peers in the spec."""
    given = [
        network_policy.inwards(peers, _ports(each))
        for each in _network(world)[0]
        # A rule without peers would let everybody.
        if (peers := _peers(world, each))
    ]
    return [
        network_policy.inwards([_itself(world)]),
        *network_policy.from_metrics(settings, HEALTH_PORT),
        *_from_scaler(world, settings),
        *given,
    ]


def _from_scaler(world: GameWorld, settings: NetworkSettings) -> list[Document]:
    source = world.spec.players and world.spec.players.source
    return [network_policy.from_scaler(settings, source.port)] if source else []


def egress(world: GameWorld, settings: NetworkSettings, *, bus: bool) -> list[Document]:
    """The world itself, DNS, Pod Identity, the gateway, the memory, the database, the event bus if there is one, and the peers in the spec."""
    given = [
        network_policy.outwards(peers, _ports(each))
        for each in _network(world)[1]
        # A rule without peers would let everybody.
        if (peers := _peers(world, each))
    ]
    return [
        network_policy.outwards([_itself(world)]),
        *network_policy.basics(settings),
        network_policy.outwards(
            [network_policy.gateway(settings)], network_policy.ports(GRPC_PORT)
        ),
        *_to_memory(world),
        *_to_database(world),
        *([network_policy.to_bus(settings)] if bus else []),
        *given,
    ]


def _to_memory(world: GameWorld) -> list[Document]:
    """The pods of its knowledge base that answer; which of its calls they take is up to the memory."""
    found = knowledge.base(world)
    if found is None:
        return []
    labels = {KNOWLEDGE_LABEL: found.name, "app.kubernetes.io/name": MEMORY_NAME}
    peer = network_policy.pods(network_policy.namespaces(found.namespace), labels)
    return [network_policy.outwards([peer], network_policy.ports(GRPC_PORT))]


def _to_database(world: GameWorld) -> list[Document]:
    found = world.spec.database
    if found is None:
        return []
    own, given = world.metadata.namespace, found.external
    return [network_policy.to_host(own, given.host, given.port)]


def faulty_keys(world: GameWorld) -> tuple[str, ...]:
    """Keys of selectors that no label can have; an API server would refuse the policy, and so nothing is changed."""
    peers = (*world.spec.network.allow_from, *world.spec.network.allow_to)
    selectors = [each for peer in peers for each in (peer.namespace_selector, peer.pod_selector)]
    return tuple(key for each in selectors if each for key in each.faulty_keys)


def _network(world: GameWorld) -> tuple[tuple[Peer, ...], tuple[Peer, ...]]:
    return world.spec.network.allow_from, world.spec.network.allow_to


def _itself(world: GameWorld) -> Document:
    own = network_policy.namespaces(world.metadata.namespace)
    return network_policy.pods(own, {WORLD_LABEL: world.metadata.name})


def _ports(peer: Peer) -> list[Document]:
    return network_policy.ports(*peer.ports)


def _peers(world: GameWorld, peer: Peer) -> list[Document]:
    """None where all addresses of a block are those of instance metadata."""
    if peer.ip_block:
        return network_policy.outside(peer.ip_block.cidr)
    own = network_policy.namespaces(world.metadata.namespace)
    given = peer.namespace_selector
    where = (_selector(given) or network_policy.all_namespaces()) if given else own
    which = _selector(peer.pod_selector) if peer.pod_selector else {}
    return [{"namespaceSelector": where, **({"podSelector": which} if which else {})}]


def _selector(selector: LabelSelector) -> Document:
    """As Kubernetes writes it; empty where it finds everything."""
    return selector.model_dump(mode="json", by_alias=True, exclude_defaults=True)
