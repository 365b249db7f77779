"""The reference of event types, from their registry in `proto/gameai/events/v1/events.proto` and its comments."""

import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from gameai.bus.types import EventType, Types
from gameai.bus.v1.bus_pb2 import (
    OVERFLOW_BLOCK,
    OVERFLOW_COALESCE,
    OVERFLOW_DROP_OLDEST,
)
from gameai.events.v1 import events_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from gameai_devcluster.install import ROOT

INTRO = (
    "Types of the [event bus](../event-bus.md), from `proto/gameai/events/v1/events.proto`. A name is the first 8 bytes of "
    "BLAKE2b of its UTF-8 text (`name_id`). World times are microseconds since the world began. Not every type has a service that "
    "publishes it yet: the table of the page [event bus](../event-bus.md#what-is-published) has those of the built-in services."
)
_PROTO = "gameai/events/v1/events.proto"
# Numbers of fields that lead to a comment: `message_type` of a file, `field` of a message.
_MESSAGE, _FIELD = 4, 2
_OVERFLOW = {
    OVERFLOW_BLOCK: "publishing waits",
    OVERFLOW_COALESCE: "a newer event about the same replaces a waiting one; else publishing waits",
    OVERFLOW_DROP_OLDEST: "the oldest waiting event is dropped",
}
_PREFIX = "TYPE_"

# A message, its comment, and its fields, each with its comment.
Entry = tuple[DescriptorProto, str, list[tuple[FieldDescriptorProto, str]]]


def sections() -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The text of each event type, and the rows of its fields: name, type, meaning."""
    types = Types([events_pb2])
    known = {each.name: each for each in types.by_number.values()}
    file = _described()
    found = []
    for message, text, fields in _entries(file):
        kind = known[f"{file.package}.{message.name}"]
        rows = [(f"`{field.name}`", f"`{_type(field)}`", words) for field, words in fields]
        found.append((f"## {message.name}\n\n{text}\n\n{_about(kind)}", rows))
    return found


def _about(kind: EventType) -> str:
    names: dict[int, str] = {number: name for name, number in events_pb2.Source.items()}
    source = names[kind.source].removeprefix("SOURCE_").lower().replace("_", "-")
    same = f" (the same {', '.join(kind.key)})" if kind.key else ""
    return (
        f"Number {kind.number & 15} of source {kind.source}, {source}. "
        f"When the publisher is full: {_OVERFLOW[kind.overflow]}{same}."
    )


def _type(field: FieldDescriptorProto) -> str:
    if field.type_name:
        return field.type_name.rpartition(".")[2]
    return FieldDescriptorProto.Type.Name(field.type).removeprefix(_PREFIX).lower()


def _entries(file: FileDescriptorProto) -> list[Entry]:
    comments = {
        tuple(each.path): " ".join(each.leading_comments.split())
        for each in file.source_code_info.location
    }
    return [
        (
            message,
            comments[_MESSAGE, place],
            [
                (field, comments.get((_MESSAGE, place, _FIELD, number), ""))
                for number, field in enumerate(message.field)
            ],
        )
        for place, message in enumerate(file.message_type)
    ]


def _described() -> FileDescriptorProto:
    """The registry as the compiler reads it, with comments."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "events"
        arguments = [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            f"-I{ROOT / 'proto'}",
            f"-I{sysconfig.get_path('purelib')}",
            f"--descriptor_set_out={output}",
            "--include_source_info",
            _PROTO,
        ]
        subprocess.run(arguments, check=True)
        found = FileDescriptorSet.FromString(output.read_bytes())
    return next(each for each in found.file if each.name == _PROTO)
