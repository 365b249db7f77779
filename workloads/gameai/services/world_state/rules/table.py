"""PURE: the facts of a world at one revision."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gameai.services.world_state.rules.drift import Dated, Drift, present
from gameai.world_state.v1 import world_state_pb2 as pb

# A revision, and the token that is drawn with it: a restored database comes to the same numbers with other values.
Version = tuple[int, str]


@dataclass(frozen=True, kw_only=True, order=True, slots=True)
class Target:
    """A fact, of a region or (empty) of the world."""

    fact: str
    region: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """The value of a fact, since a revision; `cause` is that of its last change."""

    dated: Dated
    revision: int
    cause: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A rule; `base` is the value of its facts before their first change, since a revision."""

    body: pb.FactRule
    base: Dated
    revision: int

    @property
    def drift(self) -> Drift:
        """How values move."""
        return Drift(per_hour=self.body.drift_per_hour, to=self.body.drift_to)

    @property
    def unchanged(self) -> Stored:
        """What a fact is before its first change."""
        return Stored(dated=self.base, revision=self.revision, cause="")

    def bounded(self, value: int) -> int:
        """The value, or the bound that it exceeds."""
        return max(self.body.minimum, min(self.body.maximum, value))

    def within(self, given: Dated) -> Dated:
        """A value within the bounds."""
        return Dated(value=self.bounded(given.value), at_us=given.at_us)

    def targets(self, regions: Sequence[str]) -> Iterator[Target]:
        """Its facts in a world of these regions."""
        for region in regions if self.body.per_region else ("",):
            yield Target(fact=self.body.name, region=region)


Rules = Mapping[str, Rule]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The facts of a world. `rules_token` is drawn with each change of a rule; `values` has facts that were changed.

    `loaded` is the token with which all of it was read: what was read then may be from before a restore, or have other rules.
    """

    revision: int = 0
    token: str = ""
    loaded: str = ""
    rules_token: str = ""
    rules: Rules = field(default_factory=dict)
    values: Mapping[Target, Stored] = field(default_factory=dict)

    @property
    def version(self) -> Version:
        """What no other state has, also not after the database was restored."""
        return self.revision, self.token

    def stored(self, target: Target) -> Stored:
        """The value of a declared fact."""
        return self.values.get(target) or self.rules[target.fact].unchanged


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """The facts that a caller reads: those of these regions and of the world, and of these names; empty: all."""

    regions: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()


def every(given: Table, regions: Sequence[str], wanted: Filter, now_us: int) -> list[pb.Fact]:
    """Facts as messages, in the order of their names, and of the regions. Some 15 µs for each."""
    chosen = [each for each in regions if not wanted.regions or each in wanted.regions]
    names = wanted.facts or sorted(given.rules)
    rules = (given.rules[each] for each in names if each in given.rules)
    return [
        fact(rule, target, given.stored(target), now_us)
        for rule in rules
        for target in rule.targets(chosen)
    ]


def changed(
    given: Table, regions: Sequence[str], wanted: Filter, since: int, now_us: int
) -> list[pb.Fact]:
    """Facts whose values were changed after a revision, as messages."""
    chosen = {"", *(wanted.regions or regions)}
    names = wanted.facts or given.rules
    return [
        fact(given.rules[target.fact], target, stored, now_us)
        for target, stored in given.values.items()
        if stored.revision > since
        and target.region in chosen
        and target.fact in names
        and target.fact in given.rules
    ]


def fact(rule: Rule, target: Target, stored: Stored, now_us: int) -> pb.Fact:
    """A fact as a message."""
    return pb.Fact(
        name=target.fact,
        region=target.region,
        value=stored.dated.value,
        at_world_us=stored.dated.at_us,
        present=present(stored.dated, rule.drift, now_us),
        drift_per_hour=rule.drift.per_hour,
        drift_to=rule.drift.to,
        revision=stored.revision,
        cause=stored.cause,
    )


def page(given: Table, after: str, size: int) -> tuple[list[pb.FactRule], str]:
    """Rules behind a name, and the name behind which the next page begins; "" after the last one."""
    names = [each for each in sorted(given.rules) if each > after]
    return (
        [given.rules[each].body for each in names[:size]],
        names[size - 1] if len(names) > size else "",
    )
