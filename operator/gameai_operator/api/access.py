"""PURE: who may use an object from another namespace."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from gameai_operator.api.base import Model, Rule
from gameai_operator.api.selector import LabelSelector


class AccessFrom(StrEnum):
    """Which namespaces may reference the object."""

    SAME = "Same"
    ALL = "All"
    SELECTOR = "Selector"


class Access(Model):
    """Namespaces that may reference this object. Its own namespace is always allowed."""

    from_: Annotated[AccessFrom, Field(alias="from")] = AccessFrom.SAME
    """Same (only this namespace), All, or Selector (namespaces that match namespaceSelector)."""
    namespace_selector: LabelSelector | None = None
    """Selects namespaces by label. Required with from: Selector, and not allowed otherwise. Example: {matchLabels: {studio: games}}."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.from == 'Selector' ? has(self.namespaceSelector) : !has(self.namespaceSelector)",
            "namespaceSelector is required with from: Selector, and not allowed otherwise",
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
