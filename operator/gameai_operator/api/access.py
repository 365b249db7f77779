"""PURE: who may use an object from another namespace."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from gameai_operator.api.base import Model, Rule
from gameai_operator.api.selector import LabelSelector


class AccessFrom(StrEnum):
    """Whose references are honoured."""

    SAME = "Same"
    ALL = "All"
    SELECTOR = "Selector"


class Access(Model):
    """Who may refer to this object; its own namespace always."""

    from_: Annotated[AccessFrom, Field(alias="from")] = AccessFrom.SAME
    """Same (this namespace only), All, or Selector (those that namespaceSelector finds)."""
    namespace_selector: LabelSelector | None = None
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
