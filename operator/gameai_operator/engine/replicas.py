"""PURE: how many pods a Deployment has, apart from what its pods are.

The number goes under a field manager of its own, so that a template that cannot be rendered never holds up scaling.
An annotation that goes with it remembers what was asked for: where an admission policy or a webhook overrides the
number, the two differ, and that is reported instead of fought.
"""

from collections.abc import Mapping
from typing import Any

from gameai_operator.api.base import GROUP
from gameai_operator.engine.manifest import Key, Manifest

FIELD_MANAGER = "gameai-operator-replicas"
REPLICAS = f"{GROUP}/replicas"
NUDGED = f"{GROUP}/nudged"


def manifest(key: Key, replicas: int, *, nudged: bool = False) -> Manifest:
    """What is applied to set the number of a Deployment; `nudged` adds one for a moment, and says so."""
    note = {NUDGED: "true"} if nudged else {}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "annotations": {REPLICAS: str(replicas), **note},
        },
        "spec": {"replicas": replicas + int(nudged)},
    }


def with_replicas(document: Manifest, replicas: int) -> Manifest:
    """A Deployment as it is created: with the number, which later writes of its template leave out."""
    metadata = document["metadata"]
    annotations = {**metadata["annotations"], REPLICAS: str(replicas)}
    return {
        **document,
        "metadata": {**metadata, "annotations": annotations},
        "spec": {**document["spec"], "replicas": replicas},
    }


def asked_for(metadata: Mapping[str, Any], *managers: str) -> int | None:
    """The number that was last asked for, while one of these managers still owns it; None where none does."""
    text = metadata.get("annotations", {}).get(REPLICAS, "")
    for entry in metadata.get("managedFields", ()):
        ours = entry.get("manager") in managers and entry.get("operation") == "Apply"
        fields = entry.get("fieldsV1", {})
        number = "f:replicas" in fields.get("f:spec", {})
        note = f"f:{REPLICAS}" in fields.get("f:metadata", {}).get("f:annotations", {})
        if ours and number and note and text.isdecimal():
            return int(text)
    return None
