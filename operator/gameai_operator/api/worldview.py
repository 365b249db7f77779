"""PURE: the types of WorldView, by which the operator tells gateways about a world. Only the operator may write it."""

from typing import Annotated

from gameai_contract.inference import MOST_DEADLINE_MS, MOST_IN_FLIGHT, MOST_ROLES, MOST_WEIGHT
from pydantic import Field

from gameai_operator.api.base import Metadata, Model, Text

# Documents have 128 KiB; with every default written out they are longer.
_MOST_ARCHETYPES = 512 << 10
# Those that a world names, its own, and those of its services.
_MOST_CALLERS = 64 + 1 + 32
# No list is merged with what somebody else wrote into it.
_WHOLE = {"x-kubernetes-list-type": "atomic"}
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
    """Whether the tier is there and lets this world's namespace in."""
    deadline_ms: Annotated[int, Field(ge=0, le=MOST_DEADLINE_MS)] = 0
    """Time that an answer may take, in milliseconds; 0: the tier's target."""
    deferred_to: Annotated[str, Field(max_length=63)] = ""
    """Role that gives a better answer later; empty: none."""
    fallback: Annotated[tuple[Text, ...], Field(max_length=8)] = ()
    """What is tried, in this order, when the engine has no answer in time."""
    weight: Annotated[int, Field(ge=1, le=MOST_WEIGHT)] = 1
    """Share of the world's part of a full tier."""
    max_in_flight: Annotated[int, Field(ge=1, le=MOST_IN_FLIGHT)] = 64
    """Requests of this role at the engine at once, in each gateway."""


class WorldViewSpec(Model):
    """What gateways serve of a world."""

    world: Text
    """UID of the GameWorld. Another one means that what was cached no longer holds."""
    roles: Annotated[
        tuple[RoleView, ...], Field(max_length=MOST_ROLES, json_schema_extra=_WHOLE)
    ] = ()
    """Every role, with its tier."""
    callers: Annotated[
        tuple[Account, ...], Field(max_length=_MOST_CALLERS, json_schema_extra=_WHOLE)
    ] = ()
    """Accounts that may ask for this world, as namespace/name or namespace/name@uid."""
    archetypes: Annotated[str, Field(max_length=_MOST_ARCHETYPES)] = ""
    """The archetypes that were last right, as one JSON document; empty: none."""


class WorldView(Model):
    """What the operator tells gateways about the GameWorld of this name. Written by the operator alone; do not edit."""

    metadata: Metadata
    """Names."""
    spec: WorldViewSpec
    """What gateways serve."""
