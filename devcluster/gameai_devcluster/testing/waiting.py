"""Wait for a state, with a bound, and say what was there instead."""

import time
from collections.abc import Callable
from typing import TypeVar

from gameai_devcluster.api import ApiError, Json

T = TypeVar("T")
# A look takes a part of what it waits for: between two there is a twentieth of the time so far, and twice what the last took.
_LEAST_SECONDS, _MOST_SECONDS, _PART, _TIMES = 0.05, 0.25, 0.05, 2.0


def until(what: str, look: Callable[[], T | None], *, seconds: float) -> T:
    """The first truthy value of `look`; AssertionError with the last value after so many seconds."""
    began = time.monotonic()
    last: object = None
    while (at := time.monotonic()) < began + seconds:
        try:
            value = look()
        except ApiError as error:
            last = error
        else:
            if value:
                return value
            last = value
        now = time.monotonic()
        pause = max(_LEAST_SECONDS, _PART * (now - began), _TIMES * (now - at))
        time.sleep(min(pause, _MOST_SECONDS))
    raise AssertionError(f"not in {seconds:.0f} s: {what}; last: {last}")


def condition(document: Json, kind: str) -> Json:
    """A condition of an object; empty where it has none of that type."""
    entries = document.get("status", {}).get("conditions") or []
    return next((entry for entry in entries if entry["type"] == kind), {})


def settled(document: Json) -> bool:
    """Whether a ModelTier's present spec is Ready and nothing is in progress."""
    status = document.get("status", {})
    counted = (
        status.get("replicas") == status.get("readyReplicas") == document["spec"].get("replicas")
    )
    return _is_quiet(document) and counted


def knowledge_settled(document: Json) -> bool:
    """Whether a KnowledgeBase's present spec is Ready, nothing is in progress, and every pod of the memory is ready."""
    wanted = document["spec"].get("service", {}).get("replicas", 2)
    return _is_quiet(document) and document.get("status", {}).get("readyReplicas") == wanted


def world_settled(document: Json) -> bool:
    """Whether a GameWorld's present spec is Ready, nothing is in progress, and every pod is counted."""
    asleep = document["spec"].get("state") == "Hibernated"
    wanted = {
        each["name"]: 0 if asleep else each.get("replicas", 1)
        for each in document["spec"].get("services", ())
    }
    reported = document.get("status", {}).get("services", ())
    counted = {each["name"]: each["ready"] for each in reported} == wanted
    gone = all(each["replicas"] == wanted.get(each["name"]) for each in reported)
    return _is_quiet(document) and counted and gone


def _is_quiet(document: Json) -> bool:
    seen = (
        document.get("status", {}).get("observedGeneration") == document["metadata"]["generation"]
    )
    ready = condition(document, "Ready").get("status") == "True"
    return seen and ready and condition(document, "Reconciling").get("status") == "False"
