"""PURE: why pods are not ready: one reason, and the message of the component that reported it."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gameai_operator.controller.pod_facts import Pod
from gameai_operator.resources.deployment import Deployment

_SECRET = re.compile(r'secrets? "(?P<name>[^"]+)" not found')
_SECRET_KEY = re.compile(r"couldn't find key (?P<key>\S+) in Secret \S+?/(?P<name>\S+)")
_CLAIM = re.compile(r'persistentvolumeclaim "(?P<name>[^"]+)" not found')


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What is wrong. `stalled` means that only the user can correct it."""

    reason: str
    message: str
    stalled: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """How a kind names its pods' faults: the fields to change, and the program that crashes.

    `hints` pair a part of the scheduler's words with the fields that asked for it.
    """

    secret_field: str
    volume_field: str
    crash_reason: str
    program: str
    hints: tuple[tuple[str, str], ...] = ()


def fault(
    pods: Iterable[Pod], deployments: Iterable[Deployment | None], words: Words
) -> Fault | None:
    """The fault that matters most: first what the user must correct, then what the cluster lacks.

    Pods that ended for good speak only while pods are missing and no living one says why.
    """
    seen, live = list(pods), [each for each in deployments if each]
    waiting = [each for each in seen if not (each.ready or each.terminating or each.dead)]
    judges: tuple[Callable[[list[Pod], Words], Fault | None], ...] = (
        _configuration,
        _pull,
        _side_fault,
        _crash,
        _gated,
        _scheduling,
        _not_ready,
        _not_serving,
    )
    found = next(filter(None, (judge(waiting, words) for judge in judges)), None)
    found = found or _creation(live) or _overridden(live)
    missing = sum(each.ready for each in live) < sum(each.wanted for each in live)
    return found or (_dead(seen, words) if missing else None)


def _chosen(texts: Iterable[str]) -> str:
    """One of several texts, always the same one: pods come in no order, and a message must not flicker."""
    return min((text for text in texts if text), default="")


def _configuration(pods: list[Pod], kind: Words) -> Fault | None:
    words = _chosen(pod.config_fault for pod in pods)
    if not words:
        return None
    remedy = f"create it, or change {kind.secret_field}"
    if match := _SECRET.search(words):
        said = f'Secret "{match["name"]}" is missing: {remedy} (kubelet: {words})'
        return Fault(reason="SecretMissing", message=said, stalled=True)
    if match := _SECRET_KEY.search(words):
        said = f'Secret "{match["name"]}" has no key "{match["key"]}": add it, or change {kind.secret_field} (kubelet: {words})'
        return Fault(reason="SecretMissing", message=said, stalled=True)
    return Fault(reason="ContainerNotCreated", message=f"kubelet: {words}")


def _pull(pods: list[Pod], _: Words) -> Fault | None:
    words = _chosen(pod.pull_fault for pod in pods)
    return Fault(reason="ImagePullFailed", message=f"kubelet: {words}") if words else None


def _crash(pods: list[Pod], kind: Words) -> Fault | None:
    words = _chosen(pod.crash for pod in pods)
    return (
        Fault(reason=kind.crash_reason, message=f"{kind.program} exited: {words}")
        if words
        else None
    )


def _side_fault(pods: list[Pod], _: Words) -> Fault | None:
    words = _chosen(pod.side_fault for pod in pods)
    return Fault(reason="ContainerFailing", message=f"kubelet: {words}") if words else None


def _gated(pods: list[Pod], _: Words) -> Fault | None:
    names = _chosen(pod.gates for pod in pods)
    if not names:
        return None
    message = f"pods wait for the removal of their scheduling gates: {names}"
    return Fault(reason="SchedulingGated", message=message)


def _not_ready(pods: list[Pod], _: Words) -> Fault | None:
    names = _chosen(pod.unready for pod in pods)
    if not names:
        return None
    message = f"containers are ready, but the readiness gates of the pods are not: {names}"
    return Fault(reason="ReadinessGatesClosed", message=message)


def _not_serving(pods: list[Pod], kind: Words) -> Fault | None:
    words = _chosen(f"{e.name} -c {e.unready_sidecar}" for e in pods if e.unready_sidecar)
    if not words:
        return None
    message = (
        f"{kind.program} is ready, but another container of its pod is not: kubectl logs {words}"
    )
    return Fault(reason="SidecarNotReady", message=message)


def _scheduling(pods: list[Pod], kind: Words) -> Fault | None:
    words = _chosen(pod.unschedulable for pod in pods)
    if not words:
        return None
    if match := _CLAIM.search(words):
        said = f'PersistentVolumeClaim "{match["name"]}" is missing: create it, or change {kind.volume_field} (scheduler: {words})'
        return Fault(reason="VolumeClaimMissing", message=said, stalled=True)
    fields = [field for part, field in kind.hints if part in words]
    hint = f": add such nodes, or change {', '.join(fields)}" if fields else ""
    return Fault(reason="InsufficientCapacity", message=f"scheduler: {words}{hint}")


def _creation(deployments: Iterable[Deployment]) -> Fault | None:
    words = _chosen(each.create_fault for each in deployments)
    return Fault(reason="PodsRefused", message=f"API server: {words}") if words else None


def _overridden(deployments: Iterable[Deployment]) -> Fault | None:
    """A number that we own and that differs from what we asked for was changed on its way in."""
    words = _chosen(
        f"{each.asked} replicas were requested, but the object has {each.wanted}"
        for each in deployments
        if each.overridden
    )
    if not words:
        return None
    message = f"{words}: an admission policy or webhook changes the number"
    return Fault(reason="ReplicasOverridden", message=message)


def _dead(pods: list[Pod], kind: Words) -> Fault | None:
    words = _chosen(pod.dead for pod in pods if not pod.terminating)
    if not words:
        return None
    if words.startswith("Evicted"):
        return Fault(reason="PodsEvicted", message=f"kubelet: {words} (see {kind.volume_field})")
    return Fault(reason="PodsFailed", message=f"kubelet: {words}")
