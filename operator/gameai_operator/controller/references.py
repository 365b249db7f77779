"""PURE: who refers to whom, and what those who are referred to last looked like to others.

A world refers to tiers. Only what others can see of a tier (its projection) matters to them, so that a tier whose
counts change a hundred times does not wake a thousand worlds.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

from gameai_operator.controller.manifest import Key


class Unread(Enum):
    """The projection of an object that is there but was not read yet."""

    UNREAD = "unread"


UNREAD = Unread.UNREAD


class References:
    """Edges from sources to targets, and the projection of every target; a target need not exist."""

    def __init__(self) -> None:
        self._targets: dict[Key, frozenset[Key]] = {}
        self._sources: dict[Key, set[Key]] = defaultdict(set)
        self._projections: dict[Key, Any] = {}

    def point(self, source: Key, targets: Iterable[Key]) -> tuple[frozenset[Key], frozenset[Key]]:
        """From now on a source refers to these targets, and to no others.

        Returns the targets that are new to it, and those that no source refers to any more.
        """
        wanted = frozenset(targets)
        before = self._targets.pop(source, frozenset())
        for target in before - wanted:
            self._sources[target].discard(source)
            if not self._sources[target]:
                del self._sources[target]
        for target in wanted - before:
            self._sources[target].add(source)
        if wanted:
            self._targets[source] = wanted
        return wanted - before, frozenset(
            each for each in before - wanted if each not in self._sources
        )

    def is_named(self, target: Key) -> bool:
        """Whether any source refers to it."""
        return target in self._sources

    def shown(self, target: Key) -> Any:
        """The projection of a target; None where it is not there."""
        return self._projections.get(target)

    def show(self, target: Key, projection: Any) -> tuple[Key, ...]:
        """A target looks like this now (None: it is gone); the sources that must be reconciled."""
        before = self._projections.get(target)
        # An equal projection may still hold a newer value, but its sources need no reconcile.
        if projection is None:
            self._projections.pop(target, None)
        else:
            self._projections[target] = projection
        if before == projection:
            return ()
        return tuple(sorted(self._sources.get(target, ())))

    def seen_by(self, source: Key) -> Mapping[Key, Any]:
        """What a source's targets look like; None for one that is not there."""
        targets = self._targets.get(source, ())
        return MappingProxyType({target: self._projections.get(target) for target in targets})
