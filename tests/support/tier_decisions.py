"""Decisions about tiers from made-up observations."""

from typing import Any

from gameai_devcluster.testing.rendering import NOW
from gameai_operator.api.tier import ModelTier
from gameai_operator.controller.conditions import Condition
from gameai_operator.controller.kind import Decision, Observed, RejectedWrite
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.plan import Child
from gameai_operator.controller.pod_facts import Pod
from gameai_operator.settings import NetworkSettings
from gameai_operator.tier.decide import decide
from gameai_operator.tier.objects import Live, deployments

from support import tiers


def a_pod(**facts: Any) -> Pod:
    given: dict[str, Any] = {
        "namespace": "eldermoor",
        "name": "p",
        "uid": "u",
        "group": "on-demand",
        "ready": False,
        "terminating": False,
        "force_delete": False,
    }
    return Pod(**(given | facts))


def children(root: dict[str, Any], **facts: Any) -> dict[Key, Child]:
    """The Deployments that this tier renders, complete, with some facts replaced."""
    tier = ModelTier.model_validate(root)
    found = {}
    for document in deployments(tier, Live(on_demand=None, spot=None), tiers.CURRENT):
        key = Key("Deployment", "eldermoor", document["metadata"]["name"])
        found[key] = Child(
            key=key,
            uid="d",
            version=1,
            owner=None,
            terminating=False,
            manifest_hash="",
            intact=True,
            facts=tiers.as_live(document, **facts),
        )
    return found


def decided(
    *pods: Pod,
    live: dict[str, Any] | None = None,
    rejections: tuple[RejectedWrite, ...] = (),
    status: Any = None,
    **spec: Any,
) -> Decision:
    root = tiers.resource(status=status, **spec)
    below = {} if live is None else children(root, **live)
    observed = Observed(root=root, children=below, pods=pods, rejections=rejections, now=NOW)
    return decide(observed, current=tiers.CURRENT, network=NetworkSettings())


def said(decision: Decision, kind: str = "Ready") -> Condition:
    return next(each for each in decision.conditions if each.type == kind)
