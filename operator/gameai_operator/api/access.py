"""PURE: who may use an object from another namespace."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from gameai_operator.api.base import LIST_SET, LabelValue, Model, Rule, Text


class AccessFrom(StrEnum):
    """Whose references are honoured."""

    SAME = "Same"
    ALL = "All"
    SELECTOR = "Selector"


class SelectorOperator(StrEnum):
    """How a requirement matches a label."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelRequirement(Model):
    """One requirement on the labels of a namespace."""

    key: Text
    """Key of the label. Example: studio."""
    operator: SelectorOperator
    """In, NotIn, Exists or DoesNotExist."""
    values: Annotated[tuple[LabelValue, ...], Field(max_length=32, json_schema_extra=LIST_SET)] = ()
    """Values; with In and NotIn, and only with them. Default: none. Example: [games]."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 : !has(self.values)",
            "values go with the operators In and NotIn, and only with them",
            ".values",
        ),
    )

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it; as in Kubernetes, NotIn is met by an absent label too."""
        if self.operator in (SelectorOperator.IN, SelectorOperator.NOT_IN):
            return (labels.get(self.key) in self.values) is (self.operator is SelectorOperator.IN)
        return (self.key in labels) is (self.operator is SelectorOperator.EXISTS)


class NamespaceSelector(Model):
    """Namespaces by their labels; every part must hold, and an empty one holds for all."""

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=32)] = {}
    """Labels that a namespace must have. Default: none. Example: {studio: games}."""
    match_expressions: Annotated[tuple[LabelRequirement, ...], Field(max_length=32)] = ()
    """Further requirements on its labels. Default: none. Example: [{key: studio, operator: Exists}]."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a namespace with these labels is meant."""
        exact = all(labels.get(key) == value for key, value in self.match_labels.items())
        return exact and all(each.matches(labels) for each in self.match_expressions)


class Access(Model):
    """Who may refer to this object; its own namespace always."""

    from_: Annotated[AccessFrom, Field(alias="from")] = AccessFrom.SAME
    """Same (this namespace only), All, or Selector (those that namespaceSelector finds)."""
    namespace_selector: NamespaceSelector | None = None
    """Which namespaces; with Selector, and only with it. Example: {matchLabels: {studio: games}}."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.from == 'Selector' ? has(self.namespaceSelector) : !has(self.namespaceSelector)",
            "namespaceSelector goes with from: Selector, and only with it",
            ".namespaceSelector",
        ),
    )

    def permits(self, own: str, other: str, labels: Mapping[str, str] | None) -> bool:
        """Whether namespace `other`, with these labels (None: not known), may refer to an object of namespace `own`."""
        if own == other or self.from_ is AccessFrom.ALL:
            return True
        if self.from_ is AccessFrom.SAME or self.namespace_selector is None or labels is None:
            return False
        return self.namespace_selector.matches(labels)
