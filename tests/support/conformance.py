"""What the conformance suite knows of each service with state: how to start it, and an example request of each method."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import grpc
from gameai.bus.log import Log
from gameai.bus.subjects import World
from gameai.settings.v1 import settings_pb2
from gameai.state.v1 import state_pb2
from gameai.world_state.v1 import world_state_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from support import live_settings, live_state, live_world_state
from support.live_settings import AUTHOR, change, declaration, drawn, of, whole
from support.live_state import save
from support.live_world_state import proposal, rule

_NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: (float("nan"), float("inf"), -float("inf"), 5e-324),
    FieldDescriptor.CPPTYPE_BOOL: (True, False),
    FieldDescriptor.CPPTYPE_ENUM: (0, 99),
}
_TEXTS = ("", "x" * 65_536, "a\x00b", "\u202e\ud7ff\U0010ffff", "0", "../x", "'; --", "*")
_BYTES = (b"", b"\x00" * 70_000, b"\xff\xfe", b"{")
_MANY = 10_000
# What says when and in which order things happened, and no more.
_OWN = ("version", "versions", "created_us")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A service of the catalogue. Each mutation's example is valid after those before it, and holds no request id."""

    name: str
    service: ServiceDescriptor
    serving: Callable[[str, Log, Sequence[World]], AbstractAsyncContextManager[Any]]
    mutations: Mapping[str, Message]
    reads: Mapping[str, Message]

    @property
    def methods(self) -> dict[str, MethodDescriptor]:
        return dict(self.service.methods_by_name)

    @property
    def pages(self) -> list[str]:
        """Methods that list by pages."""
        return [
            name
            for name, method in self.methods.items()
            if "page_token" in method.input_type.fields_by_name
        ]


SUBJECTS = (
    Subject(
        name="settings",
        service=settings_pb2.DESCRIPTOR.services_by_name["SettingsService"],
        serving=lambda url, log, worlds: live_settings.serving(url, *worlds, log=log),
        mutations={
            "DeclareSettings": settings_pb2.DeclareSettingsRequest(
                declarations=[declaration("spawn"), declaration("loot", per_player=True)], **AUTHOR
            ),
            "UpdateSettings": settings_pb2.UpdateSettingsRequest(
                changes=[
                    change("spawn", whole(5)),
                    change("loot", whole(2), settings_pb2.LAYER_REGION, "moor"),
                ],
                **AUTHOR,
            ),
            "UpdatePlayerSettings": settings_pb2.UpdatePlayerSettingsRequest(
                player="anna", changes=[settings_pb2.PlayerChange(key="loot", value=whole(3))]
            ),
            "DeletePlayerSettings": settings_pb2.DeletePlayerSettingsRequest(player="anna"),
            "RollbackTo": settings_pb2.RollbackToRequest(revision=1, **AUTHOR),
        },
        reads={
            "ListDeclarations": settings_pb2.ListDeclarationsRequest(),
            "GetEffective": settings_pb2.GetEffectiveRequest(
                context=settings_pb2.Context(region="moor", player="anna")
            ),
            "WatchEffective": settings_pb2.WatchEffectiveRequest(keys=["spawn"]),
            "ListRevisions": settings_pb2.ListRevisionsRequest(),
        },
    ),
    Subject(
        name="state-manager",
        service=state_pb2.DESCRIPTOR.services_by_name["StateService"],
        serving=lambda url, log, worlds: live_state.serving(url, *worlds, log=log),
        mutations={
            "BatchWriteObjects": state_pb2.BatchWriteObjectsRequest(
                writes=[save("one", owner="anna"), save("two", owner="anna")]
            ),
            "DeleteOwner": state_pb2.DeleteOwnerRequest(owner="anna"),
        },
        reads={
            "BatchGetObjects": state_pb2.BatchGetObjectsRequest(
                keys=[state_pb2.ObjectKey(collection="saves", key="one")]
            ),
            "ListObjects": state_pb2.ListObjectsRequest(collection="saves"),
            "ExportOwner": state_pb2.ExportOwnerRequest(owner="anna"),
        },
    ),
    Subject(
        name="world-state",
        service=world_state_pb2.DESCRIPTOR.services_by_name["WorldStateService"],
        serving=lambda url, log, worlds: live_world_state.serving(url, log, *worlds),
        mutations={
            "DeclareFacts": world_state_pb2.DeclareFactsRequest(
                rules=[rule(), rule("gold", per_region=False)]
            ),
            "ProposeFacts": world_state_pb2.ProposeFactsRequest(
                proposals=[proposal(add=1), proposal("", "gold", set=7)]
            ),
        },
        reads={
            "ListRules": world_state_pb2.ListRulesRequest(),
            "GetSnapshot": world_state_pb2.GetSnapshotRequest(),
            "WatchFacts": world_state_pb2.WatchFactsRequest(),
            "ListChanges": world_state_pb2.ListChangesRequest(fact="danger", region="moor"),
        },
    ),
)


def changes_nothing(method: MethodDescriptor) -> bool:
    found: Any = method.GetOptions()
    return bool(found.idempotency_level == MethodOptions.NO_SIDE_EFFECTS)


def is_stream(method: MethodDescriptor) -> bool:
    return bool(method.server_streaming)


def numbered(request: Message, request_id: str = "") -> Message:
    """The request with an id, a new one unless it is given."""
    found: Any = deepcopy(request)
    found.request_id = request_id or drawn()
    return found  # type: ignore[no-any-return] # each mutation's request has this field


async def called(live: Any, method: str, request: Message, world: World | None = None) -> Any:
    """The answer, or the error."""
    metadata = of(f"{world.namespace}/{world.name}") if world else ()
    try:
        return await getattr(live.stub, method)(request, metadata=metadata, timeout=20)
    except aio.AioRpcError as error:
        return error


def code(answer: Any) -> grpc.StatusCode:
    return answer.code() if isinstance(answer, aio.AioRpcError) else grpc.StatusCode.OK


async def seen(live: Any, subject: Subject, world: World) -> dict[str, Any]:
    """What all reads say of a world, without what says when it happened; of what is not there, that it is not."""
    found: dict[str, Any] = {}
    for name, request in subject.reads.items():
        if not is_stream(subject.methods[name]):
            answer = await called(live, name, request, world)
            missing = code(answer) is grpc.StatusCode.NOT_FOUND
            assert missing or code(answer) is grpc.StatusCode.OK, (name, answer)
            found[name] = None if missing else _timeless(answer)
    return found


def _timeless(message: Message) -> Message:
    found = deepcopy(message)
    for each in _within(found):
        for name in _OWN:
            if name in each.DESCRIPTOR.fields_by_name:
                each.ClearField(name)
    return found


def hostile(request: Message) -> Iterator[Message]:
    """The request with one field after the other, however deep, as no honest caller sets it."""
    for number, message in enumerate(_within(request)):
        for descriptor in message.DESCRIPTOR.fields:
            if descriptor.name == "request_id":
                continue
            for value in _values(message, descriptor):
                found = deepcopy(request)
                _set(list(_within(found))[number], descriptor, value)
                yield found


def _values(message: Message, descriptor: Any) -> Iterator[Any]:
    present = getattr(message, descriptor.name)
    if descriptor.is_repeated:
        yield []
        yield [*present, *present]
        if present:
            yield [present[0]] * _MANY
        return
    match descriptor.cpp_type:
        case FieldDescriptor.CPPTYPE_MESSAGE:
            yield None
            yield GetMessageClass(descriptor.message_type)()
        case FieldDescriptor.CPPTYPE_STRING if descriptor.type == FieldDescriptor.TYPE_BYTES:
            yield from _BYTES
        case FieldDescriptor.CPPTYPE_STRING:
            yield from _TEXTS
        case other:
            yield from _NUMBERS[other]


def _set(message: Message, descriptor: Any, value: Any) -> None:
    message.ClearField(descriptor.name)
    if descriptor.is_repeated:
        getattr(message, descriptor.name).extend(value)
    elif isinstance(value, Message):
        getattr(message, descriptor.name).CopyFrom(value)
        getattr(message, descriptor.name).SetInParent()
    elif value is not None:
        setattr(message, descriptor.name, value)


def _within(message: Message) -> Iterator[Message]:
    """A message and those in it."""
    yield message
    for descriptor, value in message.ListFields():
        if descriptor.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            for each in value if descriptor.is_repeated else [value]:
                yield from _within(each)
