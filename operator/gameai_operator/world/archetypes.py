"""PURE: a world's archetypes: what its user wrote, and what is handed on of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gameai_contract.names import PART_OF, archetypes_name, selector

from gameai_operator.api.base import ConditionStatus
from gameai_operator.api.views import ConfigMapView
from gameai_operator.api.world import GameWorld
from gameai_operator.controller.conditions import Condition
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.references import Unread

CONDITION = "ArchetypesValid"
_LABEL = selector(PART_OF)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchetypesSight:
    """The document to hand on, empty if absent; `reason` and `message` are the condition's.

    `valid` is None while it is being read for the first time; while it is being read `pending`, nothing changes.
    """

    valid: bool | None
    pending: bool = False
    reason: str
    message: str = ""
    document: str = ""


def named(root: Mapping[str, Any]) -> Key | None:
    """The ConfigMap that a world names."""
    given = root["spec"].get("archetypes")
    if not given:
        return None
    return Key("ConfigMap", root["metadata"]["namespace"], given["configMap"]["name"])


def handed_on(world: GameWorld) -> Key:
    """The ConfigMap that the gateway reads: what was last right of the user's."""
    name = archetypes_name(world.metadata.name)
    return Key("ConfigMap", world.metadata.namespace, name)


def observed(world: GameWorld, references: Mapping[Key, Any], shown: str) -> ArchetypesSight:
    """A world's archetypes as they stand; `shown` is the document that gateways have."""
    if world.spec.archetypes is None:
        return ArchetypesSight(valid=True, reason="NoArchetypes")
    name = world.spec.archetypes.config_map.name
    key = Key("ConfigMap", world.metadata.namespace, name)
    view: ConfigMapView | Unread | None = references.get(key)
    if isinstance(view, Unread):
        return _pending(world)
    if view is None:
        message = (
            f"ConfigMap {name} does not exist in this namespace, or its label is missing: "
            f"kubectl --namespace {key.namespace} label configmap {name} {_LABEL}"
        )
        return ArchetypesSight(valid=False, reason="ArchetypesMissing", message=message)
    if view.reason:
        stays = (
            "the last valid version stays in use"
            if shown
            else "the world has no archetypes until then"
        )
        message = f"ConfigMap {name}: {view.fault}; {stays}"
        return ArchetypesSight(valid=False, reason=view.reason, message=message)
    return ArchetypesSight(valid=True, reason="ArchetypesRead", document=view.document)


def _pending(world: GameWorld) -> ArchetypesSight:
    """What was said before stays until it is read; of a new world nothing is known."""
    for each in world.status.conditions:
        if each.type == CONDITION and each.status is not ConditionStatus.UNKNOWN:
            valid = each.status is ConditionStatus.TRUE
            return ArchetypesSight(
                valid=valid, reason=each.reason, message=each.message, pending=True
            )
    return ArchetypesSight(valid=None, reason="ArchetypesReading", pending=True)


def condition(seen: ArchetypesSight) -> Condition:
    """`ArchetypesValid`."""
    return Condition(type=CONDITION, status=seen.valid, reason=seen.reason, message=seen.message)
