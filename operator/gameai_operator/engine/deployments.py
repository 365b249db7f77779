"""PURE: the few facts of a Deployment that decisions use."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gameai import contract

from gameai_operator.api.base import GROUP
from gameai_operator.engine.ownership import applied_fields

TEMPLATE_HASH = f"{GROUP}/template-hash"
TEMPLATE_INPUTS = f"{GROUP}/template-inputs"
_COMPLETE = "NewReplicaSetAvailable"
_NUDGED = f"{GROUP}/nudged"
# Longer than a controller with hundreds of roll-outs (at its 20 writes a second), or a change of its leader, takes to come by.
STUCK_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """A Deployment's state.

    `rolling` means that pods of its present template are not all there yet, a mere change of replicas left out; it is
    the Deployment controller's word, and of the present spec only where that has been `observed`. `wanted` replicas are
    those of its spec, `updated` ones of its present template; `changed` is when anything of it last did.
    `remembered` are our own annotations, those that a hand has not touched since we wrote them.
    """

    wanted: int
    replicas: int
    updated: int
    ready: int
    available: int
    paused: bool
    rolling: bool
    observed: bool
    create_fault: str
    remembered: Mapping[str, str]
    model_revision: str
    changed: datetime.datetime | None


def deployment(document: Mapping[str, Any]) -> Deployment:
    """The facts of a Deployment object."""
    metadata, status = document["metadata"], document.get("status", {})
    conditions = {entry["type"]: entry for entry in status.get("conditions", ())}
    failure = conditions.get("ReplicaFailure", {})
    replicas, updated = status.get("replicas", 0), status.get("updatedReplicas", 0)
    complete = conditions.get("Progressing", {}).get("reason") == _COMPLETE
    return Deployment(
        wanted=document["spec"].get("replicas", 1),
        replicas=replicas,
        updated=updated,
        ready=status.get("readyReplicas", 0),
        available=status.get("availableReplicas", 0),
        paused=document["spec"].get("paused", False),
        # The word may be of a former template: the controller does not take it back when it loses sight of a roll-out.
        rolling=not complete or updated != replicas,
        observed=status.get("observedGeneration", 0) >= metadata.get("generation", 0),
        create_fault=failure.get("message", "") if failure.get("status") == "True" else "",
        remembered=_remembered(metadata),
        model_revision=metadata.get("labels", {}).get(contract.MODEL_REVISION_LABEL, ""),
        changed=_changed(metadata),
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


def stuck_in(live: Deployment, now: datetime.datetime) -> float | None:
    """Seconds until a Deployment counts as one that does not go on, 0.0 if it does; None where it is through or goes on.

    Where a scale-in amid a roll-out meets the one ReplicaSet that has pods, and that has the new size already, its note of
    the wanted size stays old; the controller takes every later pass for one of scaling, and replaces no pod again
    (kubernetes/kubernetes#138036). Its pods, all that are wanted, are of a former template or of the present one then. A
    controller that works makes or removes one at once, or says that all is done.
    """
    untouched = live.updated == 0
    untold = live.updated == live.replicas == live.available
    still = live.rolling and live.wanted == live.replicas != 0 and (untouched or untold)
    held = live.paused or not live.observed or live.create_fault
    if held or not still or live.changed is None:
        return None
    return max(0.0, STUCK_SECONDS - (now - live.changed).total_seconds())


def nudged(document: Mapping[str, Any], live: Deployment, now: datetime.datetime) -> dict[str, Any]:
    """A rendered Deployment as it is to be applied: one that does not go on gets a replica more until that is seen.

    Only another number of replicas makes the controller note the wanted size anew. An annotation tells our nudge from a
    number that somebody wanted.
    """
    replicas = document["spec"]["replicas"]
    due = live.wanted == replicas and stuck_in(live, now) == 0.0
    unseen = _NUDGED in live.remembered and live.wanted == replicas + 1 and not live.observed
    if not due and not unseen:
        return dict(document)
    metadata = document["metadata"]
    annotations = {**metadata["annotations"], _NUDGED: "true"}
    return {
        **document,
        "metadata": {**metadata, "annotations": annotations},
        "spec": {**document["spec"], "replicas": replicas + 1},
    }


def _changed(metadata: Mapping[str, Any]) -> datetime.datetime | None:
    """When anybody last changed a value; conditions tell less, such as nothing of a return to a former template."""
    times = [each["time"] for each in metadata.get("managedFields", ()) if each.get("time")]
    return datetime.datetime.fromisoformat(max(times)) if times else None


def _remembered(metadata: Mapping[str, Any]) -> dict[str, str]:
    fields = applied_fields(metadata) or {}
    owned = fields.get("f:metadata", {}).get("f:annotations", {})
    annotations = metadata.get("annotations", {})
    return {
        name: annotations[name]
        for name in (TEMPLATE_HASH, TEMPLATE_INPUTS, _NUDGED)
        if name in annotations and f"f:{name}" in owned
    }
