"""What a question comes to."""

import asyncio
from dataclasses import dataclass, field
from enum import Enum

import grpc

from gameai.v1 import inference_pb2 as pb

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
    """There is no answer; `code` is a gRPC status, as a call would have."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """An answer in time. `seconds` passed since `ask`; `better` is another role's answer, where one was promised."""

    text: str
    source: Source
    served_tier: str = ""
    degraded_reason: str = ""
    truncated: bool = False
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
    answer: pb.Answer, seconds: float, better: "asyncio.Future[Reply | None] | None" = None
) -> Reply:
    """The reply that an answer makes."""
    return Reply(
        text=answer.text,
        source=_SOURCES.get(answer.source, Source.UNKNOWN),
        served_tier=answer.served_tier,
        degraded_reason=_reason(answer.degraded_reason),
        truncated=answer.truncated,
        seconds=seconds,
        queue_us=answer.queue_us,
        engine_us=answer.engine_us,
        better=better,
    )


def from_fault(fault: pb.Fault) -> AskError:
    """The error that a fault makes."""
    return AskError(_CODES.get(fault.code, grpc.StatusCode.UNKNOWN), fault.message)
