"""PURE: a Job that runs one pod to its end, and the few facts of one that decisions use."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from gameai_operator.controller.manifest import Document
from gameai_operator.resources.deployment import remembered

# The container starts again in its pod, later each time, up to five minutes: what keeps it from its end may be over by then.
_MOST_RESTARTS = 2**31 - 1
# Its log can be read for this long; what it did stands in the owner's status.
_KEPT_SECONDS = 3600


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A Job's state; `failed` is why it ended without success, which its restarts leave to a hand or a policy."""

    complete: bool
    failed: str = ""
    remembered: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def build(metadata: Document, template: Document) -> Document:
    """A Job of one pod. Its template cannot change: another template needs another name."""
    pod = {**template, "spec": {**template["spec"], "restartPolicy": "OnFailure"}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": _MOST_RESTARTS,
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "template": pod,
        },
    }


def job(document: Mapping[str, Any]) -> Job:
    """The facts of a Job object."""
    conditions = {each["type"]: each for each in document.get("status", {}).get("conditions", ())}
    failed = conditions.get("Failed", {})
    words = f"{failed.get('reason', 'Failed')}: {failed.get('message', '')}"
    return Job(
        complete=conditions.get("Complete", {}).get("status") == "True",
        failed=words if failed.get("status") == "True" else "",
        remembered=remembered(document["metadata"]),
    )
