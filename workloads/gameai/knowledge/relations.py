"""PURE: relations between concepts, their limits, and a walk along them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gameai.knowledge.concepts import Named, Version

# Of a world, and of all worlds together; and those of one concept among them, which a walk reads at once.
MOST_RELATIONS, MOST_RELATIONS_OF_CONCEPT = 10_000, 500
MOST_RELATION_VERSIONS = 1000
MOST_STRENGTH = 100
MOST_DEPTH = 3


class Direction(StrEnum):
    """Which relations of a concept are followed: all, those whose subject it is, those whose object it is."""

    BOTH = "both"
    OUTGOING = "outgoing"
    INCOMING = "incoming"


@dataclass(frozen=True, kw_only=True, slots=True)
class Relation:
    """A subject, what it is to an object, and that object. `world` empty: of all worlds."""

    world: str
    subject: Named
    kind: str
    object: Named


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """From a second of world time on a relation holds, with a strength of 1 to 100, or has ended; `cause` is the number of an event, 0: none."""

    strength: int = MOST_STRENGTH
    ended: bool = False
    from_seconds: int = 0
    cause: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class RelationVersion:
    """A version of a relation, and how many relations away from the concept that was asked for it was found."""

    relation: Relation
    number: int
    state: State
    account: str
    recorded_at: datetime
    depth: int = 0

    @property
    def key(self) -> tuple[Named, str, Named]:
        """Which relation it is, in a world that sees one version of each."""
        return self.relation.subject, self.relation.kind, self.relation.object


@dataclass(frozen=True, kw_only=True, slots=True)
class Around:
    """Which relations to list: of a concept, as its world sees them at a time of it; with `ended` also those that do not hold."""

    concept: Named
    kinds: tuple[str, ...]
    direction: Direction
    depth: int
    count: int
    seconds: int
    ended: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbourhood:
    """What was found around a concept; `more`: relations were left out."""

    relations: Sequence[RelationVersion] = ()
    concepts: Sequence[Version] = ()
    more: bool = False


class Walk:
    """Follows relations from a concept, one depth after the other."""

    def __init__(self, around: Around) -> None:
        """Begins at the concept itself."""
        self._around = around
        self.depth = 0
        self.more = False
        self.frontier = [around.concept]
        self._found: dict[tuple[Named, str, Named], RelationVersion] = {}
        self._seen = {around.concept}

    @property
    def done(self) -> bool:
        """Whether no further depth is looked at."""
        return self.more or not self.frontier or self.depth == self._around.depth

    @property
    def rows_needed(self) -> int:
        """How many relations of the frontier must be read: known ones may be among them, and one more says that there are more."""
        return len(self._found) + self._around.count + 1

    @property
    def relations(self) -> list[RelationVersion]:
        """What was found so far."""
        return list(self._found.values())

    @property
    def reached(self) -> list[Named]:
        """The concepts that the relations name, apart from the one that was asked for."""
        return sorted(self._seen - {self._around.concept}, key=lambda each: (each.kind, each.name))

    def take(self, given: Iterable[RelationVersion]) -> None:
        """The relations of the frontier, strongest first."""
        self.depth += 1
        reached: dict[Named, None] = {}
        for each in given:
            if each.key in self._found:
                continue
            if len(self._found) == self._around.count:
                self.more = True
                break
            self._found[each.key] = each
            reached |= dict.fromkeys((each.relation.subject, each.relation.object))
        self.frontier = [each for each in reached if each not in self._seen]
        self._seen |= reached.keys()
