"""PURE: whom a world's pods may hear and call."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from gameai_operator.api.base import LIST_SET, Model, Rule
from gameai_operator.api.selector import LabelSelector

Port = Annotated[int, Field(ge=1, le=65535)]


class NetworkMode(StrEnum):
    """Whether a world is closed."""

    ISOLATED = "Isolated"
    OPEN = "Open"


class AddressBlock(Model):
    """Addresses outside of the cluster."""

    cidr: Annotated[str, StringConstraints(min_length=3, max_length=49)]
    """Address block; the addresses of instance metadata are always left out of it. Example: 203.0.113.0/24."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "isCIDR(self.cidr)",
            "cidr must be an address block, for one address with /32 or /128: 203.0.113.7/32",
            ".cidr",
        ),
        Rule(
            "!isCIDR(self.cidr) || !(cidr('169.254.0.0/16').containsCIDR(self.cidr) || "
            "cidr('168.63.129.16/32').containsCIDR(self.cidr) || cidr('fe80::/10').containsCIDR(self.cidr) || "
            "cidr('fd00:ec2::/32').containsCIDR(self.cidr) || cidr('fd20:ce::254/128').containsCIDR(self.cidr))",
            "cidr must not be that of instance metadata: its credentials are the node's, not the world's; "
            "give the service a ServiceAccount with Pod Identity instead",
            ".cidr",
            "FieldValueForbidden",
        ),
    )


class Peer(Model):
    """Others on the network: pods, or addresses outside of the cluster."""

    namespace_selector: LabelSelector | None = None
    """Pods of namespaces with these labels. Absent: the world's namespace. Example: {matchLabels: {kubernetes.io/metadata.name: game-servers}}."""
    pod_selector: LabelSelector | None = None
    """Pods with these labels. Absent: all of those namespaces. Example: {matchLabels: {app: lobby}}."""
    ip_block: AddressBlock | None = None
    """Addresses outside of the cluster. Example: {cidr: 203.0.113.0/24}."""
    ports: Annotated[tuple[Port, ...], Field(max_length=16, json_schema_extra=LIST_SET)] = ()
    """TCP ports, as the pods themselves know them. Default: every port and protocol. Example: [50051]."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.ipBlock) != (has(self.namespaceSelector) || has(self.podSelector))",
            "either ipBlock, or namespaceSelector and podSelector (one of them or both) must be set",
        ),
    )


class Network(Model):
    """Whom a world's pods may hear and call."""

    mode: NetworkMode = NetworkMode.ISOLATED
    """Isolated (heard: the world itself, metrics, and whom allowFrom names; called: the world itself, DNS, Pod Identity, the gateway, and whom allowTo names) or Open (no limits)."""
    allow_from: Annotated[tuple[Peer, ...], Field(max_length=16)] = ()
    """Who else may call the world's services. Default: nobody. Example: [{namespaceSelector: {matchLabels: {team: game-servers}}, ports: [50051]}]."""
    allow_to: Annotated[tuple[Peer, ...], Field(max_length=16)] = ()
    """Whom else the world's services may call. Default: nobody. Example: [{ipBlock: {cidr: 203.0.113.0/24}, ports: [443]}]."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.mode == 'Isolated' || (!has(self.allowFrom) && !has(self.allowTo))",
            "allowFrom and allowTo go with mode: Isolated, and only with it: an open world lets everybody in and out",
            ".mode",
        ),
    )
