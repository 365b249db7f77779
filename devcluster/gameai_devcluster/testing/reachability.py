"""Reachability by the semantics of NetworkPolicy, evaluated over objects instead of packets.

Written from the API's documentation (networking.k8s.io/v1), and of our rendering it knows nothing: policies add up; a pod
that none selects for a direction is open in it; a connection needs the caller's egress and the other's ingress.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """One end of a connection: a pod, or an address outside of the cluster (`namespace` is empty).

    `ports` are the names that a pod gives its ports. A pod with an address stands for network plug-ins that match address blocks against pods too, which the API leaves open.
    """

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """The policies of a cluster, and the labels of its namespaces beside their names."""

    policies: Sequence[Json]
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def reaches(self, caller: End, called: End, port: int, protocol: str = "TCP") -> bool:
        """Whether a connection from one to the other would be let through."""
        where = (called, port, protocol)
        out = self._lets(caller, called, ("Egress", "egress", "to"), where)
        return out and self._lets(called, caller, ("Ingress", "ingress", "from"), where)

    def _lets(
        self, held: End, other: End, direction: tuple[str, str, str], where: tuple[End, int, str]
    ) -> bool:
        kind, rules, peers = direction
        holding = [each for each in self.policies if self._holds(each, held, kind)]
        if not holding:
            return True
        return any(
            _on_port(rule, *where)
            and (not rule.get(peers) or any(self._is(each, other, one) for each in rule[peers]))
            for one in holding
            for rule in one["spec"].get(rules, ())
        )

    def _holds(self, policy: Json, end: End, kind: str) -> bool:
        spec = policy["spec"]
        default = ["Ingress", *(["Egress"] if "egress" in spec else [])]
        same = bool(end.namespace) and policy["metadata"]["namespace"] == end.namespace
        here = _selects(spec.get("podSelector", {}), end.labels)
        return same and here and kind in spec.get("policyTypes", default)

    def _is(self, peer: Json, end: End, policy: Json) -> bool:
        if "ipBlock" in peer:
            return bool(end.address) and _in_block(peer["ipBlock"], end.address)
        if not end.namespace:
            return False
        if "namespaceSelector" in peer:
            name = {"kubernetes.io/metadata.name": end.namespace}
            labels = {**self.namespaces.get(end.namespace, {}), **name}
            if not _selects(peer["namespaceSelector"], labels):
                return False
        elif end.namespace != policy["metadata"]["namespace"]:
            return False
        return _selects(peer.get("podSelector", {}), end.labels)


def _on_port(rule: Json, called: End, port: int, protocol: str) -> bool:
    if not rule.get("ports"):
        return True
    return any(
        each.get("protocol", "TCP") == protocol
        and ("port" not in each or _is_port(each, called, port))
        for each in rule["ports"]
    )


def _is_port(entry: Json, called: End, port: int) -> bool:
    """A named port is that of the pod that is called."""
    if isinstance(entry["port"], str):
        return called.ports.get(entry["port"]) == port
    return bool(entry["port"] <= port <= entry.get("endPort", entry["port"]))


def _in_block(block: Json, address: str) -> bool:
    found = ipaddress.ip_address(address)
    inside = found in ipaddress.ip_network(block["cidr"])
    return inside and not any(found in ipaddress.ip_network(e) for e in block.get("except", ()))


def _selects(selector: Json, labels: Mapping[str, str]) -> bool:
    exact = all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items())
    return exact and all(_meets(each, labels) for each in selector.get("matchExpressions", ()))


def _meets(requirement: Json, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement["key"])
    return {
        "In": value in requirement.get("values", ()),
        "NotIn": value not in requirement.get("values", ()),
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[str(requirement["operator"])]
