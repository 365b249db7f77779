"""PURE: frozen pydantic types → the structural OpenAPI v3 schema that an API server takes."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from gameai_operator.api.base import Model

_REFUSED = (
    "exclusiveMinimum",
    "exclusiveMaximum",
    "const",
    "propertyNames",
    "uniqueItems",
    "prefixItems",
)
_VERBATIM = ("default", "enum", "required", "anyOf")


class SchemaError(TypeError):
    """A type uses something that no API server accepts; the message names it."""


class _Structural(GenerateJsonSchema):
    """What pydantic writes and an API server refuses, undone at the source."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Optional means absent, never null."""
        return self.generate_inner(schema["schema"])

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Titles say nothing here; CEL rules sit on the class that they govern."""
        out = super().model_schema(schema)
        out.pop("title", None)
        cls = schema["cls"]
        rules = cls.rules if issubclass(cls, Model) else ()
        if rules:
            out["x-kubernetes-validations"] = [rule.document() for rule in rules]
        return out

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """A default of None or of an empty collection means absent: it would only clutter what users read."""
        out = super().default_schema(schema)
        empty = "default" in out and out["default"] in (None, [], {})
        return {key: value for key, value in out.items() if not (empty and key == "default")}

    def encode_default(self, dft: Any) -> Any:
        """Object defaults in full: CEL runs on a default before nested defaults are filled in."""
        if isinstance(dft, Model):
            return _without_empty(dft.model_dump(mode="json", by_alias=True, exclude_none=True))
        return super().encode_default(dft)


def structural(model: type[Model]) -> dict[str, Any]:
    """The schema of a type, references resolved, every property with its bounds and default in words.

    Raises `SchemaError` for a keyword that an API server refuses.
    """
    schema = model.model_json_schema(by_alias=True, schema_generator=_Structural)
    definitions = schema.pop("$defs", {})
    resolved: dict[str, Any] = _inline(schema, definitions)
    return resolved


def _without_empty(node: Any) -> Any:
    if isinstance(node, dict):
        kept = {key: _without_empty(value) for key, value in node.items()}
        return {key: value for key, value in kept.items() if value not in ([], {})}
    return node


def _inline(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inline(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if (
        "$ref" in node
    ):  # what stands beside a reference (description, default) wins over what it names
        target = definitions[node["$ref"].rsplit("/", 1)[1]]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    refused = [key for key in _REFUSED if key in node]
    if refused:
        raise SchemaError(f"{refused[0]} in {node}: an API server refuses it")
    return {key: _entry(key, value, definitions) for key, value in node.items() if key != "title"}


def _entry(key: str, value: Any, definitions: dict[str, Any]) -> Any:
    if key == "properties":
        return {name: _property(_inline(each, definitions)) for name, each in value.items()}
    return value if key in _VERBATIM else _inline(value, definitions)


def _property(schema: dict[str, Any]) -> dict[str, Any]:
    """`kubectl explain` shows neither bounds nor scalar defaults, so they join the description."""
    words = [" ".join(schema.get("description", "").split())]
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        words.append(f"From {low:,} to {high:,}.")
    default = schema.get("default")
    if isinstance(default, str | int) and default != "":
        words.append(f"Default: {default}.")
    return {**schema, "description": " ".join(words).strip()}
