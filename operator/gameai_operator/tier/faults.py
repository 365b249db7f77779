"""PURE: why pods of a tier do not answer, in one reason and the words of who knows."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gameai_operator.engine.pods import Pod
from gameai_operator.tier.objects import Live

_SECRET = re.compile(r'secrets? "(?P<name>[^"]+)" not found')
_SECRET_KEY = re.compile(r"couldn't find key (?P<key>\S+) in Secret \S+?/(?P<name>\S+)")
_CLAIM = re.compile(r'persistentvolumeclaim "(?P<name>[^"]+)" not found')


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What is wrong. `stalled` means that only the user can mend it."""

    reason: str
    message: str
    stalled: bool = False


def fault(pods: Iterable[Pod], live: Live) -> Fault | None:
    """The fault that matters most: first what the user must mend, then what the cluster lacks."""
    waiting = [each for each in pods if not each.ready and not each.terminating]
    judges: tuple[Callable[[list[Pod]], Fault | None], ...] = (
        _configuration,
        _pull,
        _crash,
        _scheduling,
    )
    found = next(filter(None, (judge(waiting) for judge in judges)), None)
    return found or _creation(live)


def _words(texts: Iterable[str]) -> str:
    """One of several texts, always the same one: pods come in no order, and a message must not flicker."""
    return min((text for text in texts if text), default="")


def _configuration(pods: list[Pod]) -> Fault | None:
    words = _words(pod.config_fault for pod in pods)
    if not words:
        return None
    remedy = "create it, or change spec.model.source.huggingFace.tokenSecretRef"
    if match := _SECRET.search(words):
        said = f'Secret "{match["name"]}" is missing: {remedy} (kubelet: {words})'
        return Fault(reason="SecretMissing", message=said, stalled=True)
    if match := _SECRET_KEY.search(words):
        said = f'Secret "{match["name"]}" has no key "{match["key"]}": add it, or change spec.model.source.huggingFace.tokenSecretRef (kubelet: {words})'
        return Fault(reason="SecretMissing", message=said, stalled=True)
    return Fault(reason="ContainerNotCreated", message=f"kubelet: {words}")


def _pull(pods: list[Pod]) -> Fault | None:
    words = _words(pod.pull_fault for pod in pods)
    return Fault(reason="ImagePullFailed", message=f"kubelet: {words}") if words else None


def _crash(pods: list[Pod]) -> Fault | None:
    words = _words(pod.crash for pod in pods)
    return Fault(reason="EngineCrashing", message=f"vLLM ends: {words}") if words else None


def _scheduling(pods: list[Pod]) -> Fault | None:
    words = _words(pod.unschedulable for pod in pods)
    if not words:
        return None
    if match := _CLAIM.search(words):
        said = f'PersistentVolumeClaim "{match["name"]}" is missing: create it, or change spec.model (scheduler: {words})'
        return Fault(reason="VolumeClaimMissing", message=said, stalled=True)
    return Fault(reason="InsufficientCapacity", message=f"scheduler: {words}")


def _creation(live: Live) -> Fault | None:
    words = _words(each.create_fault for each in (live.on_demand, live.spot) if each)
    return Fault(reason="PodsRefused", message=f"API server: {words}") if words else None
