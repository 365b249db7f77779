"""Fields that an API server adds to a status: written without them, it would be written again at each look."""

from collections.abc import Iterator, Mapping
from typing import Any

from gameai_operator.api import crd


def added(definition: crd.Definition, status: Mapping[str, Any]) -> list[str]:
    """The paths of fields with a default that this status lacks."""
    [version] = crd.document(definition)["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]["status"]
    return list(_added(schema, status, "status"))


def _added(schema: Mapping[str, Any], value: Any, where: str) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _added(schema["items"], each, f"{where}[]")
    elif isinstance(value, Mapping):
        for name, below in schema.get("properties", {}).items():
            if name in value:
                yield from _added(below, value[name], f"{where}.{name}")
            elif "default" in below:
                yield f"{where}.{name}"
