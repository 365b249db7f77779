"""PURE: finding objects by their labels, as Kubernetes does."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from gameai_operator.api.base import LIST_SET, LabelValue, Model, Rule

_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_PREFIX = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
_KEY = rf"^({_PREFIX}/)?{_NAME}$"
LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317, pattern=_KEY)]


class SelectorOperator(StrEnum):
    """How a requirement matches a label."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelRequirement(Model):
    """One requirement on labels."""

    key: LabelKey
    """Key of the label. Example: studio."""
    operator: SelectorOperator
    """In, NotIn, Exists or DoesNotExist."""
    values: Annotated[tuple[LabelValue, ...], Field(max_length=32, json_schema_extra=LIST_SET)] = ()
    """Values; with In and NotIn, and only with them. Default: none. Example: [games]."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 : !has(self.values)",
            "values are required with the operators In and NotIn, and not allowed with others",
            ".values",
        ),
    )

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it; as in Kubernetes, NotIn is met by an absent label too."""
        if self.operator in (SelectorOperator.IN, SelectorOperator.NOT_IN):
            return (labels.get(self.key) in self.values) is (self.operator is SelectorOperator.IN)
        return (self.key in labels) is (self.operator is SelectorOperator.EXISTS)


class LabelSelector(Model):
    """A label selector. All requirements must match; an empty selector matches everything."""

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=32)] = {}
    """Required labels. Default: none. Example: {studio: games}."""
    match_expressions: Annotated[tuple[LabelRequirement, ...], Field(max_length=32)] = ()
    """Additional requirements on labels. Default: none. Example: [{key: studio, operator: Exists}]."""

    @property
    def faulty_keys(self) -> tuple[str, ...]:
        """Invalid keys of `match_labels`; a structural schema cannot restrict the keys of a map."""
        return tuple(key for key in self.match_labels if not re.fullmatch(_KEY, key))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is meant."""
        exact = all(labels.get(key) == value for key, value in self.match_labels.items())
        return exact and all(each.matches(labels) for each in self.match_expressions)
