"""Worlds that tests start from, and tiers that they see."""

from typing import Any

from gameai_contract.catalogue import CATALOGUE
from gameai_contract.names import CONFIG_KEY
from gameai_devcluster.testing.rendering import decided
from gameai_operator.api.access import Access
from gameai_operator.api.views import KnowledgeView, TierView, config_map_view
from gameai_operator.api.world import GameWorld
from gameai_operator.controller.manifest import Key

UID = "0a1b2c3d-0000-4000-8000-000000000002"
CREATED = "2026-11-22T09:00:00Z"


def view(**facts: Any) -> TierView:
    """A Ready tier that lets everybody in; `facts` replace some."""
    given: dict[str, Any] = {
        "access": Access.model_validate({"from": "All"}),
        "ready": True,
        "reason": "",
        "endpoint": "http://gold.shared.svc:8000",
    }
    return TierView(**(given | facts))


def memory(*readers: tuple[str, str], **facts: Any) -> KnowledgeView:
    """A knowledge base whose memory answers; `facts` replace some."""
    given: dict[str, Any] = {
        "endpoint": "lore-memory.shared.svc:50051",
        "answers": True,
        "reason": "",
        "readers": frozenset(readers),
    }
    return KnowledgeView(**(given | facts))


LORE = Key("KnowledgeBase", "shared", "lore")
GOLD = Key("ModelTier", "shared", "gold")
SILVER = Key("ModelTier", "eldermoor", "silver")
NAMESPACE = Key("Namespace", "", "eldermoor")
ARCHETYPES = Key("ConfigMap", "eldermoor", "eldermoor-archetypes")
GUARDS = """\
version: 1
archetypes:
  guard: {actions: [patrol, flee], defaults: [patrol], cache: {fields: {threat: {step: 10}}}}
"""
HISTORIES = Key("ConfigMap", "eldermoor", "lore-histories")
CHRONICLE = Key("ConfigMap", "eldermoor", "lore-chronicle")
READY_TIERS: dict[Key, Any] = {
    HISTORIES: config_map_view({"data": {"founding.md": "# The founding\n\nIn the year one."}}),
    CHRONICLE: config_map_view({"data": {"year-1.md": "The bridge fell."}}),
    GOLD: view(),
    SILVER: view(endpoint="http://silver.eldermoor.svc:8000"),
    LORE: memory(("eldermoor/eldermoor-world", "eldermoor/eldermoor")),
    NAMESPACE: {},
    ARCHETYPES: config_map_view({"data": {"npcs.yaml": GUARDS}}),
}


def resource(status: Any = None, **spec: Any) -> dict[str, Any]:
    """A GameWorld as the API server gives it; `spec` replaces fields of a small one."""
    small = {
        "clock": {"dayLengthMinutes": 48, "speed": "1", "paused": False},
        "services": [{"name": "weather-manager", "replicas": 1}],
        "state": "Running",
    }
    return {
        "apiVersion": "gameai.dev/v1alpha1",
        "kind": "GameWorld",
        "metadata": {
            "name": "moor",
            "namespace": "eldermoor",
            "uid": UID,
            "generation": 1,
            "resourceVersion": "7",
            "creationTimestamp": CREATED,
        },
        "spec": small | spec,
        "status": status or {"observedGeneration": -1},
    }


DATABASE = {
    "host": "games-rw.databases.svc",
    "database": "games",
    "secretRef": {"name": "games-app"},
    "tls": {"mode": "Require"},
}


def world(**options: Any) -> GameWorld:
    """The same, parsed."""
    return GameWorld.model_validate(resource(**options))


def needs(service: str) -> dict[str, Any]:
    """The part of a world's spec without which a built-in service of it is refused."""
    row = CATALOGUE[service]
    roles = [each.default for each in row.settings.values() if each.kind == "Role"]
    made: dict[str, Any] = {
        "roles": [{"name": each, "tierRef": {"name": "gold"}} for each in roles]
    }
    if row.needs_memory:
        made["knowledgeBaseRef"] = {"name": "lore"}
    if row.needs_database:
        made["database"] = {"external": DATABASE}
    return made


def configuration(**spec: Any) -> str:
    """The configuration as the operator renders it."""
    root = resource(**spec)
    decision = decided(root, references=READY_TIERS)
    document = next(each for each in decision.wanted or () if each["kind"] == "ConfigMap")
    return str(document["data"][CONFIG_KEY])
