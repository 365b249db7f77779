"""PURE: the configuration object of a world: what its services read, mounted and hot-reloaded."""

import json
from collections.abc import Sequence
from typing import Any

from gameai import contract
from gameai.worldtime import Anchor

from gameai_operator.api.world import GameWorld
from gameai_operator.world.catalogue import Effective, seed
from gameai_operator.world.tiers import RoleSight


def endpoint(world: GameWorld, service: Effective) -> str:
    """Where a service answers inside the cluster."""
    return f"{world.metadata.name}-{service.name}.{world.metadata.namespace}.svc:{service.port}"


def configuration(
    world: GameWorld,
    services: Sequence[Effective],
    roles: Sequence[RoleSight],
    anchors: Sequence[Anchor],
) -> str:
    """The document as text; equal inputs give equal text."""
    chance = seed(world)
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
            }
            for each in roles
        },
        "services": {
            each.name: {
                "endpoint": endpoint(world, each),
                "settings": dict(each.settings),
                "settingsHash": contract.settings_hash(chance, each.settings),
            }
            for each in services
        },
    }
    return json.dumps(document, indent=1, sort_keys=True) + "\n"
