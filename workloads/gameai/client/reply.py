"""What a question comes to."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from enum import Enum

import grpc
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from grpc import aio

from gameai.errors import reason_of
from gameai.inference.v1 import inference_pb2 as pb

_DETAILS = "grpc-status-details-bin"
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Source(Enum):
    """Where an answer comes from."""

    ENGINE = pb.SOURCE_ENGINE
    FRESH_CACHE = pb.SOURCE_FRESH_CACHE
    STALE_CACHE = pb.SOURCE_STALE_CACHE
    DEFAULT = pb.SOURCE_DEFAULT
    # The default that was given to `ask`: nothing came from a gateway in time.
    OWN_DEFAULT = -1
    # A newer gateway knows one that this client does not.
    UNKNOWN = -2


class AskError(Exception):
    """A call failed, or a question has no answer. `code` is a gRPC status, `reason` that of the google.rpc.ErrorInfo of the gateway or memory, if it sent one.

    Raised as one of its four kinds.
    """

    def __init__(self, code: grpc.StatusCode, message: str, reason: str = "") -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message
        self.reason = reason


class QuestionError(AskError):
    """The question is wrong: the message names the field. To ask it again unchanged is of no use."""

    def __init__(self, message: str, reason: str = "FIELD_INVALID") -> None:
        super().__init__(grpc.StatusCode.INVALID_ARGUMENT, message, reason)


class AccessError(AskError):
    """The world, role or archetype does not exist (it may hibernate), or does not admit this caller; or a history is full.

    Somebody must change the world or the caller's token. Asking again now and then (minutes) does no harm.
    """


class ConflictError(AskError):
    """What was to be changed was changed by another caller. Read it again, and decide again."""


class NoAnswerError(AskError):
    """Nothing answered in time: overload, a failed engine, or no gateway. Asking again after a pause may succeed."""


_ACCESS = frozenset(
    {
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)


def ask_error(code: grpc.StatusCode, message: str, reason: str = "") -> AskError:
    """The error of the kind that a code is."""
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return QuestionError(message, reason)
    if code is grpc.StatusCode.ABORTED:
        return ConflictError(code, message, reason)
    return (AccessError if code in _ACCESS else NoAnswerError)(code, message, reason)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """An answer. `seconds` passed since `ask`; `late`: more than the deadline.

    `better` is another role's answer, where one is to come. Where `source` is `OWN_DEFAULT`, `degraded_reason` is the
    reason of the error that the default stands for.
    """

    text: str
    source: Source
    served_tier: str = ""
    degraded_reason: str = ""
    truncated: bool = False
    late: bool = False
    seconds: float = 0.0
    queue_us: int = 0
    engine_us: int = 0
    better: "asyncio.Future[Reply | None] | None" = field(default=None, compare=False)


_SOURCES = {source.value: source for source in Source}
_REASONS: dict[int, str] = {
    value: name.removeprefix("DEGRADED_REASON_") for name, value in pb.DegradedReason.items()
}


def _reason(value: int) -> str:
    return _REASONS.get(value, "UNKNOWN") if value else ""


def from_answer(
    answer: pb.Answer,
    seconds: float,
    better: "asyncio.Future[Reply | None] | None" = None,
    *,
    late: bool = False,
) -> Reply:
    """The reply that an answer makes; `late` here, if not already in the gateway."""
    return Reply(
        text=answer.text,
        source=_SOURCES.get(answer.source, Source.UNKNOWN),
        served_tier=answer.served_tier,
        degraded_reason=_reason(answer.degraded_reason),
        truncated=answer.truncated,
        late=late or answer.late,
        seconds=seconds,
        queue_us=answer.queue_us,
        engine_us=answer.engine_us,
        better=better,
    )


def given_reason(error: aio.AioRpcError) -> str:
    """The reason that a gateway or a memory gave; empty where it gave none."""
    for name, value in error.trailing_metadata() or ():
        if name == _DETAILS and isinstance(value, bytes):
            with contextlib.suppress(DecodeError):
                return reason_of(Status.FromString(value))
    return ""


def call_error(error: aio.AioRpcError) -> AskError:
    """The error that the status of a call makes."""
    return ask_error(error.code(), error.details() or "", given_reason(error))


def error_of(found: Status) -> AskError:
    """The error that a status makes."""
    code = _CODES.get(found.code, grpc.StatusCode.UNKNOWN)
    return ask_error(code, found.message, reason_of(found))
