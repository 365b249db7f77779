"""Decisions about worlds from made-up observations."""

import datetime
from typing import Any

from gameai_devcluster.testing.rendering import NOW, decided
from gameai_operator.controller.conditions import Condition
from gameai_operator.controller.kind import Decision
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.plan import Child
from gameai_operator.controller.pod_facts import Pod
from gameai_operator.resources.deployment import TEMPLATE_HASH, Deployment
from gameai_operator.settings import Settings

from support import tiers, worlds

ROLES = [{"name": "dialogue", "tierRef": {"name": "silver"}}]
FOREIGN = [{"name": "reaction", "tierRef": {"name": "gold", "namespace": "shared"}}]
IMAGE = Settings().workloads_image


def children(root: dict[str, Any], **facts: Any) -> dict[Key, Child]:
    """The Deployments that the world wants, complete; `facts` replace some."""
    found = {}
    used = root["status"].get("workloadsImage", IMAGE)
    rendered = decided(root, Settings(workloads_image=used), references=worlds.READY_TIERS)
    for document in rendered.wanted:
        if document["kind"] != "Deployment":
            continue
        name = document["metadata"]["name"]
        replicas = rendered.replicas[Key("Deployment", "eldermoor", name)]
        given: dict[str, Any] = {
            "wanted": replicas,
            "asked": replicas,
            "apart": True,
            "replicas": replicas,
            "updated": replicas,
            "ready": replicas,
            "remembered": {TEMPLATE_HASH: document["metadata"]["annotations"][TEMPLATE_HASH]},
        }
        live: Deployment = tiers.deployment(**(given | facts))
        found[Key("Deployment", "eldermoor", name)] = child(name, "Deployment", live)
    return found


def child(name: str, kind: str, facts: Any) -> Child:
    return Child(
        key=Key(kind, "eldermoor", name),
        uid="u",
        version=1,
        owner=None,
        terminating=False,
        manifest_hash="",
        intact=True,
        facts=facts,
    )


def status_conditions(
    conditions: tuple[Condition, ...], *, ago: float = 0.0
) -> list[dict[str, Any]]:
    """Conditions as status has them, all of them `ago` seconds old."""
    since = (NOW - datetime.timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [
        {
            "type": each.type,
            "status": each.word,
            "reason": each.reason,
            "message": each.message,
            "lastTransitionTime": since,
        }
        for each in conditions
    ]


def see(
    *pods: Pod,
    facts: dict[str, Any] | None = None,
    references: dict[Key, Any] | None = None,
    status: Any = None,
    seen: dict[str, Any] | None = None,
    settings: Settings | None = None,
    **spec: Any,
) -> Decision:
    root = worlds.resource(status=status, **spec)
    below = children(root, **(facts or {}))
    known = worlds.READY_TIERS if references is None else references
    given: dict[str, Any] = {"pods": pods, "children": below, "references": known}
    return decided(root, settings, **(given | (seen or {})))


def said(decision: Decision, kind: str = "Ready") -> Condition:
    return next(each for each in decision.conditions if each.type == kind)


NEW = Settings(workloads_image="gameai-workloads:9")
OLD: dict[str, Any] = {"workloadsImage": IMAGE, "templateRevision": 1}
BEGUN: dict[str, Any] = {"workloadsImage": "gameai-workloads:9", "templateRevision": 1}
