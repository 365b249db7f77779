"""PURE: a ConfigMap."""

from collections.abc import Mapping

from gameai_operator.controller.manifest import Document


def config_map(metadata: Document, data: Mapping[str, str]) -> Document:
    """A ConfigMap of texts."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(data)}
