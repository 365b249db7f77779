"""PURE: which facts an event changes."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from gameai.bus.subjects import name_id
from gameai.bus.types import EventType, Types
from gameai.events.v1 import events_pb2
from gameai.services.world_state.rules.decision import Step
from gameai.services.world_state.rules.table import Rule, Rules, Target
from gameai.world_state.v1 import world_state_pb2 as pb

# Fields that hold the name of something.
_NAME = FieldDescriptor.TYPE_FIXED64
# Whole numbers, and what they hold.
_WHOLE = {
    FieldDescriptor.CPPTYPE_INT32: range(-(1 << 31), 1 << 31),
    FieldDescriptor.CPPTYPE_INT64: range(-(1 << 63), 1 << 63),
    FieldDescriptor.CPPTYPE_UINT32: range(1 << 32),
    FieldDescriptor.CPPTYPE_UINT64: range(1 << 64),
}
_MOST_DIGITS = 20


def event_types() -> Iterator[EventType]:
    """The types that rules may react to: not those of this service, which would have no end, nor those about the bus itself."""
    for each in Types([events_pb2]).by_number.values():
        if each.source not in (events_pb2.SOURCE_WORLD_STATE, events_pb2.SOURCE_EVENT_BUS):
            yield each


# By the names that rules give.
EVENTS: Mapping[str, EventType] = MappingProxyType(
    {each.name.rpartition(".")[2]: each for each in event_types()}
)


def fields_of(event: Message | type[Message]) -> Mapping[str, FieldDescriptor]:
    """The fields of events of a type, by name."""
    return cast("Mapping[str, FieldDescriptor]", event.DESCRIPTOR.fields_by_name)


def holds_name(field: FieldDescriptor) -> bool:
    """Whether a field of an event holds a name; fixed64 may be a time too."""
    return field.type == _NAME and not field.name.endswith("_us")


def expected(field: FieldDescriptor, text: str) -> int | None:
    """The value of a field that a condition means; None: the field cannot have it."""
    if holds_name(field):
        # Events have 0 where there is no name.
        return 0 if text == "0" else name_id(text)
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return {"true": 1, "false": 0}.get(text)
        case FieldDescriptor.CPPTYPE_ENUM:
            return enum_values(field).get(text)
        case kind:
            digits = text.removeprefix("-")
            whole = digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS
            return int(text) if whole and int(text) in _WHOLE.get(kind, ()) else None


def enum_values(field: FieldDescriptor) -> dict[str, int]:
    """The values of an enum by name; empty for other fields."""
    known = field.enum_type.values if field.enum_type is not None else ()
    return {each.name: each.number for each in known}


def steps(rules: Rules, event: Message, regions: Mapping[int, str]) -> list[Step]:
    """What rules change by an event, in the order of their facts. `regions` are those of the world by the numbers of their names."""
    name = event.DESCRIPTOR.name
    return [
        Step(target=target, amount=amount, sets=sets, cause=name)
        for rule, each in _holding(rules, event)
        for amount, sets in (_change(each),)
        for target in _targets(rule, each, event, regions)
    ]


def unknown_regions(rules: Rules, event: Message, regions: Mapping[int, str]) -> set[int]:
    """Numbers of regions that the world lacks, of an event that would change their facts."""
    named = {
        getattr(event, each.region_field, 0)
        for _, each in _holding(rules, event)
        if each.region_field
    }
    return named - regions.keys()


def _holding(rules: Rules, event: Message) -> Iterator[tuple[Rule, pb.Reaction]]:
    """Reactions to an event whose conditions hold."""
    name = event.DESCRIPTOR.name
    for fact in sorted(rules):
        for each in rules[fact].body.reactions:
            if each.event == name and all(_holds(event, one) for one in each.conditions):
                yield rules[fact], each


def _targets(
    rule: Rule, given: pb.Reaction, event: Message, regions: Mapping[int, str]
) -> Iterator[Target]:
    """The facts that a reaction changes: none for a region that the world lacks, or a field that only a later release knows."""
    if not given.region_field:
        yield from rule.targets(list(regions.values()))
        return
    region = regions.get(getattr(event, given.region_field, 0))
    if region is not None:
        yield Target(fact=rule.body.name, region=region)


def _change(given: pb.Reaction) -> tuple[int, bool]:
    sets = given.WhichOneof("change") == "set"
    return (given.set if sets else given.add), sets


def _holds(event: Message, given: pb.Condition) -> bool:
    field = fields_of(event).get(given.field)
    return field is not None and getattr(event, given.field) == expected(field, given.equals)
