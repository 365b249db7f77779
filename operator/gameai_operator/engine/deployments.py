"""PURE: the few facts of a Deployment that decisions use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gameai import contract

from gameai_operator.api.base import GROUP
from gameai_operator.engine.ownership import applied_fields

TEMPLATE_HASH = f"{GROUP}/template-hash"
TEMPLATE_INPUTS = f"{GROUP}/template-inputs"
_COMPLETE = "NewReplicaSetAvailable"


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """A Deployment's state.

    `rolling` means that pods of its present template are not all there yet, a mere change of replicas left out; it is
    the Deployment controller's word, and of the present spec only where that has been `observed`.
    `remembered` are our own annotations, those that a hand has not touched since we wrote them.
    """

    replicas: int
    ready: int
    paused: bool
    rolling: bool
    observed: bool
    create_fault: str
    remembered: Mapping[str, str]
    model_revision: str


def deployment(document: Mapping[str, Any]) -> Deployment:
    """The facts of a Deployment object."""
    metadata, status = document["metadata"], document.get("status", {})
    conditions = {entry["type"]: entry for entry in status.get("conditions", ())}
    failure = conditions.get("ReplicaFailure", {})
    return Deployment(
        replicas=status.get("replicas", 0),
        ready=status.get("readyReplicas", 0),
        paused=document["spec"].get("paused", False),
        rolling=conditions.get("Progressing", {}).get("reason") != _COMPLETE,
        observed=status.get("observedGeneration", 0) >= metadata.get("generation", 0),
        create_fault=failure.get("message", "") if failure.get("status") == "True" else "",
        remembered=_remembered(metadata),
        model_revision=metadata.get("labels", {}).get(contract.MODEL_REVISION_LABEL, ""),
    )


def template_hash(deployment: Mapping[str, Any]) -> str:
    """The hash of a rendered Deployment's pod template."""
    value: str = deployment["metadata"]["annotations"][TEMPLATE_HASH]
    return value


def changes(rendered: Mapping[str, Any], live: Deployment | None) -> bool:
    """Whether applying this Deployment would replace pods, as far as our own note on it can tell."""
    known = None if live is None else live.remembered.get(TEMPLATE_HASH)
    return known is not None and known != template_hash(rendered)


def unfinished(document: Mapping[str, Any], live: Deployment | None, *, before: bool) -> bool:
    """Whether pods of a rendered Deployment's template are missing, or applying it would replace some.

    Until the Deployment controller has seen our last write, what we said before it stands.
    """
    if live is None or changes(document, live):
        return True
    return live.rolling if live.observed else before or live.rolling


def _remembered(metadata: Mapping[str, Any]) -> dict[str, str]:
    fields = applied_fields(metadata) or {}
    owned = fields.get("f:metadata", {}).get("f:annotations", {})
    annotations = metadata.get("annotations", {})
    return {
        name: annotations[name]
        for name in (TEMPLATE_HASH, TEMPLATE_INPUTS)
        if name in annotations and f"f:{name}" in owned
    }
