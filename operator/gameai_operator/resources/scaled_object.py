"""PURE: a ScaledObject of KEDA: how it is built, and what is read off it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gameai_operator.controller.manifest import Document

KIND, GROUP, VERSION = "ScaledObject", "keda.sh", "v1alpha1"
OLDEST = "2.20"
# One value for each replica that is recommended, so that the HorizontalPodAutoscaler arrives at that number.
METRIC, TARGET = "replicas", 1
_POLLING_SECONDS = 15
_FAILURES = 3
_MESSAGE_CHARACTERS = 256
_TYPES = ("Ready", "Paused", "Fallback", "HPAActive")
_PAUSES = "autoscaling.keda.sh/paused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trigger:
    """Where the scaler answers (`host:port`), and the ClusterTriggerAuthentication with its certificate authority."""

    address: str
    authentication: str = ""


def build(
    metadata: Document,
    target: Mapping[str, str],
    *,
    minimum: int,
    maximum: int,
    behavior: Document,
    trigger: Trigger,
) -> Document:
    """A ScaledObject for `target` (apiVersion, kind, name).

    Where the scaler does not answer, the present number stays: an outage never scales in.
    """
    external: Document = {
        "type": "external",
        "name": METRIC,
        "metricType": "AverageValue",
        "metadata": {"scalerAddress": trigger.address},
    }
    if trigger.authentication:
        external["authenticationRef"] = {
            "name": trigger.authentication,
            "kind": "ClusterTriggerAuthentication",
        }
        external["metadata"] = {**external["metadata"], "enableTLS": "true"}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": metadata,
        "spec": {
            "scaleTargetRef": dict(target),
            "pollingInterval": _POLLING_SECONDS,
            "minReplicaCount": minimum,
            "maxReplicaCount": maximum,
            "fallback": {
                "failureThreshold": _FAILURES,
                "replicas": minimum,
                "behavior": "currentReplicasIfHigher",
            },
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}},
            "triggers": [external],
        },
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """A condition of a ScaledObject: True, False or Unknown, with KEDA's reason and message."""

    status: str
    reason: str
    message: str


def states(document: Mapping[str, Any]) -> Mapping[str, State]:
    """Those conditions of a ScaledObject that say whether it acts, by type; texts are cut to 256 characters. Paused names the annotations."""
    found = {
        each["type"]: State(
            status=each["status"] if each["status"] in ("True", "False") else "Unknown",
            reason=str(each.get("reason", ""))[:_MESSAGE_CHARACTERS],
            message=str(each.get("message", ""))[:_MESSAGE_CHARACTERS],
        )
        for each in document.get("status", {}).get("conditions", ())
        if each["type"] in _TYPES
    }
    if "Paused" in found:
        notes = document["metadata"].get("annotations", {})
        named = ", ".join(sorted(each for each in notes if each.startswith(_PAUSES)))
        found["Paused"] = replace(found["Paused"], message=named[:_MESSAGE_CHARACTERS])
    return found


def supported(definition: Mapping[str, Any]) -> bool:
    """Whether a CustomResourceDefinition of ScaledObjects is that of KEDA 2.20 or later.

    No version stands in it, but 2.20 added a behavior of fallbacks. Older ones build a HorizontalPodAutoscaler without
    metrics while the scaler does not answer (kedacore/keda#5787), which Kubernetes turns into one by CPU.
    """
    served = [each for each in definition["spec"]["versions"] if each["name"] == VERSION]
    found: Mapping[str, Any] = (
        served[0].get("schema", {}).get("openAPIV3Schema", {}) if served else {}
    )
    for name in ("spec", "fallback", "behavior"):
        found = found.get("properties", {}).get(name, {})
    return "scalingModifiers" in found.get("enum", ())
