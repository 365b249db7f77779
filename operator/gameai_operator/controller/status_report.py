"""PURE: the status that is reported: what of it is ours, and which difference cannot wait."""

import datetime
from collections.abc import Mapping
from typing import Any

from gameai_operator.controller import conditions
from gameai_operator.controller.kind import Decision, Kind
from gameai_operator.controller.manifest import PAUSED, Manifest, timestamp

NAME_CONFLICT = "NameConflict"
OBJECT_REFUSED = "ObjectRefused"
FORBIDDEN = "Forbidden"
CONTENDED = "Contended"
APPLY_FAILING = "ApplyFailing"
NAMESPACE_TERMINATING = "NamespaceTerminating"
UNWRITTEN = frozenset(
    {NAMESPACE_TERMINATING, NAME_CONFLICT, OBJECT_REFUSED, FORBIDDEN, CONTENDED, APPLY_FAILING}
)
# The status field in which an operator writes its own name (the namespace and name of its Lease).
CLAIM = "operator"


def status_of(
    root: Mapping[str, Any], decision: Decision, now: datetime.datetime, *, claim: str
) -> Manifest:
    """The whole status of a decision, conditions folded into those that the root has."""
    before = root.get("status", {}).get("conditions", ())
    folded = conditions.fold(
        before,
        decision.conditions,
        generation=root["metadata"]["generation"],
        now=timestamp(now),
    )
    return {CLAIM: claim, **decision.status, "conditions": folded}


def ours(kind: Kind, root: Mapping[str, Any]) -> dict[str, Any]:
    """The part of status that this operator writes; others (a scaler, a hand) may add theirs."""
    status = root.get("status", {})
    fields = {name: status[name] for name in (CLAIM, *kind.status_fields) if name in status}
    entries = {each["type"]: each for each in status.get("conditions", ())}
    # In the order of a decision: a merge of two writers' lists has an order of its own.
    ordered = [entries[each] for each in kind.condition_types if each in entries]
    return {**fields, "conditions": ordered}


def same_state(kind: Kind, before: Manifest, after: Manifest) -> bool:
    """Whether two statuses differ in nothing that a user or a controller waits for: only in counts and words."""
    return _state(kind, before) == _state(kind, after)


def _state(kind: Kind, status: Manifest) -> tuple[Any, ...]:
    """What is waited for. While a condition is True, why it is so may change as often as a count."""
    fields = {name: value for name, value in status.items() if name not in kind.counts}
    states = [
        (each["type"], each["status"], "" if each["status"] == "True" else each["reason"])
        for each in status["conditions"]
    ]
    return {**fields, "conditions": None}, states


def reports_unwritten(root: Mapping[str, Any]) -> bool:
    """Whether the root's status says that a write was refused, fails, or is contended."""
    entries = root.get("status", {}).get("conditions", ())
    return any(
        each["type"] in ("Stalled", "Reconciling") and each["reason"] in UNWRITTEN
        for each in entries
    )


def paused(kind: Kind, root: Mapping[str, Any], now: datetime.datetime) -> Manifest:
    """The status it had, with Ready's message saying that nothing is done now."""
    status = ours(kind, root)
    message = f"Paused: remove the annotation {PAUSED} to go on"
    unseen = {
        "type": "Ready",
        "status": "Unknown",
        "reason": "Paused",
        "lastTransitionTime": timestamp(now),
    }
    entries = status["conditions"] or [unseen]
    said = [{**each, "message": message} if each["type"] == "Ready" else each for each in entries]
    return {**status, "conditions": said}
