"""PURE: the tiers behind a world's roles, as far as this world may see them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gameai_contract.settings import nearest

from gameai_operator.api.views import TierView
from gameai_operator.api.world import GameWorld, Role
from gameai_operator.controller.manifest import Key

NOT_PERMITTED = "RefNotPermitted"
MISSING = "TierMissing"
NOT_READY = "TierNotReady"


@dataclass(frozen=True, kw_only=True, slots=True)
class RoleSight:
    """A role and its tier: `endpoint` is empty where the tier may not be used, `reason` where nothing is wrong."""

    role: str
    tier: Key
    endpoint: str = ""
    reason: str = ""
    message: str = ""
    cost_per_hour: str = ""


def refers(root: Mapping[str, Any]) -> tuple[Key, ...]:
    """The tiers that a world's roles name, and the world's namespace where its labels may open a foreign tier."""
    own = root["metadata"]["namespace"]
    references = [role["tierRef"] for role in root["spec"].get("roles", ())]
    tiers = [Key("ModelTier", each.get("namespace") or own, each["name"]) for each in references]
    foreign = any(each.namespace != own for each in tiers)
    return (*tiers, *([namespace_key(own)] if foreign else []))


def namespace_key(name: str) -> Key:
    """The key of a namespace."""
    return Key("Namespace", "", name)


def sights(
    world: GameWorld,
    references: Mapping[Key, Any],
    neighbours: Callable[[], tuple[Key, ...]] = tuple,
) -> tuple[RoleSight, ...]:
    """Every role as it stands; `neighbours` finds objects of the world's namespace, for a hint at a misspelt name."""
    own = world.metadata.namespace
    return tuple(_observe(role, own, neighbours, references) for role in world.spec.roles)


def _observe(
    role: Role,
    own: str,
    neighbours: Callable[[], tuple[Key, ...]],
    references: Mapping[Key, Any],
) -> RoleSight:
    labels: Mapping[str, str] | None = references.get(namespace_key(own))
    tier = Key("ModelTier", role.tier_ref.namespace or own, role.tier_ref.name)
    view: TierView | None = references.get(tier)
    said = f"role {role.name}: tier {tier.namespace}/{tier.name}"
    if tier.namespace != own and (
        view is None or not view.access.permits(tier.namespace, own, labels)
    ):
        # A missing tier and one that keeps this namespace out read the same: names in other namespaces are not disclosed.
        message = (
            f"{said} does not exist or does not allow namespace {own}: "
            "ask its owner to set spec.access, or change tierRef"
        )
        return RoleSight(role=role.name, tier=tier, reason=NOT_PERMITTED, message=message)
    if view is None:
        names = [each.name for each in neighbours() if each.kind == "ModelTier"]
        message = f"{said} does not exist{nearest(tier.name, names)}: create it, or change tierRef"
        return RoleSight(role=role.name, tier=tier, reason=MISSING, message=message)
    if not view.ready:
        message = f"{said} is not ready ({view.reason})"
        return RoleSight(
            role=role.name,
            tier=tier,
            endpoint=view.endpoint,
            reason=NOT_READY,
            message=message,
            cost_per_hour=view.cost_per_hour,
        )
    return RoleSight(
        role=role.name, tier=tier, endpoint=view.endpoint, cost_per_hour=view.cost_per_hour
    )


def worst(roles: Sequence[RoleSight]) -> RoleSight | None:
    """The role that most needs somebody: refused before missing before not ready; None if all is well."""
    order = (NOT_PERMITTED, MISSING, NOT_READY)
    faulty = [each for each in roles if each.reason]
    return min(faulty, key=lambda each: order.index(each.reason), default=None)
