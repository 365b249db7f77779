"""PURE: network access of a world's pods."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from gameai_operator.api.base import LIST_SET, Model, Rule
from gameai_operator.api.selector import LabelSelector

Port = Annotated[int, Field(ge=1, le=65535)]


class NetworkMode(StrEnum):
    """Whether the network of a world is restricted."""

    ISOLATED = "Isolated"
    OPEN = "Open"


class AddressBlock(Model):
    """An address range outside the cluster."""

    cidr: Annotated[str, StringConstraints(min_length=3, max_length=49)]
    """Address range in CIDR notation. Addresses of instance metadata services are always excluded. Example: 203.0.113.0/24."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "isCIDR(self.cidr)",
            "cidr must be an address range in CIDR notation; use /32 or /128 for one address: 203.0.113.7/32",
            ".cidr",
        ),
        Rule(
            "!isCIDR(self.cidr) || !(cidr('169.254.0.0/16').containsCIDR(self.cidr) || "
            "cidr('168.63.129.16/32').containsCIDR(self.cidr) || cidr('fe80::/10').containsCIDR(self.cidr) || "
            "cidr('fd00:ec2::/32').containsCIDR(self.cidr) || cidr('fd20:ce::254/128').containsCIDR(self.cidr))",
            "cidr must not be inside the instance metadata range, because its credentials belong to the node; "
            "give the service a ServiceAccount with Pod Identity instead",
            ".cidr",
            "FieldValueForbidden",
        ),
    )


class Peer(Model):
    """A network peer: pods, or addresses outside the cluster."""

    namespace_selector: LabelSelector | None = None
    """Pods of namespaces with these labels. Absent: the world's namespace. Example: {matchLabels: {kubernetes.io/metadata.name: game-servers}}."""
    pod_selector: LabelSelector | None = None
    """Pods with these labels. Absent: all of those namespaces. Example: {matchLabels: {app: lobby}}."""
    ip_block: AddressBlock | None = None
    """An address range outside the cluster. Example: {cidr: 203.0.113.0/24}."""
    ports: Annotated[tuple[Port, ...], Field(max_length=16, json_schema_extra=LIST_SET)] = ()
    """TCP ports of the pods (container ports). Default: every port and protocol. Example: [50051]."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.ipBlock) != (has(self.namespaceSelector) || has(self.podSelector))",
            "either ipBlock, or namespaceSelector and podSelector (one of them or both) must be set",
        ),
    )


class Network(Model):
    """Network access of a world's pods."""

    mode: NetworkMode = NetworkMode.ISOLATED
    """Isolated or Open. Isolated allows ingress from the world itself, Prometheus and allowFrom, and egress to the world itself, DNS, Pod Identity, the gateway, the memory of knowledgeBaseRef, the event bus and allowTo. Open has no restrictions."""
    allow_from: Annotated[tuple[Peer, ...], Field(max_length=16)] = ()
    """Additional peers that may call the world's services. Default: none. Example: [{namespaceSelector: {matchLabels: {team: game-servers}}, ports: [50051]}]."""
    allow_to: Annotated[tuple[Peer, ...], Field(max_length=16)] = ()
    """Additional peers that the world's services may call. Default: none. Example: [{ipBlock: {cidr: 203.0.113.0/24}, ports: [443]}]."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.mode == 'Isolated' || (!has(self.allowFrom) && !has(self.allowTo))",
            "allowFrom and allowTo are only valid with mode: Isolated; mode: Open has no restrictions",
            ".mode",
        ),
    )
