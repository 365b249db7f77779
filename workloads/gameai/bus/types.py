"""PURE: the types of events, read from the options of their messages."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from gameai.bus.v1.bus_pb2 import OVERFLOW_BLOCK, Event, EventOptions, Overflow, event

MOST_SOURCES = 64
_MOST_TYPES = 15


class LaterSchemaError(Exception):
    """The event has a later major version of its type than this program knows; one that knows it can handle it."""


class DamagedEventError(Exception):
    """The body of an event is not a message of its type."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EventType:
    """A type of events. `number` is the one of the wire, source << 4 | number within the source."""

    name: str
    number: int
    schema: int
    overflow: "Overflow.ValueType"
    key: tuple[str, ...]
    message: type[Message]

    @property
    def source(self) -> int:
        """Number of the service that publishes it."""
        return self.number >> 4

    def about(self, message: Message) -> tuple[object, ...]:
        """What an event of this type is about: of two of one world that are equal here, the newer may replace the older."""
        return (self.number, *(getattr(message, each) for each in self.key))


class Types:
    """The types of some modules that protoc wrote, by name and by number. Raises ValueError where a declaration is wrong."""

    def __init__(self, modules: Iterable[ModuleType]) -> None:
        declared = [
            _declared(each)
            for module in modules
            for each in module.DESCRIPTOR.message_types_by_name.values()
            if each.GetOptions().HasExtension(event)
        ]
        by_number: dict[int, EventType] = {}
        for each in declared:
            other = by_number.setdefault(each.number, each)
            if other is not each:
                raise ValueError(
                    f"{each.name} and {other.name} have the same number {each.number & _MOST_TYPES} of source {each.source}: give one of them the next free number"
                )
        self.by_number: Mapping[int, EventType] = MappingProxyType(by_number)
        self._by_name = {each.name: each for each in declared}

    def of(self, message: Message) -> EventType:
        """The type of a message. Raises ValueError where it is not declared."""
        name = message.DESCRIPTOR.full_name
        if name not in self._by_name:
            raise ValueError(
                f"{name} is not an event type of this program: give its generated module in `types`, and its message the option (gameai.bus.v1.event)"
            )
        return self._by_name[name]

    def message(self, given: Event) -> Message | None:
        """The message of an event; None: the type is not known here, and the event is none of this program's.

        Raises `LaterSchemaError`, `DamagedEventError`.
        """
        known = self.by_number.get(given.type)
        if known is None:
            return None
        if given.schema > known.schema:
            raise LaterSchemaError(
                f"{known.name} has the major version {given.schema}; this program knows {known.schema}: upgrade it"
            )
        found = known.message()
        try:
            found.ParseFromString(given.body)
        except DecodeError as error:
            raise DamagedEventError(f"the body is not a {known.name}") from error
        return found


def _declared(message: Descriptor) -> EventType:
    options: EventOptions = message.GetOptions().Extensions[event]
    if not 0 < options.source < MOST_SOURCES or not 0 < options.number <= _MOST_TYPES:
        raise ValueError(
            f"{message.full_name}: source must be 1 to {MOST_SOURCES - 1} and number 1 to {_MOST_TYPES}"
        )
    unknown = [each for each in options.key if each not in message.fields_by_name]
    if unknown:
        raise ValueError(f"{message.full_name}: key names the field {unknown[0]!r}, which it lacks")
    return EventType(
        name=message.full_name,
        number=options.source << 4 | options.number,
        schema=options.schema or 1,
        overflow=options.overflow or OVERFLOW_BLOCK,
        key=tuple(options.key),
        message=GetMessageClass(message),
    )
