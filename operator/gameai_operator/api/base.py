"""PURE: what every custom resource's types share: the model class, CEL rules, names and quantities."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

GROUP = "gameai.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "gameai"


class Rule(NamedTuple):
    """One CEL rule and the sentence a user sees when it refuses; `field_path` is relative to its class."""

    rule: str
    message: str
    field_path: str | None = None
    reason: str = "FieldValueInvalid"

    def document(self) -> dict[str, str]:
        """The entry of `x-kubernetes-validations`."""
        entry = {"rule": self.rule, "message": self.message}
        if self.field_path:
            entry["fieldPath"] = self.field_path
        if self.reason != "FieldValueInvalid":
            entry["reason"] = self.reason
        return entry


# As container runtimes read it: host, names in small letters, tag, digest.
_PART = "[a-z0-9]+([._-]+[a-z0-9]+)*"
_REFERENCE = (
    r"^(([A-Za-z0-9.-]+|[[][0-9A-Fa-f:]+[]])(:[0-9]+)?/)?"
    rf"{_PART}(/{_PART})*(:[A-Za-z0-9_][A-Za-z0-9._-]*)?(@[A-Za-z0-9+._-]+:[A-Fa-f0-9]+)?$"
)


def image_rule(example: str) -> Rule:
    """For a class with a field `image`: a reference as container runtimes read it, not a URL."""
    return Rule(
        f"!has(self.image) || self.image.matches('{_REFERENCE}')",
        f"image must be an image reference, REGISTRY/NAME:TAG without https://, its name in small letters: for example {example}",
        ".image",
    )


class Model(BaseModel):
    """A frozen object of the API; the string under a field is its `kubectl explain` text.

    Unknown keys are ignored, since a newer CRD may meet an older operator.
    """

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
        extra="ignore",
    )
    rules: ClassVar[tuple[Rule, ...]] = ()


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) else value


# `cpu: 3` and `cpu: "3"` are both taken, as the core types do; inside there is one form.
Quantity = Annotated[
    str,
    BeforeValidator(_as_text),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "maxLength": 32,
            "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$",
        }
    ),
]
ObjectName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"),
]
NamespaceName = Annotated[
    str, StringConstraints(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=253)]
LabelValue = Annotated[
    str, StringConstraints(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")
]
Price = Annotated[str, StringConstraints(max_length=16, pattern=r"^[0-9]{1,6}(\.[0-9]{1,6})?$")]


def list_map(*keys: str) -> dict[str, Any]:
    """Schema extras of a list whose items are identified by `keys`."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


LIST_SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}


class ConditionStatus(StrEnum):
    """The three states of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """A condition of the object, at a generation of the spec."""

    type: Annotated[str, Field(max_length=64)]
    """Type of the condition. Example: Ready."""
    status: ConditionStatus
    """True, False or Unknown."""
    reason: Annotated[str, Field(max_length=128)]
    """Machine-readable reason in CamelCase, stable between releases. Example: ScaledToZero."""
    message: Annotated[str, Field(max_length=4096)] = ""
    """Human-readable message."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """Time of the last change of status, in UTC. Example: 2026-11-21T10:00:00Z."""
    observed_generation: int | None = None
    """Generation of the spec that the condition refers to."""


def is_true(conditions: Iterable[Condition], kind: str) -> bool:
    """Whether a condition of this type is there and True."""
    return any(each.type == kind and each.status is ConditionStatus.TRUE for each in conditions)


class EnvironmentVariable(Model):
    """One environment variable of a container."""

    name: Annotated[str, StringConstraints(max_length=253, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """Name. Example: LOG_LEVEL."""
    value: Annotated[str, Field(max_length=4096)]
    """Value, stored in clear text. Do not put secrets here. Example: DEBUG."""


class LocalReference(Model):
    """A reference to an object in the same namespace."""

    name: ObjectName
    """Name of the object. Example: registry."""


class Metadata(Model):
    """The part of metadata that decisions use."""

    name: str
    """Name."""
    namespace: str
    """Namespace."""
    uid: str
    """Identity; a recreated object of the same name has another."""
    generation: int = 0
    """Generation of the spec."""
    creation_timestamp: str = ""
    """When it was made, in UTC. Example: 2026-11-21T10:00:00Z."""
    annotations: dict[str, str] = {}
    """Annotations."""
