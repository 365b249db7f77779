"""PURE: the types of WorldView, which the operator publishes to gateways and to the bus's controller. Only the operator may write it."""

from typing import Annotated

from gameai_contract.inference import MOST_DEADLINE_MS, MOST_IN_FLIGHT, MOST_ROLES, MOST_WEIGHT
from pydantic import Field

from gameai_operator.api.base import Metadata, Model, Text

# Documents have 128 KiB; with every default written out they are longer.
_MOST_ARCHETYPES = 512 << 10
# Callers in the spec, the world's own account, and the accounts of its services.
_MOST_CALLERS = 64 + 1 + 32
# Lists are replaced as a whole, and never merged with entries of other writers.
_WHOLE = {"x-kubernetes-list-type": "atomic"}
# Services in the spec of a world.
_MOST_SERVICES = 32
# namespace/name@uid, each as long as it may be.
Account = Annotated[str, Field(min_length=1, max_length=63 + 1 + 253 + 1 + 63)]


class RoleView(Model):
    """A role as gateways serve it."""

    name: Text
    """Name of the role."""
    namespace: Text
    """Namespace of its tier."""
    tier: Text
    """Name of its tier."""
    admitted: bool = False
    """Whether the tier exists and allows the namespace of this world."""
    deadline_ms: Annotated[int, Field(ge=0, le=MOST_DEADLINE_MS)] = 0
    """Default deadline of requests, in milliseconds; 0: latency.targetMs of the tier."""
    deferred_to: Annotated[str, Field(max_length=63)] = ""
    """Role that provides a second, better response; empty: none."""
    fallback: Annotated[tuple[Text, ...], Field(max_length=8)] = ()
    """Fallback steps, in order."""
    weight: Annotated[int, Field(ge=1, le=MOST_WEIGHT)] = 1
    """Weight relative to the other roles of the world while the tier is full."""
    max_in_flight: Annotated[int, Field(ge=1, le=MOST_IN_FLIGHT)] = 64
    """Maximum number of concurrent engine requests of this role, per gateway."""


class BusConsumer(Model):
    """A service that consumes events of the world."""

    name: Text
    """Name of the service, which is one of the account's."""
    services: Annotated[
        tuple[Text, ...], Field(min_length=1, max_length=_MOST_SERVICES, json_schema_extra=_WHOLE)
    ]
    """Names of the services whose events it consumes."""


class BusAccount(Model):
    """A ServiceAccount of the world's namespace, and the services that run as it."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the ServiceAccount."""
    services: Annotated[
        tuple[Text, ...], Field(min_length=1, max_length=_MOST_SERVICES, json_schema_extra=_WHOLE)
    ]
    """Names of the services as which it may publish events of this world."""
    consumers: Annotated[
        tuple[BusConsumer, ...], Field(max_length=_MOST_SERVICES, json_schema_extra=_WHOLE)
    ] = ()
    """Those of them that consume events of this world."""


class BusView(Model):
    """What the event bus's controller knows of a world."""

    knowledge_base: Annotated[str, Field(max_length=63 + 1 + 253)] = ""
    """The knowledge base that the world may use, as namespace/name; empty: none. Worlds with the same one share consumers."""
    accounts: Annotated[
        tuple[BusAccount, ...], Field(max_length=_MOST_SERVICES, json_schema_extra=_WHOLE)
    ] = ()
    """Accounts that may connect to the bus for this world."""


class WorldViewSpec(Model):
    """What gateways and the event bus's controller know of a world."""

    world: Text
    """UID of the GameWorld. A different UID invalidates cached responses."""
    roles: Annotated[
        tuple[RoleView, ...], Field(max_length=MOST_ROLES, json_schema_extra=_WHOLE)
    ] = ()
    """Every role, with its tier."""
    callers: Annotated[
        tuple[Account, ...], Field(max_length=_MOST_CALLERS, json_schema_extra=_WHOLE)
    ] = ()
    """Accounts that may send requests for this world, as namespace/name or namespace/name@uid."""
    archetypes: Annotated[str, Field(max_length=_MOST_ARCHETYPES)] = ""
    """The last valid archetypes, as one JSON document; empty: none."""
    bus: BusView | None = None
    """Who may publish and consume events of this world; absent: no account."""


class ParkedService(Model):
    """A service that could not handle a batch of events. The batches behind it wait, in order, for a redrive."""

    service: Text
    """Name of the service."""
    since: Text
    """Time of the first batch that is kept as a dead letter. Example: 2026-11-30T10:00:00Z."""
    reason: Annotated[str, Field(max_length=512)] = ""
    """Why it was not handled."""


class WorldViewStatus(Model):
    """What the event bus's controller observes of a world."""

    parked: Annotated[
        tuple[ParkedService, ...], Field(max_length=_MOST_SERVICES, json_schema_extra=_WHOLE)
    ] = ()
    """Services whose events are parked."""


class WorldView(Model):
    """What gateways and the event bus's controller know of the GameWorld of the same name. Written by the operator only; do not edit."""

    metadata: Metadata
    """Object metadata."""
    spec: WorldViewSpec
    """What they know."""
    status: WorldViewStatus | None = None
    """What the event bus's controller observes. Written by it only."""
