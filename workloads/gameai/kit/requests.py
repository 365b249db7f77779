"""PURE: by what a mutation is known when its caller sends it again."""

import re
import uuid
from dataclasses import dataclass
from hashlib import blake2b

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from gameai.errors import InvalidArgumentError

REMEMBERED_HOURS = 24
MOST_ANSWER_BYTES = 262_144
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_EXAMPLE = "0190b0a2-7c1e-7000-8000-0123456789ab"


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestKey:
    """A request of a world to a service: its id, and what it asks for."""

    service: str
    world: str
    request_id: uuid.UUID
    digest: bytes

    @property
    def lock(self) -> int:
        """Number of the database's lock for this id, a signed bigint."""
        given = f"{self.service} {self.world} {self.request_id}".encode()
        return int.from_bytes(blake2b(given, digest_size=8).digest(), "little", signed=True)


def key(service: str, world: str, method: str, request: Message) -> RequestKey:
    """The key of a request. Raises `InvalidArgumentError` where its request_id is no UUID, TypeError where it has no such field."""
    named = request.DESCRIPTOR.full_name
    if "request_id" not in request.DESCRIPTOR.fields_by_name:
        raise TypeError(f"{named} is the request of a mutation, and has no field request_id")
    given = getattr(request, "request_id", "")
    if not _UUID.fullmatch(given):
        raise InvalidArgumentError(
            f"request_id must be a UUID, such as {_EXAMPLE}: draw one for each change, and send the same one when you call again",
            field="request_id",
        )
    request_id = uuid.UUID(given)
    # Upper and lower case are the same id.
    content = type(request)()
    content.CopyFrom(request)
    content.ClearField("request_id")
    asked = f"{method} {named}\0".encode() + content.SerializeToString(deterministic=True)
    return RequestKey(
        service=service, world=world, request_id=request_id, digest=blake2b(asked).digest()
    )


def check_same(known: bytes, given: RequestKey) -> None:
    """Raises `InvalidArgumentError` where the id was used for a request that asks for something else."""
    if known != given.digest:
        raise InvalidArgumentError(
            f"request_id {given.request_id} was used for another request in the last {REMEMBERED_HOURS} hours: draw another one",
            field="request_id",
        )


def packed(answer: Message) -> bytes:
    """An answer in the form in which it is kept. Raises ValueError for one that is too large, TypeError for what is no message."""
    if not isinstance(answer, Message):
        raise TypeError(f"a mutation returns its answer, a message: it returned {answer!r}")
    kept = AnyMessage()
    kept.Pack(answer)
    if kept.ByteSize() > MOST_ANSWER_BYTES:
        raise ValueError(
            f"the answer of a mutation has {kept.ByteSize()} bytes: at most {MOST_ANSWER_BYTES} are kept"
        )
    return kept.SerializeToString()


def unpacked(kept: bytes) -> Message:
    """An answer that was kept."""
    found = AnyMessage.FromString(kept)
    answer = GetMessageClass(Default().FindMessageTypeByName(found.TypeName()))()
    found.Unpack(answer)
    return answer
