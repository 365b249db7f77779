"""PURE: how many pods an object has that can be scaled, apart from what its pods are.

The number goes under a field manager of its own, so that a template that cannot be rendered never holds up scaling.
An annotation that goes with it remembers what was asked for: where an admission policy or a webhook overrides the
number, the two differ, and that is reported instead of fought.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gameai_operator.api.base import GROUP
from gameai_operator.controller.manifest import Key, Manifest

FIELD_MANAGER = "gameai-operator-replicas"
REPLICAS = f"{GROUP}/replicas"
NUDGED = f"{GROUP}/nudged"
# Others may write the annotation too.
_NUMBER = re.compile(r"[0-9]{1,4}")


def manifest(api_version: str, key: Key, replicas: int, *, nudged: bool = False) -> Manifest:
    """What is applied to set the number of replicas; `nudged` adds one until that was observed, and notes it."""
    note = {NUDGED: "true"} if nudged else {}
    return {
        "apiVersion": api_version,
        "kind": key.kind,
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "annotations": {REPLICAS: str(replicas), **note},
        },
        "spec": {"replicas": replicas + int(nudged)},
    }


def with_replicas(document: Manifest, replicas: int) -> Manifest:
    """An object as it is created: with the number, which later writes of its template leave out."""
    metadata = document["metadata"]
    annotations = {**metadata["annotations"], REPLICAS: str(replicas)}
    return {
        **document,
        "metadata": {**metadata, "annotations": annotations},
        "spec": {**document["spec"], "replicas": replicas},
    }


def asked_for(metadata: Mapping[str, Any], *managers: str) -> int | None:
    """The number that was last asked for, while one of these managers still owns it; None where none does."""
    owned = any("f:replicas" in each.get("f:spec", {}) for each in _noted_by(metadata, managers))
    return noted(metadata, *managers) if owned else None


def noted(metadata: Mapping[str, Any], *managers: str) -> int | None:
    """The number that was last asked for, though another manager may own the field now; None where it is not known."""
    text = metadata.get("annotations", {}).get(REPLICAS, "")
    known = _NUMBER.fullmatch(text) and _noted_by(metadata, managers)
    return int(text) if known else None


def _noted_by(metadata: Mapping[str, Any], managers: Sequence[str]) -> list[Mapping[str, Any]]:
    """The fields of those managers that own the note of the number."""
    return [
        fields
        for entry in metadata.get("managedFields", ())
        if entry.get("manager") in managers and entry.get("operation") == "Apply"
        for fields in [entry.get("fieldsV1", {})]
        if f"f:{REPLICAS}" in fields.get("f:metadata", {}).get("f:annotations", {})
    ]
