"""Tiers and objects that tests start from."""

from collections.abc import Mapping
from typing import Any

from gameai_contract.names import MODEL_REVISION_LABEL
from gameai_operator.api.tier import ModelTier
from gameai_operator.resources.deployment import TEMPLATE_HASH, TEMPLATE_INPUTS, Deployment
from gameai_operator.settings import CapacityLabels
from gameai_operator.tier.objects import Live
from gameai_operator.tier.revisions import NEWEST, Inputs

UID = "0a1b2c3d-0000-4000-8000-000000000001"
AGENT_IMAGE = "gameai-workloads:0.1.0"
CURRENT = Inputs(revision=NEWEST, capacity=CapacityLabels(), agent_image=AGENT_IMAGE)
NOTHING = Live(on_demand=None, spot=None)


def resource(
    name: str = "gold", namespace: str = "eldermoor", status: Any = None, **spec: Any
) -> dict[str, Any]:
    """A ModelTier as the API server gives it; `spec` replaces fields of a minimal one."""
    minimal = {
        "class": "Gold",
        "replicas": 1,
        "model": {"source": {"huggingFace": {"repository": "Qwen/Qwen2.5-3B-Instruct-AWQ"}}},
    }
    return {
        "apiVersion": "gameai.dev/v1alpha1",
        "kind": "ModelTier",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": UID,
            "generation": 1,
            "resourceVersion": "7",
        },
        "spec": minimal | spec,
        "status": status or {"observedGeneration": -1},
    }


def tier(**options: Any) -> ModelTier:
    """The same, parsed."""
    return ModelTier.model_validate(resource(**options))


def deployment(**facts: Any) -> Deployment:
    """The facts of a complete Deployment of one ready replica; `facts` replace some."""
    given: dict[str, Any] = {
        "wanted": 1,
        "replicas": 1,
        "updated": 1,
        "ready": 1,
        "available": 1,
        "paused": False,
        "rolling": False,
        "observed": True,
        "create_fault": "",
        "remembered": {},
        "model_revision": "",
    }
    return Deployment(**(given | facts))


def as_live(document: Mapping[str, Any], **facts: Any) -> Deployment:
    """The facts that a rendered Deployment has once it is complete."""
    metadata = document["metadata"]
    remembered = {name: metadata["annotations"][name] for name in (TEMPLATE_HASH, TEMPLATE_INPUTS)}
    replicas: int = facts.pop("replicas_wanted", 1)
    given: dict[str, Any] = {
        "wanted": replicas,
        "asked": replicas,
        "noted": replicas,
        "apart": True,
        "replicas": replicas,
        "updated": replicas,
        "ready": replicas,
        "available": replicas,
        "paused": document["spec"].get("paused", False),
        "remembered": remembered,
        "model_revision": metadata["labels"][MODEL_REVISION_LABEL],
    }
    return deployment(**(given | facts))
