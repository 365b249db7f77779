"""PURE: what requests may hold. All raise `InvalidArgumentError` with the field and what it takes."""

from collections.abc import Collection, Mapping, Sequence

from gameai_contract.settings import nearest
from google.protobuf.descriptor import FieldDescriptor

from gameai import fields
from gameai.errors import InvalidArgumentError, NotFoundError
from gameai.services.world_state.rules import decision, reactions
from gameai.services.world_state.rules.table import Filter, Rules, Target
from gameai.world_state.v1 import world_state_pb2 as pb

# Of a request, with its texts.
MOST_REQUEST_BYTES = 256 << 10
_MOST_CHANGES = 64
_MOST_VALUE = 10**12
# So that readers in 64 bits can multiply it with hours of microseconds.
_MOST_DRIFT = 10**6
_MOST_TEXT, _MOST_UNIT, _MOST_CAUSE, _MOST_EQUALS, _MOST_REGION = 512, 32, 64, 128, 64
_MOST_REACTIONS, _MOST_CONDITIONS = 16, 4
_SHOWN = 64


def declaration(request: pb.DeclareFactsRequest) -> None:
    """Rules, and facts to remove."""
    fields.count(request.rules, "rules", 0, _MOST_CHANGES)
    fields.count(request.removed_facts, "removed_facts", 0, _MOST_CHANGES)
    if not request.rules and not request.removed_facts:
        raise InvalidArgumentError(
            "the request changes nothing: give rules or removed_facts", field="rules"
        )
    for place, each in enumerate(request.rules):
        _rule(each, f"rules[{place}]")
    declared = [each.name for each in request.rules]
    fields.removals(request.removed_facts, "removed_facts", declared, "rules")


def proposals(request: pb.ProposeFactsRequest) -> None:
    """Proposals, as far as they need no rule."""
    fields.count(request.proposals, "proposals", 1, _MOST_CHANGES)
    for place, each in enumerate(request.proposals):
        field = f"proposals[{place}]"
        fields.name(each.fact, f"{field}.fact")
        fields.text(each.region, f"{field}.region", 0, _MOST_REGION)
        fields.text(each.cause, f"{field}.cause", 1, _MOST_CAUSE)
        _change(each, field)
    fields.different([(each.fact, each.region) for each in request.proposals], "proposals")


def regions_of(
    request: pb.GetSnapshotRequest | pb.WatchFactsRequest, regions: Sequence[str]
) -> None:
    """The regions that a caller reads. Raises `NotFoundError` too."""
    fields.different(request.regions, "regions")
    for place, region in enumerate(request.regions):
        if region not in regions:
            remedy = "add it to the setting regions of the service"
            raise _unknown(region, f"regions[{place}]", regions, remedy)


def wanted(request: pb.GetSnapshotRequest | pb.WatchFactsRequest, facts: Collection[str]) -> Filter:
    """What a caller reads. Raises `NotFoundError` too."""
    fields.different(request.facts, "facts")
    for place, fact in enumerate(request.facts):
        if fact not in facts:
            raise _unknown(fact, f"facts[{place}]", facts, "declare it with DeclareFacts")
    return Filter(regions=tuple(sorted(request.regions)), facts=tuple(sorted(request.facts)))


def target(request: pb.ListChangesRequest, regions: Sequence[str], rules: Rules) -> Target:
    """The fact whose changes are asked for. Raises `NotFoundError` too."""
    fields.name(request.fact, "fact")
    if request.fact not in rules:
        raise _unknown(request.fact, "fact", rules, "declare it with DeclareFacts")
    wrong = decision.wrong_region(rules[request.fact].body, request.region, regions)
    if wrong:
        raise InvalidArgumentError(wrong, field="region")
    return Target(fact=request.fact, region=request.region)


def _rule(given: pb.FactRule, field: str) -> None:
    fields.name(given.name, f"{field}.name")
    fields.text(given.description, f"{field}.description", 1, _MOST_TEXT)
    fields.text(given.unit, f"{field}.unit", 0, _MOST_UNIT)
    for name in ("minimum", "maximum", "initial", "drift_to", "max_step"):
        _value(getattr(given, name), f"{field}.{name}")
    _drift(given, field)
    if given.minimum >= given.maximum:
        raise InvalidArgumentError(
            f"{field}.maximum must be above minimum, {given.minimum}", field=f"{field}.maximum"
        )
    drifting = ("drift_to",) if given.drift_per_hour else ()
    for name in ("initial", *drifting):
        value = getattr(given, name)
        if not given.minimum <= value <= given.maximum:
            raise InvalidArgumentError(
                f"{field}.{name} must be {given.minimum} to {given.maximum}, within the bounds, not {value}",
                field=f"{field}.{name}",
            )
    if given.max_step and not given.proposals:
        raise InvalidArgumentError(
            f"{field}.max_step bounds proposals: set proposals, or leave out max_step",
            field=f"{field}.max_step",
        )
    fields.count(given.reactions, f"{field}.reactions", 0, _MOST_REACTIONS)
    for place, each in enumerate(given.reactions):
        _reaction(each, f"{field}.reactions[{place}]", given)


def _drift(given: pb.FactRule, field: str) -> None:
    if given.drift_per_hour > _MOST_DRIFT:
        raise InvalidArgumentError(
            f"{field}.drift_per_hour must be 0 to {_MOST_DRIFT}, not {given.drift_per_hour}",
            field=f"{field}.drift_per_hour",
        )
    if given.drift_to and not given.drift_per_hour:
        raise InvalidArgumentError(
            f"{field}.drift_to needs drift_per_hour: set it, or leave out drift_to",
            field=f"{field}.drift_per_hour",
        )


def _reaction(given: pb.Reaction, field: str, rule: pb.FactRule) -> None:
    event = reactions.EVENTS.get(given.event)
    if event is None:
        raise InvalidArgumentError(
            f"{field}.event must be one of {', '.join(sorted(reactions.EVENTS))}, not {given.event[:_SHOWN]!r}{nearest(given.event[:_SHOWN], reactions.EVENTS)}",
            field=f"{field}.event",
        )
    known = reactions.fields_of(event.message)
    if given.region_field:
        _region_field(given.region_field, f"{field}.region_field", rule, known)
    fields.count(given.conditions, f"{field}.conditions", 0, _MOST_CONDITIONS)
    for place, each in enumerate(given.conditions):
        _condition(each, f"{field}.conditions[{place}]", known)
    _change(given, field)
    if given.WhichOneof("change") == "set" and not rule.minimum <= given.set <= rule.maximum:
        raise InvalidArgumentError(
            f"{field}.set must be {rule.minimum} to {rule.maximum}, within the bounds, not {given.set}",
            field=f"{field}.set",
        )


def _region_field(
    name: str, field: str, rule: pb.FactRule, known: Mapping[str, FieldDescriptor]
) -> None:
    if not rule.per_region:
        raise InvalidArgumentError(
            f"{field} is for a fact per_region: set per_region, or leave it out", field=field
        )
    names = [each for each in known if reactions.holds_name(known[each])]
    if name not in names:
        raise InvalidArgumentError(
            f"{field} must be one of {', '.join(names) or '(none)'}, the fields of the event that hold names, not {name[:_SHOWN]!r}",
            field=field,
        )


def _condition(given: pb.Condition, field: str, known: Mapping[str, FieldDescriptor]) -> None:
    found = known.get(given.field)
    if found is None:
        raise InvalidArgumentError(
            f"{field}.field must be one of {', '.join(known)}, not {given.field[:_SHOWN]!r}",
            field=f"{field}.field",
        )
    fields.text(given.equals, f"{field}.equals", 1, _MOST_EQUALS)
    if reactions.expected(found, given.equals) is None:
        values = ", ".join(reactions.enum_values(found))
        raise InvalidArgumentError(
            f"{field}.equals must be {f'one of {values}' if values else 'a whole number that the field holds, true or false'}, not {given.equals!r}",
            field=f"{field}.equals",
        )


def _change(given: pb.Reaction | pb.Proposal, field: str) -> None:
    kind = given.WhichOneof("change")
    if kind is None:
        raise InvalidArgumentError(
            f"{field} changes nothing: give add or set", field=f"{field}.add"
        )
    _value(given.set if kind == "set" else given.add, f"{field}.{kind}")


def _value(value: int, field: str) -> None:
    if abs(value) > _MOST_VALUE:
        raise InvalidArgumentError(
            f"{field} must be within 10^12 of zero, not {value}", field=field
        )


def _unknown(value: str, field: str, known: Collection[str], remedy: str) -> NotFoundError:
    shown = value[:_SHOWN]
    return NotFoundError(
        f"{field}: {shown!r} is not known{fields.hint(shown, known) or f': {remedy}'}", field=field
    )
