"""Every field of a kind is in an example."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from gameai_devcluster import install

# Fields that no example needs: defaults, other hardware, and selectors, which are shown once.
UNSHOWN = ("emptyDir", "hostPath", "gpuResource", "runtimeClassName", "templateRevision", "uid", "serviceAccountName", "matchExpressions", "matchLabels")  # fmt: skip


def fields(schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Every field of a schema by its path; a list adds nothing to it."""
    for name, part in schema.get("properties", {}).items():
        yield f"{prefix}{name}"
        yield from fields(part.get("items", part), f"{prefix}{name}.")


def used(value: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from used(each, prefix)
    elif isinstance(value, dict):
        for name, each in value.items():
            yield f"{prefix}{name}"
            yield from used(each, f"{prefix}{name}.")


@pytest.mark.parametrize("kind", ["ModelTier", "GameWorld", "KnowledgeBase"])
def test_every_field_of_a_kind_has_an_example(kind: str) -> None:
    """So that no user has to guess how a field is written."""
    folder = install.ROOT / "examples"
    documents = [
        document
        for file in (*folder.glob("*.yaml"), *folder.glob("features/*.yaml"))
        for document in yaml.safe_load_all(file.read_text())
        if document["kind"] == kind
    ]
    shown = {path for document in documents for path in used(document["spec"])}
    crd = yaml.safe_load((install.ROOT / f"crds/{kind.lower()}s.yaml").read_text())
    [version] = crd["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    missing = [
        path
        for path in fields(spec)
        if path not in shown and not set(path.split(".")) & set(UNSHOWN)
    ]
    assert missing == []
