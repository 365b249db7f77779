"""PURE: the archetypes that gateways have, as the operator keeps them: equal ones once, and a budget for each namespace.

A world with an invalid ConfigMap keeps the last valid document. So one tenant with many worlds could have the operator
hold a document for each, however few of them are right at any time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary, finalize

# Twice what the documents of a namespace may take: while they change, former ones and new ones are both in use. A
# gateway keeps no more either.
SHOWN_BUDGET_BYTES = 2 << 20


class Shown:
    """A document that gateways have; empty if absent, or where the namespace's budget is used up."""

    __slots__ = ("__weakref__", "text")

    def __init__(self, text: str) -> None:
        self.text = text


@dataclass(frozen=True, kw_only=True, slots=True)
class Parked:
    """A service whose events are parked: since when, and why its first batch was not handled."""

    service: str
    since: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewFacts:
    """What is kept of a live WorldView: the archetypes that gateways have, and the services whose events are parked."""

    archetypes: Shown
    parked: tuple[Parked, ...] = ()


def parked(document: Mapping[str, Any]) -> tuple[Parked, ...]:
    """The services of a live WorldView whose events are parked."""
    entries = document.get("status", {}).get("parked", ())
    return tuple(
        Parked(service=each["service"], since=each["since"], reason=each.get("reason", ""))
        for each in entries
    )


class ShownTexts:
    """Documents by namespace, each for as long as a WorldView with it is known."""

    def __init__(self, budget_bytes: int = SHOWN_BUDGET_BYTES) -> None:
        self._budget_bytes = budget_bytes
        self._texts: dict[str, WeakValueDictionary[str, Shown]] = {}
        self._held: dict[str, int] = {}

    def facts(self, document: Mapping[str, Any]) -> ViewFacts:
        """What is kept of a live WorldView."""
        return ViewFacts(archetypes=self.of(document), parked=parked(document))

    def of(self, document: Mapping[str, Any]) -> Shown:
        """The archetypes of a live WorldView."""
        text: str = document["spec"].get("archetypes", "")
        if not text:
            return Shown("")
        namespace: str = document["metadata"]["namespace"]
        texts = self._texts.setdefault(namespace, WeakValueDictionary())
        found = texts.get(text)
        if found is not None:
            return found
        size = len(text.encode())
        if self._held.get(namespace, 0) + size > self._budget_bytes:
            return Shown("")
        self._held[namespace] = self._held.get(namespace, 0) + size
        made = texts[text] = Shown(text)
        finalize(made, self._release, namespace, size)
        return made

    def held_bytes(self, namespace: str) -> int:
        """Bytes of a namespace's documents."""
        return self._held.get(namespace, 0)

    def _release(self, namespace: str, size: int) -> None:
        self._held[namespace] -= size
        if not self._held[namespace]:
            del self._held[namespace], self._texts[namespace]
