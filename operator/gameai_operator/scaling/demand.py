"""PURE: which worlds, and so which players, a tier serves."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from gameai_operator.api.access import Access
from gameai_operator.api.world import GameWorld, PlayersSource, WorldState


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """Worlds that run and use a tier.

    `expected` players, `maximum` players where there is a limit, and the `sources` of numbers, each by world.
    """

    worlds: tuple[str, ...] = ()
    expected: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    maximum: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    sources: Mapping[str, PlayersSource] = field(default_factory=lambda: MappingProxyType({}))


def demands(
    roots: Iterable[Mapping[str, Any] | None],
    access: Mapping[str, Access],
    labels: Callable[[str], Mapping[str, str] | None],
) -> dict[str, Demand]:
    """The demand of each tier (`namespace/name`) by the worlds that may use it.

    `access` is that of the tiers that are scaled, `labels` are those of a namespace, None where they are not known: a world that a
    tier does not admit asks for nothing there.
    """
    found: dict[str, list[GameWorld]] = {}
    worlds = filter(None, map(_read, roots))
    for world in (each for each in worlds if each.spec.state is WorldState.RUNNING):
        named = {_tier(world, role.tier_ref) for role in world.spec.roles} & access.keys()
        for tier in named:
            if _admits(tier, access[tier], world, labels):
                found.setdefault(tier, []).append(world)
    return {tier: _demand(worlds) for tier, worlds in found.items()}


def _read(root: Mapping[str, Any] | None) -> GameWorld | None:
    """A world as a typed value; None where it is gone or cannot be read, which must not end the decisions of others."""
    try:
        return None if root is None else GameWorld.model_validate(root)
    except ValidationError:
        return None


def _admits(
    tier: str,
    access: Access,
    world: GameWorld,
    labels: Callable[[str], Mapping[str, str] | None],
) -> bool:
    other = world.metadata.namespace
    return access.permits(tier.partition("/")[0], other, labels(other))


def _tier(world: GameWorld, reference: Any) -> str:
    return f"{reference.namespace or world.metadata.namespace}/{reference.name}"


def _demand(worlds: list[GameWorld]) -> Demand:
    keys = {f"{each.metadata.namespace}/{each.metadata.name}": each.spec.players for each in worlds}
    return Demand(
        worlds=tuple(sorted(keys)),
        expected={key: each.expected for key, each in keys.items() if each},
        maximum={key: each.maximum for key, each in keys.items() if each and each.maximum},
        sources={key: each.source for key, each in keys.items() if each and each.source},
    )
