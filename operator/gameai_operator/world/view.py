"""PURE: the WorldView of a world: what the operator publishes about it to gateways and to the bus's controller."""

from collections.abc import Sequence
from typing import Any

from gameai_operator.api.base import API_VERSION
from gameai_operator.api.service import GameService
from gameai_operator.api.world import GameWorld, Role
from gameai_operator.world.knowledge import KnowledgeSight, on_the_bus
from gameai_operator.world.roles import MISSING, NOT_PERMITTED, RoleSight
from gameai_operator.world.template import config_name

KIND = "WorldView"


def view(
    world: GameWorld,
    roles: Sequence[RoleSight],
    archetypes: str,
    knowledge: KnowledgeSight | None,
    metadata: dict[str, Any],
) -> dict[str, Any]:
    """The manifest; `archetypes` is the last valid document, empty if there is none."""
    given = {each.name: each for each in world.spec.roles}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata,
        "spec": {
            "world": world.metadata.uid,
            **({"roles": [_role(given[each.role], each) for each in roles]} if roles else {}),
            "callers": _callers(world),
            **({"archetypes": archetypes} if archetypes else {}),
            **({"bus": _bus(world, knowledge)} if world.spec.services else {}),
        },
    }


def _callers(world: GameWorld) -> list[str]:
    """Those that the world names, and the accounts under which its services run."""
    accounts = {config_name(world), *(each.service_account_name for each in world.spec.services)}
    own = {f"{world.metadata.namespace}/{name}" for name in accounts if name}
    return sorted({*own, *(each.account for each in world.spec.callers)})


def _bus(world: GameWorld, knowledge: KnowledgeSight | None) -> dict[str, Any]:
    """The accounts under which its services run, and the knowledge base if the world may use it."""
    accounts: dict[str, list[GameService]] = {}
    for each in world.spec.services:
        accounts.setdefault(each.service_account_name or config_name(world), []).append(each)
    return {
        **on_the_bus(knowledge),
        "accounts": [_account(name, accounts[name]) for name in sorted(accounts)],
    }


def _account(name: str, services: Sequence[GameService]) -> dict[str, Any]:
    """An account, its services, and those of them that consume events."""
    consumers = [
        {"name": each.name, "services": list(each.consumes)} for each in services if each.consumes
    ]
    return {
        "name": name,
        "services": [each.name for each in services],
        **({"consumers": consumers} if consumers else {}),
    }


def _role(role: Role, seen: RoleSight) -> dict[str, Any]:
    """Without a deadline a role has its tier's; without `fallback` nothing but the engine answers."""
    return {
        "name": role.name,
        "namespace": seen.tier.namespace,
        "tier": seen.tier.name,
        "admitted": seen.reason not in (NOT_PERMITTED, MISSING),
        **({"deadlineMs": role.deadline_ms} if role.deadline_ms else {}),
        **({"deferredTo": role.deferred_to} if role.deferred_to else {}),
        **({"fallback": [step.value for step in role.fallback]} if role.fallback else {}),
        "weight": role.share.weight,
        "maxInFlight": role.share.max_in_flight,
    }
