"""PURE: a Deployment: how it is built, and the few facts of one that decisions use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gameai_contract.names import MODEL_REVISION_LABEL

from gameai_operator.api.base import GROUP
from gameai_operator.controller import scale as numbers
from gameai_operator.controller.field_ownership import applied_fields
from gameai_operator.controller.manifest import FIELD_MANAGER, Document, digest

TEMPLATE_HASH = f"{GROUP}/template-hash"
TEMPLATE_INPUTS = f"{GROUP}/template-inputs"
_REVISIONS_KEPT = 3
_COMPLETE = "NewReplicaSetAvailable"
_DEADLINE = "ProgressDeadlineExceeded"
# Longer than a controller with hundreds of roll-outs (at its 20 writes a second), or a change of its leader, takes to come by.
STUCK_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Strategy:
    """How a Deployment replaces its pods.

    `surge` and `unavailable` are pods above and below the wanted number meanwhile; after `deadline_seconds` without
    progress the roll-out is reported as stuck. `paused` is None where it is never paused.
    """

    surge: int
    unavailable: int
    deadline_seconds: int
    paused: bool | None = None


def build(
    metadata: Document, selector: Mapping[str, str], template: Document, strategy: Strategy
) -> Document:
    """A Deployment without its number of replicas, which has a field manager of its own."""
    paused = {} if strategy.paused is None else {"paused": strategy.paused}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            **paused,
            "selector": {"matchLabels": dict(selector)},
            "revisionHistoryLimit": _REVISIONS_KEPT,
            "progressDeadlineSeconds": strategy.deadline_seconds,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {
                    "maxSurge": strategy.surge,
                    "maxUnavailable": strategy.unavailable,
                },
            },
            "template": template,
        },
    }


def annotations(template: Mapping[str, Any], inputs: str | None) -> dict[str, str]:
    """What is remembered of a pod template: its hash, and the text of what it was made of beside the spec."""
    known = {TEMPLATE_HASH: digest(template)}
    return known if inputs is None else {**known, TEMPLATE_INPUTS: inputs}


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """A Deployment's state.

    `rolling` means that pods of its present template are not all there yet, a mere change of replicas left out; it is
    the Deployment controller's word, and of the present spec only where that has been `observed`. `exceeded` means that
    a roll-out made no progress within its deadline. `wanted` replicas are those of its spec, `updated` ones of its
    present template.
    `noted` is the number of replicas that we last asked for; `asked` is the same, None once another field manager has
    taken the field; `apart` says that the number is held by its own field manager already, `nudged` that it is one
    more for a moment.
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
    exceeded: bool = False
    asked: int | None = None
    noted: int | None = None
    apart: bool = False
    nudged: bool = False

    @property
    def size(self) -> int:
        """Replicas as far as they are meant: without what a nudge or a hand adds, and with what a policy takes away."""
        return self.wanted if self.noted is None else min(self.wanted, self.noted)

    @property
    def replacing(self) -> bool:
        """Whether pods of two templates may be there side by side, in a roll-out that goes forward."""
        # Before the controller has seen our last write, what it reports is of the former template and size.
        mixed = self.updated != self.replicas or not self.observed
        return mixed and not (self.exceeded or self.paused)

    @property
    def overridden(self) -> bool:
        """Whether something keeps another number of replicas than the one that we own and asked for."""
        return self.asked not in (None, self.wanted) and not self.nudged


def deployment(document: Mapping[str, Any]) -> Deployment:
    """The facts of a Deployment object."""
    metadata, status = document["metadata"], document.get("status", {})
    conditions = {entry["type"]: entry for entry in status.get("conditions", ())}
    failure = conditions.get("ReplicaFailure", {})
    replicas, updated = status.get("replicas", 0), status.get("updatedReplicas", 0)
    progress = conditions.get("Progressing", {}).get("reason")
    complete = progress == _COMPLETE
    observed = status.get("observedGeneration", 0) >= metadata.get("generation", 0)
    return Deployment(
        wanted=document["spec"].get("replicas", 1),
        replicas=replicas,
        updated=updated,
        ready=status.get("readyReplicas", 0),
        available=status.get("availableReplicas", 0),
        paused=document["spec"].get("paused", False),
        # The word may be of a former template: the controller does not take it back when it loses sight of a roll-out.
        rolling=not complete or updated != replicas,
        observed=observed,
        create_fault=failure.get("message", "") if failure.get("status") == "True" else "",
        remembered=remembered(metadata),
        model_revision=metadata.get("labels", {}).get(MODEL_REVISION_LABEL, ""),
        # Of a former template, until the controller has seen the present one.
        exceeded=progress == _DEADLINE and observed,
        asked=numbers.asked_for(metadata, numbers.FIELD_MANAGER, FIELD_MANAGER),
        nudged=numbers.NUDGED in metadata.get("annotations", {}),
        noted=numbers.noted(metadata, numbers.FIELD_MANAGER, FIELD_MANAGER),
        apart=numbers.asked_for(metadata, numbers.FIELD_MANAGER) is not None,
    )


def template_hash(deployment: Mapping[str, Any]) -> str:
    """The hash of a rendered Deployment's pod template."""
    value: str = deployment["metadata"]["annotations"][TEMPLATE_HASH]
    return value


def changes(rendered: Mapping[str, Any], live: Deployment | None) -> bool:
    """Whether applying this Deployment would replace pods, according to our own annotation."""
    known = None if live is None else live.remembered.get(TEMPLATE_HASH)
    return known is not None and known != template_hash(rendered)


def unfinished(document: Mapping[str, Any], live: Deployment | None, *, before: bool) -> bool:
    """Whether pods of a rendered Deployment's template are missing, or applying it would replace some.

    Until the Deployment controller has seen our last write, what we said before it stands.
    """
    if live is None or changes(document, live):
        return True
    return live.rolling if live.observed else before or live.rolling


def stuck(live: Deployment, still_seconds: float) -> float | None:
    """Seconds until a Deployment counts as one whose controller has lost sight of it, 0.0 if it does; else None.

    `still_seconds` is how long it has been seen without any change. Where a scale-in during a roll-out meets the one
    ReplicaSet that has pods, and that has the new size already, its note of the wanted size stays old; the controller
    takes every later pass for one of scaling, and replaces no pod again (kubernetes/kubernetes#138036). We make no such
    scale-in, but others may, and one whose deadline has passed may be shrunk. All pods that are wanted are of a former
    template or of the present one then. A working controller makes or removes one at once, or reports completion.
    """
    untouched = live.updated == 0
    unreported = live.updated == live.replicas == live.available
    still = live.rolling and live.wanted == live.replicas != 0 and (untouched or unreported)
    held = live.paused or not live.observed or live.create_fault
    return None if held or not still else max(0.0, STUCK_SECONDS - still_seconds)


def remembered(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Our own annotations about a pod template, those that a hand has not touched since we wrote them."""
    fields = applied_fields(metadata) or {}
    owned = fields.get("f:metadata", {}).get("f:annotations", {})
    annotations = metadata.get("annotations", {})
    return {
        name: annotations[name]
        for name in (TEMPLATE_HASH, TEMPLATE_INPUTS)
        if name in annotations and f"f:{name}" in owned
    }
