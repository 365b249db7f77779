"""EDGE: one stream of a game server: frames of questions in, frames of answers out, both bounded."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from google.protobuf.message import DecodeError
from grpc import aio

from gameai.errors import InvalidArgumentError, ServiceFault, status_of
from gameai.gateway.dispatch.dispatcher import Dispatcher
from gameai.gateway.inquiry import Inquiry
from gameai.gateway.memory import MemoryLedger
from gameai.gateway.routing.snapshot import WorldView
from gameai.gateway.rpc.frame_check import crowded
from gameai.gateway.rpc.sinks import StuckError, memory_full, send
from gameai.inference.v1 import inference_pb2 as pb

MOST_OPEN = 4096
MOST_FRAME = 256

WorldOf = Callable[[str], WorldView]
Reported = Callable[[WorldView, pb.Players], None]
# Smaller ones are not worth a look before they are read.
_SMALL_FRAME = 16 << 10
# Answers that wait to be sent and are not counted: as many become ready in one pass of the loop.
_UNCHARGED = 32
# Of an answer beside its text, and of one with a status.
_ANSWER_BYTES, _ERROR_BYTES = 512, 2048
# Fewer bytes of unread answers end no stream (times the streams of a namespace: all memory), and shorter frames may wait.
_LEAST_STUCK, _LEAST_REFUSED = 256 << 10, 64 << 10


class Session:
    """A sink that sends answers in frames: all that are ready in one pass of the loop are one frame."""

    defers = timed = True

    def __init__(
        self,
        dispatcher: Dispatcher,
        world_of: WorldOf,
        *,
        holder: str = "",
        reported: Reported = lambda *_: None,
    ) -> None:
        """`holder` is the world for which memory is counted, the first one that is spoken for where it is empty."""
        self.closed = False
        # Whether its caller has spoken for a world.
        self.served = False
        self._dispatcher = dispatcher
        self._world_of = world_of
        self._reported = reported
        self._inquiries: dict[int, Inquiry] = {}
        self._open: set[int] = set()
        # Answers that wait, each with the bytes that are counted for it.
        self._ready: list[tuple[pb.Answer, int]] = []
        self._going_away = False
        self._sending = False
        self._holder = holder
        self._charged = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        # Done when what is not read takes all of its memory.
        self.stuck: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def answer(self, answer: pb.Answer, *, last: bool) -> None:
        """Take an answer."""
        if self.stuck.done():
            return
        size = 0
        if len(self._ready) >= _UNCHARGED or len(answer.text) > _ANSWER_BYTES:
            error = answer.HasField("error")
            size = answer.ByteSize() + (_ERROR_BYTES if error else _ANSWER_BYTES)
            self._charge(size)
        self._ready.append((answer, size))
        if last:
            self._open.discard(answer.id)
            self._inquiries.pop(answer.id, None)
        self._wake.set()

    def _charge(self, size: int) -> None:
        """Unread answers count as memory, as questions do. The stream ends if no memory is left."""
        self._charged += size
        full = self._dispatcher.ledger.hold(self._holder, size)
        # A frame that is refused as a whole makes many answers at once, which is not the fault of its reader.
        if full and self._charged > _LEAST_STUCK and not self.stuck.done():
            self.stuck.set_exception(StuckError())

    def _discharge(self, gone: Sequence[tuple[pb.Answer, int]]) -> None:
        if size := sum(size for _, size in gone):
            self._charged -= size
            self._dispatcher.ledger.hold(self._holder, -size)

    def append(self, question: int, text: str) -> bool:
        """Answers of frames are not delivered in parts."""
        raise NotImplementedError

    def go_away(self) -> None:
        """Ask the client to open another stream."""
        self._going_away = True
        self._wake.set()

    async def take(self, data: bytes) -> None:
        """Take a frame, as it came; waits while too much is open, and reads it only then.

        Raises `InvalidArgumentError`, `ExhaustedError` if there is no memory for a waiting frame, and what
        `world_of` and `reported` do.
        """
        arrived, ledger, holder = monotonic(), self._dispatcher.ledger, self._holder
        # A frame that waits is held like the questions that are open.
        ledger.hold(holder, len(data))
        try:
            _check_room(ledger, holder, len(data))
            while len(self._open) + len(self._ready) > MOST_OPEN - MOST_FRAME:
                _check_room(ledger, holder, len(data))
                self._room.clear()
                await self._room.wait()
            await self._dispatcher.pacer.run(lambda: self._open_frame(data, arrived), holder)
        finally:
            size = len(data)
            # An error holds this call's variables for as long as the collector leaves it, and a frame may have a MiB.
            data = b""
            ledger.hold(holder, -size)

    def _open_frame(self, data: bytes, arrived: float) -> None:
        if self.closed:
            return
        frame = _frame(data)
        self._cancel(frame.cancelled_ids)
        # As it is now: the view may have changed while the frame waited.
        try:
            world = self._world_of(frame.world)
        except ServiceFault as fault:
            if not self.served:
                # A caller that never spoke for a world learns it by the end of its stream.
                raise
            # A world that is gone, for a moment maybe, takes no other answers along.
            for question in frame.questions:
                self._take(fault, question, arrived)
            return
        self.served = True
        self._holder = self._holder or world.key
        if frame.HasField("players"):
            self._reported(world, frame.players)
        for question in frame.questions:
            self._take(world, question, arrived)

    def _cancel(self, numbers: Sequence[int]) -> None:
        """Their answers are no longer wanted; one that is ready by now may still leave."""
        for number in numbers:
            self._open.discard(number)
            if (inquiry := self._inquiries.pop(number, None)) is not None:
                self._dispatcher.abandon(inquiry)
        if numbers:
            self._room.set()

    def _take(self, world: WorldView | ServiceFault, question: pb.Question, arrived: float) -> None:
        number = question.id
        if number in self._open:
            error = status_of(
                InvalidArgumentError(
                    f"id {number} is open already: give each question its own", field="questions.id"
                )
            )
            self.answer(pb.Answer(id=number, error=error), last=False)
            return
        self._open.add(number)
        if isinstance(world, ServiceFault):
            self._dispatcher.refuse(question, self, world)
            return
        inquiry = self._dispatcher.ask(world, question, self, arrived=arrived)
        if inquiry is not None and number in self._open:
            self._inquiries[number] = inquiry

    async def write(self, context: aio.ServicerContext[Any, Any]) -> None:
        """Send what is ready, forever. Raises `StuckError` and `GoneError`."""
        announced = False
        while True:
            await self._wake.wait()
            # Whatever else becomes ready in this pass of the loop goes along.
            await asyncio.sleep(0)
            self._wake.clear()
            while self._ready or self._going_away != announced:
                self._sending = True
                leaving, self._ready = self._ready[:MOST_FRAME], self._ready[MOST_FRAME:]
                announced = self._going_away
                answers = [answer for answer, _ in leaving]
                try:
                    await send(
                        context, pb.StreamAnswersResponse(answers=answers, going_away=announced)
                    )
                finally:
                    self._discharge(leaving)
                self._sending = False
                self._room.set()

    async def drained(self) -> None:
        """Until every question is answered and its answer sent."""
        while self._open or self._ready or self._sending:
            self._room.clear()
            await self._room.wait()

    def close(self) -> None:
        """The client is gone: its open questions are not wanted any more."""
        self.closed = True
        for inquiry in list(self._inquiries.values()):
            self._dispatcher.abandon(inquiry)
        self._inquiries.clear()
        self._discharge(self._ready)
        self._ready = []
        if self.stuck.done():
            # The waiting task has seen it, or ended for another reason.
            self.stuck.exception()
        else:
            self.stuck.cancel()


def _check_room(ledger: MemoryLedger, holder: str, size: int) -> None:
    """Raises `ExhaustedError` if a frame of `size` bytes must not wait, because its own namespace holds too much."""
    if size > _LEAST_REFUSED and ledger.overdrawn(holder):
        raise memory_full(holder, "read the answers, and ask less at once")


def _frame(data: bytes) -> pb.StreamAnswersRequest:
    """A frame of its bytes. Raises `InvalidArgumentError`."""
    full, frame = False, None
    with contextlib.suppress(DecodeError, ValueError):
        full = len(data) > _SMALL_FRAME and crowded(data, MOST_FRAME)
        frame = pb.StreamAnswersRequest() if full else pb.StreamAnswersRequest.FromString(data)
    if frame is None:
        raise InvalidArgumentError("the message is not a valid StreamAnswersRequest")
    if full or len(frame.questions) > MOST_FRAME or len(frame.cancelled_ids) > MOST_FRAME:
        raise InvalidArgumentError(
            f"a frame has at most {MOST_FRAME} questions, and cancels as many", field="questions"
        )
    return frame
