"""PURE: what is read of a Pod: the few facts that decisions use."""

import sys
from collections.abc import Mapping
from typing import Any

from gameai_contract.names import AGENT_CONTAINER

from gameai_operator.controller.pod_facts import Pod, config_fault, pull_fault

_DEAD = frozenset({"Failed", "Succeeded"})


def pod(document: Mapping[str, Any], group_label: str, main: str) -> Pod:
    """The facts of a pod object.

    the value of `group_label` identifies its Deployment; `main` is the container that counts, for others may
    be injected beside it.
    """
    metadata = document["metadata"]
    status = document.get("status", {})
    statuses = {entry["name"]: entry for entry in status.get("containerStatuses", ())}
    container: Mapping[str, Any] = statuses.get(main, {})
    conditions = {entry["type"]: entry for entry in status.get("conditions", ())}
    state = container.get("state", {})
    waiting = state.get("waiting", {})
    terminating = "deletionTimestamp" in metadata
    return Pod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        group=metadata.get("labels", {}).get(group_label, ""),
        ready=conditions.get("Ready", {}).get("status") == "True",
        terminating=terminating,
        force_delete=terminating and _force_delete(document, conditions, state),
        unschedulable=_unschedulable(conditions.get("PodScheduled", {})),
        unschedulable_since=_unschedulable_since(conditions.get("PodScheduled", {})),
        waiting=(waiting.get("reason", ""), waiting.get("message", "")),
        crash=_crash(container),
        dead=_dead(status),
        gates=_gates(document, conditions.get("PodScheduled", {})),
        unready=_unready(document, conditions),
        unready_sidecar=_unready_sidecar(document["spec"], status, container),
        side_fault=_side_fault(status, main),
        placed=bool(document["spec"].get("nodeName")) and status.get("phase") not in _DEAD,
        node=sys.intern(document["spec"].get("nodeName", "")),
        grace_seconds=document["spec"].get("terminationGracePeriodSeconds", 30),
        address=status.get("podIP", ""),
        has_agent=_has_agent(document["spec"]),
        running="running" in state,
        said=_said(state.get("terminated", {})),
    )


def _has_agent(spec: Mapping[str, Any]) -> bool:
    return any(each["name"] == AGENT_CONTAINER for each in spec.get("initContainers", ()))


def _said(terminated: Mapping[str, Any]) -> str:
    """The message of a container that ended in success."""
    return str(terminated.get("message", "")) if terminated.get("exitCode") == 0 else ""


def _dead(status: Mapping[str, Any]) -> str:
    """Why a pod ended for good; a container of it that once crashed is not the reason."""
    phase = status.get("phase")
    if phase not in _DEAD:
        return ""
    reason, message = status.get("reason", phase), status.get("message", "")
    return f"{reason}: {message}" if message else str(reason)


def _gates(document: Mapping[str, Any], scheduled: Mapping[str, Any]) -> str:
    names = [each["name"] for each in document["spec"].get("schedulingGates", ())]
    gated = names or scheduled.get("reason") == "SchedulingGated"
    return ", ".join(names) or "unnamed" if gated else ""


def _unready(document: Mapping[str, Any], conditions: Mapping[str, Any]) -> str:
    """Readiness gates that are not open, once the containers themselves are ready."""
    if conditions.get("ContainersReady", {}).get("status") != "True":
        return ""
    wanted = [each["conditionType"] for each in document["spec"].get("readinessGates", ())]
    closed = [name for name in wanted if conditions.get(name, {}).get("status") != "True"]
    return ", ".join(closed)


def _unready_sidecar(
    spec: Mapping[str, Any], status: Mapping[str, Any], main: Mapping[str, Any]
) -> str:
    """The first native sidecar that is not ready, once the main container is."""
    if not main.get("ready"):
        return ""
    sidecars = [e["name"] for e in spec.get("initContainers", ()) if e.get("restartPolicy")]
    ready = {e["name"] for e in status.get("initContainerStatuses", ()) if e.get("ready")}
    return next((each for each in sidecars if each not in ready), "")


def _side_fault(status: Mapping[str, Any], main: str) -> str:
    """What is wrong with the first container with a fault, the main one left out."""
    first = [("init container", each) for each in status.get("initContainerStatuses", ())]
    others = [
        ("container", each) for each in status.get("containerStatuses", ()) if each["name"] != main
    ]
    for role, container in (*first, *others):
        waiting = container.get("state", {}).get("waiting", {})
        known = (waiting.get("reason", ""), waiting.get("message", ""))
        crash = _crash(container)
        words = pull_fault(*known) or config_fault(*known) or (f"ends: {crash}" if crash else "")
        if words:
            return f"{role} {container['name']}: {words}"
    return ""


def _force_delete(
    document: Mapping[str, Any], conditions: Mapping[str, Any], state: Mapping[str, Any]
) -> bool:
    """Whether a terminating pod's process never was ready, and so swallows SIGTERM.

    The kubelet flips `started` once it stops the start-up probe, so that field cannot be trusted here. But Ready turned
    False before the process began if and only if that process never was ready; a one-second clock is enough, since no
    model loads in less.
    """
    grace = document["metadata"].get("deletionGracePeriodSeconds", 0)
    if grace <= 1 or "terminated" in state or not document["spec"].get("nodeName"):
        return False
    ready = conditions.get("Ready", {})
    began = state.get("running", {}).get("startedAt")
    since = ready.get("lastTransitionTime")
    never = began is None or since is None or since <= began
    return ready.get("status") != "True" and never


def _unschedulable(scheduled: Mapping[str, Any]) -> str:
    waits = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    return str(scheduled.get("message") or "Unschedulable") if waits else ""


def _unschedulable_since(scheduled: Mapping[str, Any]) -> str:
    """When the scheduler first found no node, RFC 3339; empty where it has one."""
    return str(scheduled.get("lastTransitionTime", "")) if _unschedulable(scheduled) else ""


def _crash(container: Mapping[str, Any]) -> str:
    """What is known of the last end of a container that ended and is not ready again; else empty."""
    last = container.get("lastState", {}).get("terminated", {})
    waiting = container.get("state", {}).get("waiting", {}).get("reason")
    again = container.get("restartCount", 0) > 0 and not container.get("ready") and last
    if waiting != "CrashLoopBackOff" and not again:
        return ""
    words = last.get("message") or last.get("reason") or "no message"
    return f"exit code {last.get('exitCode', 'unknown')} after {container.get('restartCount', 0)} restarts: {words}"
