"""PURE: what declarations, events and proposals change."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gameai_contract.catalogue.world_state import SERVICE

from gameai import fields
from gameai.errors import FailedPreconditionError, FullError
from gameai.services.world_state.rules import drift
from gameai.services.world_state.rules.drift import Dated
from gameai.services.world_state.rules.table import Rule, Rules, Stored, Target, fact
from gameai.world_state.v1 import world_state_pb2 as pb

# Of a world: facts with a value for each region, and facts of the world; and all rules together.
MOST_RULES, MOST_RULE_BYTES = 128, 512 << 10
# That one event may change.
MOST_BY_EVENT = 1000
MOST_REGIONS = SERVICE.settings["regions"].most
Values = Mapping[Target, Stored]


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A change of a fact: `amount` is added to its value, or is the new one."""

    target: Target
    amount: int
    sets: bool
    cause: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """The new value of a fact; `previous` is the one before, with its drift."""

    target: Target
    dated: Dated
    previous: int
    cause: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """Rules to write, facts to remove, and values that new rules have changed."""

    rules: list[Rule]
    removed: list[str]
    values: dict[Target, Stored]


def written(steps: Iterable[Step], rules: Rules, values: Values, now_us: int) -> list[Written]:
    """What steps change, one after the other; facts that are as before are left out. `values` are those that are stored."""
    before: dict[Target, int] = {}
    after: dict[Target, tuple[Dated, str]] = {}
    for step in steps:
        rule = rules[step.target.fact]
        stored = (values.get(step.target) or rule.unchanged).dated
        given = after[step.target][0] if step.target in after else stored
        now = drift.rebased(given, rule.drift, now_us)
        before.setdefault(step.target, now.value)
        value = rule.bounded(step.amount if step.sets else now.value + step.amount)
        at = now_us if step.sets else now.at_us
        after[step.target] = (Dated(value=value, at_us=at), step.cause)
    return [
        Written(target=target, dated=dated, previous=before[target], cause=cause)
        for target, (dated, cause) in after.items()
        if dated.value != before[target]
    ]


def proposed(
    given: pb.Proposal, rules: Rules, regions: Sequence[str], values: Values, now_us: int
) -> Step | str:
    """The step that a proposal asks for, or why it is refused."""
    rule = rules.get(given.fact)
    if rule is None:
        return f"fact {given.fact!r} is not declared{fields.hint(given.fact, rules) or ': declare it with DeclareFacts'}"
    target = Target(fact=given.fact, region=given.region)
    wrong = wrong_region(rule.body, given.region, regions)
    if wrong:
        return wrong
    stored = values.get(target) or rule.unchanged
    if not rule.body.proposals:
        return f"{given.fact} changes by events alone: set proposals in its rule"
    if given.HasField("expected_revision") and given.expected_revision != stored.revision:
        return f"{given.fact} has the revision {stored.revision}, not {given.expected_revision}: read it again"
    sets = given.WhichOneof("change") == "set"
    present = drift.present(stored.dated, rule.drift, now_us)
    by = abs((given.set - present) if sets else given.add)
    if rule.body.max_step and by > rule.body.max_step:
        return f"{given.fact} is {present}: a proposal may change it by at most {rule.body.max_step}, not by {by}"
    amount = given.set if sets else given.add
    return Step(target=target, amount=amount, sets=sets, cause=given.cause)


def exists(target: Target, rules: Rules, regions: Sequence[str]) -> bool:
    """Whether there is such a fact."""
    rule = rules.get(target.fact)
    return rule is not None and target in rule.targets(regions)


def verdict(
    target: Target | None,
    step: Step | str,
    rules: Rules,
    values: Values,
    changes: Mapping[Target, Written],
    revision: int,
    now_us: int,
) -> pb.Verdict:
    """The answer to a proposal for a fact, None: there is no such. `values` are those before the changes, which have this revision."""
    if target is None:
        return pb.Verdict(outcome=pb.OUTCOME_REFUSED, reason=str(step))
    rule, change = rules[target.fact], changes.get(target)
    stored = values.get(target) or rule.unchanged
    if isinstance(step, str):
        present_fact = fact(rule, target, stored, now_us)
        return pb.Verdict(outcome=pb.OUTCOME_REFUSED, reason=step, fact=present_fact)
    present = drift.present(stored.dated, rule.drift, now_us)
    aim = step.amount if step.sets else present + step.amount
    if change is None:
        outcome = pb.OUTCOME_UNCHANGED
    else:
        outcome = pb.OUTCOME_CHANGED if rule.bounded(aim) == aim else pb.OUTCOME_CLAMPED
        stored = Stored(dated=change.dated, revision=revision, cause=change.cause)
    return pb.Verdict(outcome=outcome, fact=fact(rule, target, stored, now_us))


def declare(
    request: pb.DeclareFactsRequest, rules: Rules, values: Values, revision: int, now_us: int
) -> Declared:
    """What a declaration changes, as this revision. `values` has all that are stored of its facts.

    Raises `FailedPreconditionError`, `FullError`.
    """
    found = []
    moved: dict[Target, Stored] = {}
    for number, body in enumerate(request.rules):
        old = rules.get(body.name)
        if old is not None and old.body.per_region != body.per_region:
            raise FailedPreconditionError(
                f"rules[{number}]: per_region of {body.name} cannot be changed: remove the fact first (removed_facts)",
                field=f"rules[{number}].per_region",
            )
        if old is not None and old.body == body:
            continue
        rule = _rule(body, old, revision, now_us)
        found.append(rule)
        if old is not None and _moves(body, old.body):
            moved |= _moved(rule, old, values, revision, now_us)
    removed = [each for each in request.removed_facts if each in rules]
    _require_room({**rules, **{each.body.name: each for each in found}}, removed)
    return Declared(rules=found, removed=removed, values=moved)


def _rule(body: pb.FactRule, old: Rule | None, revision: int, now_us: int) -> Rule:
    """The rule, with the value of facts that nothing has changed yet: that of the former rule stays, unless `initial` is another."""
    if old is None or old.body.initial != body.initial:
        return Rule(body=body, base=Dated(value=body.initial, at_us=now_us), revision=revision)
    same = Rule(body=body, base=old.base, revision=old.revision)
    if not _moves(body, old.body):
        return same
    base = same.within(drift.rebased(old.base, old.drift, now_us))
    return Rule(body=body, base=base, revision=revision)


def _moved(
    rule: Rule, old: Rule, values: Values, revision: int, now_us: int
) -> dict[Target, Stored]:
    """Values under a new rule: they are as they were, within its bounds."""
    return {
        target: Stored(
            dated=rule.within(drift.rebased(stored.dated, old.drift, now_us)),
            revision=revision,
            cause=stored.cause,
        )
        for target, stored in values.items()
        if target.fact == rule.body.name
    }


def _moves(body: pb.FactRule, old: pb.FactRule) -> bool:
    """Whether values are others under a new rule, now or later."""
    return _movement(body) != _movement(old)


def _movement(body: pb.FactRule) -> tuple[int, ...]:
    return body.minimum, body.maximum, body.drift_per_hour, body.drift_to


def wrong_region(rule: pb.FactRule, region: str, regions: Sequence[str]) -> str:
    """Why a fact has no value for a region; empty: it has."""
    if rule.per_region and region in regions:
        return ""
    if not rule.per_region:
        return f"{rule.name} is a fact of the world: leave region empty" if region else ""
    if not region:
        return f"{rule.name} has a value for each region: name one"
    return f"region {region!r} is not in the setting regions of the service ({', '.join(regions)}){fields.hint(region, regions)}"


def _require_room(rules: Rules, removed: Sequence[str]) -> None:
    left = [each.body for name, each in rules.items() if name not in removed]
    size = sum(each.ByteSize() for each in left)
    for kind, number in (
        ("facts per_region", sum(each.per_region for each in left)),
        ("facts of the world", sum(not each.per_region for each in left)),
    ):
        if number > MOST_RULES:
            raise FullError(
                f"the world would have {number} {kind}, and the limit is {MOST_RULES}: remove some first",
                field="rules",
            )
    by_event = Counter[str]()
    for each in left:
        for reaction in each.reactions:
            everywhere = each.per_region and not reaction.region_field
            by_event[reaction.event] += MOST_REGIONS if everywhere else 1
    for event, changes in by_event.items():
        if changes > MOST_BY_EVENT:
            raise FullError(
                f"an event {event} would change up to {changes} facts, and the limit is {MOST_BY_EVENT}: give region_field, or remove reactions",
                field="rules",
            )
    if size > MOST_RULE_BYTES:
        raise FullError(
            f"the world's rules would have {size} bytes, and the limit is {MOST_RULE_BYTES}: remove some first",
            field="rules",
        )
