"""PURE: a StatefulSet of one pod with a volume, and the few facts of one that decisions use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gameai_operator.controller.manifest import Document
from gameai_operator.resources.deployment import remembered

VOLUME = "data"


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """The volume of a pod; without a class the cluster's default one. It outlives the StatefulSet, unless `deleted` with it."""

    size: str
    storage_class: str | None = None
    deleted: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class StatefulSet:
    """A StatefulSet's state; `rolling` means that its pod is not of the present template, or not ready."""

    ready: int
    rolling: bool
    remembered: Mapping[str, str]


def build(
    metadata: Document, selector: Mapping[str, str], template: Document, claim: Claim
) -> Document:
    """A StatefulSet of one pod."""
    storage = {"storageClassName": claim.storage_class} if claim.storage_class else {}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata,
        "spec": {
            "replicas": 1,
            "serviceName": metadata["name"],
            "selector": {"matchLabels": dict(selector)},
            # In order, a pod of a broken template would never be replaced by one of a corrected one.
            "podManagementPolicy": "Parallel",
            "persistentVolumeClaimRetentionPolicy": {
                "whenDeleted": "Delete" if claim.deleted else "Retain",
                "whenScaled": "Retain",
            },
            "template": template,
            "volumeClaimTemplates": [
                {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "metadata": {"name": VOLUME, "labels": dict(selector)},
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        **storage,
                        "resources": {"requests": {"storage": claim.size}},
                    },
                }
            ],
        },
    }


def stateful_set(document: Mapping[str, Any]) -> StatefulSet:
    """The facts of a StatefulSet object."""
    metadata, status = document["metadata"], document.get("status", {})
    observed = status.get("observedGeneration", 0) >= metadata.get("generation", 0)
    ready = status.get("readyReplicas", 0)
    same = status.get("currentRevision") == status.get("updateRevision")
    return StatefulSet(
        ready=ready,
        rolling=not (observed and same and ready),
        remembered=remembered(metadata),
    )
