"""PURE: the parts of NetworkPolicies: who may call a set of pods, and what they may call.

An empty selector would mean everybody in a NetworkPolicy and nothing at all in a server-side apply, so that none is
rendered: a namespace is named by the label that every namespace carries.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from gameai_contract.names import BUS_LABELS, BUS_PORT, GATEWAY_LABELS, SCALER_LABELS

from gameai_operator.controller.manifest import Document
from gameai_operator.settings import NetworkSettings

NAME_LABEL = "kubernetes.io/metadata.name"
# Instance metadata hands out the node's credentials; a pod has its own, by Pod Identity. All link-local addresses (every
# cloud's 169.254.169.254, ECS's 169.254.170.2, Google's 169.254.169.252), Azure's wire server, and IPv6 addresses of EC2 and Google.
METADATA_ADDRESSES = ("169.254.0.0/16", "168.63.129.16/32", "fe80::/10", "fd00:ec2::/32", "fd20:ce::254/128")  # fmt: skip
EVERYWHERE = ("0.0.0.0/0", "::/0")
_IDENTITY_PORT = 80
_HTTP, HTTPS = 80, 443


def namespaces(*names: str) -> Document:
    """The namespaces of these names, as a selector."""
    if len(names) == 1:
        return {"matchLabels": {NAME_LABEL: names[0]}}
    return {"matchExpressions": [{"key": NAME_LABEL, "operator": "In", "values": list(names)}]}


def all_namespaces() -> Document:
    """Every namespace, as a selector."""
    return {"matchExpressions": [{"key": NAME_LABEL, "operator": "Exists"}]}


def pods(namespace_selector: Document, labels: Mapping[str, str] | None = None) -> Document:
    """A peer: the pods of some namespaces, with these labels or any."""
    selected = {"podSelector": {"matchLabels": dict(labels)}} if labels else {}
    return {"namespaceSelector": namespace_selector, **selected}


def block(address: str) -> Document:
    """A peer: one address of the cluster's owner, or a block of them."""
    return {"ipBlock": {"cidr": str(ipaddress.ip_network(address, strict=False))}}


def outside(cidr: str) -> list[Document]:
    """Peers: a block that a tenant names, without the addresses of instance metadata; none where it lies within those."""
    network = ipaddress.ip_network(cidr, strict=False)
    metadata = [
        each
        for each in map(ipaddress.ip_network, METADATA_ADDRESSES)
        if each.version == network.version
    ]
    if any(_within(network, each) for each in metadata):
        return []
    left_out = [str(each) for each in metadata if _within(each, network)]
    return [{"ipBlock": {"cidr": str(network), **({"except": left_out} if left_out else {})}}]


def ports(*which: int | str, protocols: Sequence[str] = ("TCP",)) -> list[Document]:
    """Ports of a rule, by number or by the name that pods give them."""
    return [{"protocol": each, "port": port} for each in protocols for port in which]


def inwards(peers: Sequence[Document], which: Sequence[Document] = ()) -> Document:
    """A rule: these may call, on these ports or on all."""
    return {"from": list(peers), **({"ports": list(which)} if which else {})}


def outwards(peers: Sequence[Document], which: Sequence[Document] = ()) -> Document:
    """A rule: these may be called, on these ports or on all."""
    return {"to": list(peers), **({"ports": list(which)} if which else {})}


def from_metrics(settings: NetworkSettings, port: int) -> list[Document]:
    """Prometheus may, on the metrics port."""
    names = settings.metrics_namespaces
    return [inwards([pods(namespaces(*names))], ports(port))] if names else []


def gateway(settings: NetworkSettings) -> Document:
    """A peer: the pods of the gateway."""
    return pods(namespaces(settings.gateway_namespace), GATEWAY_LABELS)


def to_bus(settings: NetworkSettings) -> Document:
    """To the servers of the event bus."""
    servers = pods(namespaces(settings.gateway_namespace), BUS_LABELS)
    return outwards([servers], ports(BUS_PORT))


def to_host(own: str, host: str, port: int) -> Document:
    """To a host, as pods of the namespace `own` name it.

    A policy knows no host names: of a host outside of the cluster it opens the port to every address. It sees the port of
    the pods, which for a Service in the cluster must be that of the Service.
    """
    if namespace := service_namespace(own, host):
        return outwards([pods(namespaces(namespace))], ports(port))
    everywhere = [peer for each in EVERYWHERE for peer in outside(each)]
    return outwards(everywhere, ports(port))


def place(url: str) -> tuple[str, int]:
    """Host and port of a URL; the host is empty where it has none. Raises ValueError for an invalid URL."""
    found = urlsplit(url)
    return found.hostname or "", found.port or (_HTTP if found.scheme == "http" else HTTPS)


def service_namespace(own: str, host: str) -> str:
    """The namespace of the Service that has this host name, with the usual domain of a cluster or none; empty for another host."""
    labels = host.rstrip(".").split(".")
    if len(labels) == 1:
        # A number is an address.
        return own if host[:1].isalpha() else ""
    return labels[1] if labels[2:] in (["svc"], ["svc", "cluster", "local"]) else ""


def from_scaler(settings: NetworkSettings, port: int) -> Document:
    """The pods of the scaler may, on this port."""
    return inwards([pods(namespaces(settings.gateway_namespace), SCALER_LABELS)], ports(port))


def basics(settings: NetworkSettings) -> list[Document]:
    """What every pod needs: names, and the exchange of its own token for credentials."""
    labels = dict(each.split("=", 1) for each in settings.dns_labels)
    servers = pods(namespaces(settings.dns_namespace), labels)
    on_nodes = [block(each) for each in settings.dns_addresses]
    names = outwards([servers, *on_nodes], ports(*settings.dns_ports, protocols=("UDP", "TCP")))
    agents = [block(each) for each in settings.identity_addresses]
    return [names, *([outwards(agents, ports(_IDENTITY_PORT))] if agents else [])]


def policy(
    metadata: Document,
    selector: Mapping[str, str],
    ingress: Sequence[Document],
    egress: Sequence[Document],
) -> Document:
    """A NetworkPolicy: what no rule names is refused; without rules, everything of that direction."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": {
            "podSelector": {"matchLabels": dict(selector)},
            "policyTypes": ["Ingress", "Egress"],
            **({"ingress": list(ingress)} if ingress else {}),
            **({"egress": list(egress)} if egress else {}),
        },
    }


def is_address(text: str) -> bool:
    """Whether a text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _within(
    inner: ipaddress.IPv4Network | ipaddress.IPv6Network,
    outer: ipaddress.IPv4Network | ipaddress.IPv6Network,
) -> bool:
    """Whether one block is a part of another, or the same; both of one version."""
    return inner.network_address in outer and inner.prefixlen >= outer.prefixlen
