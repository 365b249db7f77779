"""PURE: what the gateway reads off objects of a cluster, and the view that all of it makes."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gameai_contract.inference import (
    DEFAULT_CONTEXT_TOKENS,
    MOST_DEADLINE_MS,
    MOST_IN_FLIGHT,
    MOST_WEIGHT,
    TARGETS_MS,
    FallbackStep,
    LatencyClass,
    slots,
)
from gameai_contract.names import TIER_LABEL

from gameai.cluster.world_views import is_current
from gameai.gateway.routing.archetypes import NONE, OVER_BUDGET, Archetypes, Library, within_budget
from gameai.gateway.routing.snapshot import Endpoint, RoleView, TierView, View, WorldView

Object = Mapping[str, Any]
# Of a tier of which nothing is known but that a role names it.
_UNKNOWN_CLASS = LatencyClass.SILVER
_ABSENT = " (not available)"
# The port of a tier's Service.
_HTTP = "http"
_SERVICE_LABEL = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class Replica:
    """A pod of a tier that may be called."""

    tier: str
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class TierFound:
    """A tier without its replicas; `closed` to worlds of all other namespaces."""

    view: TierView
    closed: bool


@dataclass(frozen=True, slots=True)
class WorldFound:
    """A world without its archetypes, and those; `open` are the roles whose tier may be used."""

    view: WorldView
    open: frozenset[str]
    archetypes: Archetypes


def replicas(slice_: Object) -> tuple[Replica, ...]:
    """The replicas of a slice of a tier's Service: those that are ready and not ending."""
    metadata = slice_["metadata"]
    name = metadata.get("labels", {}).get(TIER_LABEL)
    port = next(
        (each.get("port") for each in slice_.get("ports") or () if each.get("name") == _HTTP), None
    )
    if not (name and port) or metadata["labels"].get(_SERVICE_LABEL) != name:
        return ()
    return tuple(
        Replica(
            f"{metadata['namespace']}/{name}",
            Endpoint(
                address=f"{f'[{address}]' if ':' in address else address}:{port}",
                revision=_revision(endpoint),
            ),
        )
        for endpoint in slice_.get("endpoints") or ()
        if _answers(endpoint.get("conditions", {}))
        for address in endpoint["addresses"]
    )


def _answers(conditions: Mapping[str, Any]) -> bool:
    return conditions.get("ready") is not False and not conditions.get("terminating")


def _revision(endpoint: Mapping[str, Any]) -> str:
    """Stands for what a pod was made of: the name of its ReplicaSet, which its own name begins with.

    Pods of the same model in different ReplicaSets share no answers; more is not known without reading pods.
    """
    pod: str = endpoint.get("targetRef", {}).get("name", "")
    return pod.rpartition("-")[0]


def tier(document: Object) -> TierFound | None:
    """A ModelTier, without its replicas; None for one of a class that this gateway does not know."""
    metadata, spec = document["metadata"], document["spec"]
    if spec["class"] not in set(LatencyClass):
        return None
    tier_class = LatencyClass(spec["class"])
    engine = spec.get("engine", {})
    elsewhere = engine.get("external")
    arguments = engine.get("vllm", {}).get("args") or ()
    view = TierView(
        key=f"{metadata['namespace']}/{metadata['name']}",
        tier_class=tier_class,
        # As the operator serves it: always the tier's name.
        model=metadata["name"],
        target_ms=spec.get("latency", {}).get("targetMs") or TARGETS_MS[tier_class],
        slots=elsewhere["maxConcurrentRequests"] if elsewhere else slots(arguments),
        context_tokens=(elsewhere or spec.get("model", {})).get("maxContextTokens")
        or DEFAULT_CONTEXT_TOKENS,
    )
    return TierFound(view, closed=spec.get("access", {}).get("from", "Same") == "Same")


def world(document: Object, library: Library) -> WorldFound | None:
    """The content of a WorldView; None if it is being deleted, or is not owned by its GameWorld.

    Raises `ValueError`, `KeyError`, `TypeError` or `AttributeError` where it cannot be read.
    """
    metadata, spec = document["metadata"], document["spec"]
    if not is_current(document):
        return None
    roles = {each["name"]: role(each) for each in spec.get("roles") or ()}
    view = WorldView(
        key=f"{metadata['namespace']}/{metadata['name']}",
        # A world of the same name that comes later is another one.
        epoch=spec["world"],
        roles=roles,
        callers=frozenset(map(str, spec.get("callers") or ())),
    )
    text = spec.get("archetypes")
    return WorldFound(
        view,
        open=frozenset(each["name"] for each in spec.get("roles") or () if each.get("admitted")),
        archetypes=library.read(metadata["namespace"], text) if text else NONE,
    )


def ready_addresses(slice_: Object) -> tuple[str, ...]:
    """The ready addresses of a slice of a Service."""
    return tuple(
        address
        for endpoint in slice_.get("endpoints") or ()
        if endpoint.get("conditions", {}).get("ready") is not False
        for address in endpoint["addresses"]
    )


class Assembly:
    """Makes views. A world that stays as it is stays the same object: with a thousand worlds, computing all again takes 50 ms."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[tuple[object, ...], WorldView]] = {}
        self._absent: dict[str, TierView] = {}
        self.over_budget: frozenset[str] = frozenset()

    def view(
        self,
        tiers: Iterable[TierFound],
        replicas: Iterable[Replica],
        found: Iterable[WorldFound],
        gateways: int,
    ) -> View:
        """The whole view. A role without a deadline has the target of its tier. A role without a usable tier keeps its fallback steps."""
        endpoints: dict[str, list[Endpoint]] = {}
        for each in replicas:
            endpoints.setdefault(each.tier, []).append(each.endpoint)
        known = {each.view.key: each for each in tiers}
        worlds = {each.view.key: each for each in found}
        archetypes = {
            key: each.archetypes for key, each in worlds.items() if each.archetypes is not NONE
        }
        kept = within_budget(archetypes)
        self.over_budget = frozenset(archetypes) - kept
        archetypes |= dict.fromkeys(self.over_budget, OVER_BUDGET)
        made = {
            key: self._world(each, archetypes.get(key, NONE), known) for key, each in worlds.items()
        }
        self._made = {key: each for key, each in self._made.items() if key in made}
        named = {role.tier for world in made.values() for role in world.roles.values()}
        # Those that do not exist are the same in each view.
        self._absent = {
            key: self._absent.get(key) or _absent(key)
            for key in named - set(known)
            if key.removesuffix(_ABSENT) not in known
        }
        closed = {
            key: replace(known[key.removesuffix(_ABSENT)].view, key=key)
            for key in named - set(known) - set(self._absent)
        }
        with_pods = {key: _with(each.view, endpoints.get(key, ())) for key, each in known.items()}
        return View(tiers=with_pods | self._absent | closed, worlds=made, gateways=max(1, gateways))

    def _world(
        self,
        found: WorldFound,
        archetypes: Archetypes,
        known: Mapping[str, TierFound],
    ) -> WorldView:
        tiers = tuple(known.get(role.tier) for role in found.view.roles.values())
        parts = (found, archetypes, *tiers)
        before = self._made.get(found.view.key)
        if before is not None and all(map(operator.is_, before[0], parts)):
            return before[1]
        space = found.view.key.partition("/")[0]
        roles = {
            name: _role(role, tier, usable=name in found.open and _lets_in(tier, space))
            for (name, role), tier in zip(found.view.roles.items(), tiers, strict=True)
        }
        made = replace(found.view, archetypes=archetypes, roles=roles)
        self._made[found.view.key] = parts, made
        return made


def _lets_in(tier: "TierFound | None", space: str) -> bool:
    """Whether a tier may be used from a namespace.

    The operator checks this too; the tier itself is seen sooner. Only the operator can evaluate a selector,
    because gateways do not read namespaces.
    """
    if tier is None:
        return False
    return not tier.closed or tier.view.key.partition("/")[0] == space


def _role(role: RoleView, tier: TierFound | None, *, usable: bool) -> RoleView:
    target = tier.view.target_ms if tier else TARGETS_MS[_UNKNOWN_CLASS]
    return replace(
        role,
        deadline_ms=role.deadline_ms or target,
        tier=role.tier if usable else f"{role.tier}{_ABSENT}",
    )


def _absent(key: str) -> TierView:
    """A tier that does not exist: it has no replicas."""
    return TierView(
        key=key,
        tier_class=_UNKNOWN_CLASS,
        model="",
        target_ms=TARGETS_MS[_UNKNOWN_CLASS],
        slots=1,
        context_tokens=DEFAULT_CONTEXT_TOKENS,
    )


def _with(view: TierView, endpoints: Sequence[Endpoint]) -> TierView:
    # A pod may stand in two slices for a moment.
    once = {each.address: each for each in endpoints}
    return replace(view, endpoints=tuple(once[each] for each in sorted(once)))


def role(given: Mapping[str, Any]) -> RoleView:
    """A role of a WorldView. Unknown fallback steps are ignored, as a newer operator may publish them."""
    known = set(FallbackStep)
    return RoleView(
        name=given["name"],
        tier=f"{given['namespace']}/{given['tier']}",
        deadline_ms=_whole(given, "deadlineMs", 0, least=0, most=MOST_DEADLINE_MS),
        fallback_chain=tuple(
            FallbackStep(each) for each in given.get("fallback") or () if each in known
        ),
        deferred_to=str(given.get("deferredTo", "")),
        weight=_whole(given, "weight", 1, least=1, most=MOST_WEIGHT),
        most_in_flight=_whole(given, "maxInFlight", 64, least=1, most=MOST_IN_FLIGHT),
    )


def _whole(given: Mapping[str, Any], name: str, default: int, *, least: int, most: int) -> int:
    """A number as the operator writes it. Raises `ValueError`."""
    value = given.get(name, default)
    if not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{name} must be from {least} to {most}")
    return value
