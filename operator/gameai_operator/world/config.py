"""PURE: the configuration object of a world: what its services read, mounted and hot-reloaded."""

import json
from collections.abc import Sequence
from typing import Any

from gameai_contract.settings import settings_hash
from gameai_contract.world_time import Anchor

from gameai_operator.api.world import GameWorld, Role
from gameai_operator.world.catalogue import Effective, seed
from gameai_operator.world.knowledge import KnowledgeSight, on_the_bus
from gameai_operator.world.roles import RoleSight


def endpoint(world: GameWorld, service: Effective) -> str:
    """Where a service answers inside the cluster."""
    return f"{world.metadata.name}-{service.name}.{world.metadata.namespace}.svc:{service.port}"


def configuration(
    world: GameWorld,
    services: Sequence[Effective],
    roles: Sequence[RoleSight],
    anchors: Sequence[Anchor],
    gateway: str = "",
    knowledge: KnowledgeSight | None = None,
    bus: str = "",
) -> str:
    """The document as text; equal inputs give equal text. `gateway` and `bus` are where these are, empty: there is none."""
    chance = seed(world)
    answering = {each.name: _answering(each) for each in world.spec.roles}
    document: dict[str, Any] = {
        "world": world.metadata.name,
        "namespace": world.metadata.namespace,
        "seed": chance,
        "clock": {"anchors": [each.document() for each in anchors]},
        "roles": {
            each.role: {
                "tier": each.tier.name,
                "namespace": each.tier.namespace,
                "endpoint": each.endpoint,
                **answering[each.role],
            }
            for each in roles
        },
        **({"gateway": {"endpoint": gateway}} if gateway else {}),
        **({"memory": {"endpoint": knowledge.endpoint}} if knowledge else {}),
        **({"bus": _bus(world, knowledge, bus)} if bus else {}),
        # Who may ask the gateway for this world, beside its own account.
        "callers": sorted(each.account for each in world.spec.callers),
        "services": {
            each.name: {
                "endpoint": endpoint(world, each),
                "settings": dict(each.settings),
                "settingsHash": settings_hash(chance, each.settings),
                **({"consumes": list(each.service.consumes)} if each.service.consumes else {}),
            }
            for each in services
        },
    }
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def _bus(world: GameWorld, knowledge: KnowledgeSight | None, endpoint: str) -> dict[str, str]:
    """The bus, and the identity of the world there, as the WorldView says it."""
    return {"endpoint": endpoint, "world": world.metadata.uid, **on_the_bus(knowledge)}


def _answering(role: Role) -> dict[str, Any]:
    """How the gateway answers for a role; without a deadline it has its tier's."""
    return {
        **({"deadlineMs": role.deadline_ms} if role.deadline_ms else {}),
        **({"deferredTo": role.deferred_to} if role.deferred_to else {}),
        "fallback": [step.value for step in role.fallback],
        "share": role.share.model_dump(by_alias=True),
    }
