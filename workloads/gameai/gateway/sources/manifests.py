"""PURE: tiers and worlds from Kubernetes manifests in a file: the ones that a cluster gets, plus addresses of engines."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from gameai_contract import archetypes
from gameai_contract.archetypes import ArchetypeError
from gameai_contract.inference import FALLBACK_CHAIN
from gameai_contract.lists import objects
from gameai_contract.names import PART_OF

from gameai.gateway.routing.archetypes import NONE, Archetypes
from gameai.gateway.routing.snapshot import Endpoint, RoleView, TierView, View, WorldView
from gameai.gateway.sources import decode

Document = Mapping[str, Any]
_ROLE_FIELDS = ("name", "tierRef", "deadlineMs", "fallback", "deferredTo", "share")
Endpoints = Mapping[str, Sequence[str]]


class ManifestError(ValueError):
    """A manifest cannot be used; the message names the object, the field and the remedy."""


def is_manifests(documents: Sequence[Any]) -> bool:
    """Whether these YAML documents are Kubernetes manifests."""
    return any(isinstance(each, Mapping) and "kind" in each for each in documents)


def parse(documents: Sequence[Any], endpoints: Endpoints) -> View:
    """The view of ModelTiers, GameWorlds and ConfigMaps, also of those in a `kind: List`; other kinds are ignored.

    `endpoints`: addresses (`host:port`) of engines by tier (`namespace/name`). Raises `ManifestError`.
    """
    found = [each for part in documents for each in objects(part) if isinstance(each, Mapping)]
    tiers = {view.key: view for view in _tiers(found, endpoints)}
    unknown = sorted(set(endpoints) - set(tiers))
    if unknown:
        raise ManifestError(
            f"--endpoint {unknown[0]}: the file has no such ModelTier; it has {', '.join(sorted(tiers)) or 'none'}"
        )
    maps = {_key(each): each for each in _of(found, "ConfigMap")}
    worlds = [_world(each, tiers, maps) for each in _of(found, "GameWorld")]
    if not worlds:
        raise ManifestError("the file has no GameWorld: add its manifest")
    return View(tiers=tiers, worlds={each.key: each for each in worlds}, gateways=1)


def _hint(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _of(documents: Iterable[Document], kind: str) -> list[Document]:
    return [each for each in documents if each.get("kind") == kind]


def _key(document: Document) -> str:
    metadata = document.get("metadata") or {}
    if not isinstance(metadata, Mapping) or not metadata.get("name"):
        raise ManifestError(f"{document.get('kind')}: metadata.name is missing")
    return f"{metadata.get('namespace') or 'default'}/{metadata['name']}"


def _tiers(documents: Iterable[Document], endpoints: Endpoints) -> Iterable[TierView]:
    for document in _of(documents, "ModelTier"):
        key = _key(document)
        space, _, name = key.partition("/")
        named = {**document, "metadata": {"namespace": space, "name": name}}
        try:
            found = decode.tier(named)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ManifestError(f"ModelTier {key}: spec.class is missing or invalid") from error
        if found is None:
            raise ManifestError(f"ModelTier {key}: spec.class must be Gold, Silver or Bronze")
        addresses = tuple(Endpoint(address=each) for each in endpoints.get(key, ()))
        yield replace(found.view, endpoints=addresses)


def _world(
    document: Document, tiers: Mapping[str, TierView], maps: Mapping[str, Document]
) -> WorldView:
    key = _key(document)
    space = key.partition("/")[0]
    spec = document.get("spec") or {}
    try:
        roles = [_role(key, space, each, tiers) for each in spec.get("roles") or ()]
        callers = [f"{each['namespace']}/{each['serviceAccount']}" for each in spec.get("callers") or ()]  # fmt: skip
    except ManifestError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ManifestError(
            f"GameWorld {key}: roles and callers must be as `kubectl explain gworld.spec` shows them: {error}"
        ) from error
    return WorldView(
        key=key,
        epoch="1",
        roles={each.name: each for each in roles},
        archetypes=_archetypes(key, space, spec, maps),
        callers=frozenset(callers),
    )


def _check_fields(world: str, given: Document) -> None:
    """Raises `ManifestError` for a field that a role does not have, and for one that it needs."""
    where = f"GameWorld {world}: role {given.get('name', '')}"
    strange = next((each for each in given if each not in _ROLE_FIELDS), None)
    if strange is not None:
        raise ManifestError(
            f"{where}: {strange} is not a field ({', '.join(_ROLE_FIELDS)}){_hint(strange, _ROLE_FIELDS)}"
        )
    reference = given.get("tierRef")
    if not given.get("name") or not isinstance(reference, Mapping) or not reference.get("name"):
        raise ManifestError(f"{where}: name and tierRef: {{name: …}} must be set")


def _role(world: str, space: str, given: Document, tiers: Mapping[str, TierView]) -> RoleView:
    _check_fields(world, given)
    reference = given["tierRef"]
    name = f"{reference.get('namespace') or space}/{reference['name']}"
    tier = tiers.get(name)
    if tier is None:
        raise ManifestError(
            f"GameWorld {world}: role {given['name']}: tier {name} does not exist: add its ModelTier to the file{_hint(name, tiers)}"
        )
    share = given.get("share") or {}
    fallback = given.get("fallback", [each.value for each in FALLBACK_CHAIN])
    view = {
        "name": given["name"],
        "namespace": reference.get("namespace") or space,
        "tier": reference["name"],
        "deadlineMs": given.get("deadlineMs") or tier.target_ms,
        "fallback": fallback,
        "deferredTo": given.get("deferredTo", ""),
        "weight": share.get("weight", 1),
        "maxInFlight": share.get("maxInFlight", 64),
    }
    return decode.role(view)


def _archetypes(world: str, space: str, spec: Document, maps: Mapping[str, Document]) -> Archetypes:
    given = spec.get("archetypes")
    if not given:
        return NONE
    name = f"{space}/{given['configMap']['name']}"
    if name not in maps:
        raise ManifestError(
            f"GameWorld {world}: spec.archetypes: ConfigMap {name} does not exist: add it to the file"
        )
    labels = (maps[name].get("metadata") or {}).get("labels") or {}
    if PART_OF.items() - labels.items():
        raise ManifestError(
            f"ConfigMap {name}: the label app.kubernetes.io/part-of: gameai is missing; the operator reads no other"
        )
    try:
        return Archetypes(archetypes.parse(maps[name].get("data") or {}))
    except ArchetypeError as error:
        raise ManifestError(f"ConfigMap {name}: {error}") from error
