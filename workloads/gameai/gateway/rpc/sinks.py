"""EDGE: where answers of single calls go, and how messages leave."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf.message import Message
from grpc import aio

from gameai.errors import ExhaustedError
from gameai.gateway.memory import MemoryLedger, namespace
from gameai.inference.v1 import inference_pb2 as pb

# A text that its reader does not take is held up to so many characters; then the engine is read no further.
_MOST_UNREAD = 16 << 10
# Characters of one message: what gRPC holds of a call that is not read.
_MOST_MESSAGE = 8 << 10
# Fewer bytes of unread text end no call (times the calls of a namespace: all memory).
_LEAST_STUCK = 128 << 10
# Answers of single calls, of which a namespace has so few that their bytes need no count.
_SMALL_ANSWER = 4 << 10
# A client that takes nothing for so long is gone.
STUCK_SECONDS = 30.0


class TextStream:
    """A sink for a streamed text: beyond a bound the engine is read no further, and what is not read counts as memory."""

    defers, timed = False, True

    def __init__(self, ledger: MemoryLedger, holder: str) -> None:
        """`holder` is the world for which memory is counted."""
        self.closed = False
        self._ledger = ledger
        self._holder = holder
        self._parts: list[str] = []
        self._end: pb.Answer | None = None
        # Characters that are not taken yet, and the bytes that are counted until they are sent.
        self._unread = self._held = 0
        self._paused = self._full = False
        self._wake = asyncio.Event()
        # While a message is being sent.
        self._sending: asyncio.Timeout | None = None

    def answer(self, answer: pb.Answer, *, last: bool) -> None:  # noqa: ARG002 - a sink's signature
        """The end."""
        self._end = answer
        self._hold(answer.ByteSize())
        self._wake.set()

    def append(self, question: int, text: str) -> bool:  # noqa: ARG002 - same
        """A part."""
        self._parts.append(text)
        self._unread += len(text)
        self._hold(sys.getsizeof(text))
        self._paused = self._paused or self._unread > _MOST_UNREAD
        self._wake.set()
        return not (self._paused or self._full)

    def resumes(self) -> bool:
        """Whether reading may continue after a pause."""
        if not self._paused or self._unread > _MOST_UNREAD // 2:
            return False
        self._paused = False
        return True

    async def messages(self) -> AsyncIterator[pb.GenerateTextResponse]:
        """The parts, those together that are ready, then the end. Raises `StuckError` where they fill all memory."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._full:
                raise StuckError
            while self._parts:
                text, held = "".join(self._parts), self._held
                self._parts = []
                for at in range(0, len(text), _MOST_MESSAGE):
                    part = text[at : at + _MOST_MESSAGE]
                    self._unread -= len(part)
                    yield pb.GenerateTextResponse(text=part)
                # It is sent.
                self._hold(-held)
            if self._end is not None:
                yield pb.GenerateTextResponse(end=self._end)
                return

    async def send(self, context: aio.ServicerContext[Any, Any], message: Message) -> None:
        """Send a message. Raises what `send` does, and `StuckError` as soon as memory is full."""
        if self._full:
            raise StuckError
        await send(context, message, self._started)

    def _started(self, sending: asyncio.Timeout | None) -> None:
        self._sending = sending

    def close(self) -> None:
        """The call is over."""
        self.closed = True
        self._hold(-self._held)

    def _hold(self, size: int) -> None:
        self._held += size
        if self._ledger.hold(self._holder, size) and self._held > _LEAST_STUCK:
            self._full = True
            self._wake.set()
            if self._sending is not None:
                # Its client reads nothing: the write would wait for 30 s.
                self._sending.reschedule(asyncio.get_running_loop().time())


class StuckError(Exception):
    """The client does not read its answers."""


class GoneError(Exception):
    """The client is gone, and no status reaches it."""


def _ignore(_: asyncio.Timeout | None) -> None:
    """The time limit stays as it is."""


async def send(
    context: aio.ServicerContext[Any, Any],
    message: Message,
    started: Callable[[asyncio.Timeout | None], None] = _ignore,
) -> None:
    """Send a message of a call. Raises `StuckError` if the client does not read for 30 s, and `GoneError`.

    `started` gets the time limit of the write, and None when it is over.
    """
    try:
        async with asyncio.timeout(STUCK_SECONDS) as limit:
            started(limit)
            try:
                await context.write(message)
            finally:
                started(None)
    except TimeoutError as error:
        raise StuckError from error
    except Exception as error:
        # gRPC has no public name for what it raises then.
        if context.done():
            raise GoneError from error
        raise


def memory_full(holder: str, remedy: str) -> ExhaustedError:
    """The error for a holder that may hold no more memory, and what its client can do."""
    return ExhaustedError(
        f"namespace {namespace(holder)} holds as much of this gateway's memory as it may: {remedy}"
    )


def hold_until_sent(
    context: aio.ServicerContext[Any, Any], ledger: MemoryLedger, holder: str, answer: pb.Answer
) -> None:
    """Count the answer of a call as memory until it is sent. Raises `ExhaustedError` if there is no memory."""
    if len(answer.text) <= _SMALL_ANSWER:
        return
    size = answer.ByteSize()
    if ledger.hold(holder, size):
        ledger.hold(holder, -size)
        raise memory_full(holder, "read the answers")

    def ended(_: object) -> None:
        ledger.hold(holder, -size)

    context.add_done_callback(ended)  # type: ignore[arg-type] # its stub wants a named protocol
