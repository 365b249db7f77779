"""PURE: the metadata that every object of ours has."""

from collections.abc import Mapping
from typing import Any

from gameai_contract.names import MANAGED_BY, PART_OF

from gameai_operator.controller.manifest import Document


def labels(*, name: str, instance: str, component: str, root: Mapping[str, str]) -> dict[str, str]:
    """The recommended labels of Kubernetes, and `root`, the label by which the operator finds the owner again."""
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/instance": instance,
        "app.kubernetes.io/component": component,
        **PART_OF,
        **MANAGED_BY,
        **root,
    }


def metadata(
    namespace: str,
    name: str,
    own_labels: Mapping[str, str],
    annotations: Mapping[str, str] | None = None,
) -> Document:
    """An object's `metadata`; without annotations the field is absent."""
    made: dict[str, Any] = {"name": name, "namespace": namespace, "labels": dict(own_labels)}
    return made if annotations is None else {**made, "annotations": dict(annotations)}
