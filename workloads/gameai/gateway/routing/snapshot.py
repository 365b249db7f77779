"""PURE: all that the gateway knows of tiers and worlds, as one frozen picture."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gameai_contract.inference import FALLBACK_CHAIN, FallbackStep, LatencyClass

from gameai.gateway.routing.archetypes import NONE, Archetypes


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """A replica that is ready and not terminating: `host:port`, and the revision of its model."""

    address: str
    revision: str = ""


ABSENT = "absent"


@dataclass(frozen=True, kw_only=True, slots=True)
class TierView:
    """A tier; `slots` are those of one replica, before they are divided among gateways."""

    key: str
    tier_class: LatencyClass
    model: str
    target_ms: int
    slots: int
    context_tokens: int
    endpoints: tuple[Endpoint, ...] = ()

    @property
    def label(self) -> str:
        """Its label in metrics. All tiers that do not exist share one label, because clients could invent any number of names."""
        return self.key if self.model else ABSENT


@dataclass(frozen=True, kw_only=True, slots=True)
class RoleView:
    """A role of a world: the key of its tier, its default deadline, its fallback chain and its share."""

    name: str
    tier: str
    deadline_ms: int
    fallback_chain: tuple[FallbackStep, ...] = FALLBACK_CHAIN
    deferred_to: str = ""
    weight: int = 1
    most_in_flight: int = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldView:
    """A world; `epoch` changes when what was cached of it no longer holds. `callers` are `namespace/account` or `namespace/account@uid`."""

    key: str
    epoch: str
    roles: Mapping[str, RoleView]
    archetypes: Archetypes = field(default_factory=lambda: NONE)
    callers: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """Tiers and worlds by `namespace/name`, and how many gateways share them."""

    tiers: Mapping[str, TierView] = field(default_factory=dict)
    worlds: Mapping[str, WorldView] = field(default_factory=dict)
    gateways: int = 1
    _by_caller: Mapping[str, list[WorldView]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Callers are looked up for each frame."""
        found: dict[str, list[WorldView]] = {}
        for world in self.worlds.values():
            for caller in world.callers:
                found.setdefault(caller, []).append(world)
        object.__setattr__(self, "_by_caller", found)

    def worlds_of(self, caller: str, uid: str = "") -> list[WorldView]:
        """Worlds that a caller speaks for, as any account of its name or as the one of this UID."""
        mine = self._by_caller.get(caller, [])
        only = self._by_caller.get(f"{caller}@{uid}") if uid else None
        if not only:
            return mine
        known = {each.key for each in mine}
        return [*mine, *(each for each in only if each.key not in known)]
