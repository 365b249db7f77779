"""PURE: why pods do not answer, in one reason and the words of who knows."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gameai_operator.engine.deployments import Deployment
from gameai_operator.engine.pods import Pod

_SECRET = re.compile(r'secrets? "(?P<name>[^"]+)" not found')
_SECRET_KEY = re.compile(r"couldn't find key (?P<key>\S+) in Secret \S+?/(?P<name>\S+)")
_CLAIM = re.compile(r'persistentvolumeclaim "(?P<name>[^"]+)" not found')


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What is wrong. `stalled` means that only the user can mend it."""

    reason: str
    message: str
    stalled: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """What a kind says of its pods: which field names a Secret or a volume, and who it is that crashes."""

    secret_field: str
    volume_field: str
    crash_reason: str
    program: str


def fault(
    pods: Iterable[Pod], deployments: Iterable[Deployment | None], words: Words
) -> Fault | None:
    """The fault that matters most: first what the user must mend, then what the cluster lacks."""
    waiting = [each for each in pods if not each.ready and not each.terminating]
    judges: tuple[Callable[[list[Pod], Words], Fault | None], ...] = (
        _configuration,
        _pull,
        _crash,
        _scheduling,
    )
    found = next(filter(None, (judge(waiting, words) for judge in judges)), None)
    return found or _creation(deployments)


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
        Fault(reason=kind.crash_reason, message=f"{kind.program} ends: {words}") if words else None
    )


def _scheduling(pods: list[Pod], kind: Words) -> Fault | None:
    words = _chosen(pod.unschedulable for pod in pods)
    if not words:
        return None
    if match := _CLAIM.search(words):
        said = f'PersistentVolumeClaim "{match["name"]}" is missing: create it, or change {kind.volume_field} (scheduler: {words})'
        return Fault(reason="VolumeClaimMissing", message=said, stalled=True)
    return Fault(reason="InsufficientCapacity", message=f"scheduler: {words}")


def _creation(deployments: Iterable[Deployment | None]) -> Fault | None:
    words = _chosen(each.create_fault for each in deployments if each)
    return Fault(reason="PodsRefused", message=f"API server: {words}") if words else None
