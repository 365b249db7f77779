"""EDGE: InferenceService over gRPC."""

import asyncio
import itertools
import math
from collections import Counter
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import grpc
from google.rpc.status_pb2 import Status
from grpc import aio

from gameai.errors import (
    DrainingError,
    InvalidArgumentError,
)
from gameai.gateway.dispatch.dispatcher import Dispatcher
from gameai.gateway.dispatch.single import SingleAnswer
from gameai.gateway.inquiry import Inquiry
from gameai.gateway.memory import namespace
from gameai.gateway.routing.snapshot import WorldView
from gameai.gateway.rpc.call_status import CallStatus, Context
from gameai.gateway.rpc.callers import Callers, only_message, within
from gameai.gateway.rpc.garbage import Garbage
from gameai.gateway.rpc.players import MOST_INSTANCE, Players, Report
from gameai.gateway.rpc.sinks import (
    TextStream,
    hold_until_sent,
)
from gameai.gateway.rpc.stream import Session
from gameai.inference.v1 import inference_pb2 as pb
from gameai.serving.identity import Caller
from gameai.serving.requests import Arrivals

NAME = "gameai.inference.v1.InferenceService"
# Of the accounts of one namespace at one gateway: what gRPC holds of their unfinished messages is bounded by that.
MOST_STREAMS = 128
MOST_CALLS = 256
# Single calls of all namespaces that wait for their request: more, and the oldest ones get little time.
_MOST_WAITING = 1000
# Left of a call's own deadline for the way back: a tenth, 100 ms at most; but a fiftieth of a long one, for gRPC rounds
# it up on its way here, by a hundredth at most.
_WAY_BACK, _WAY_BACK_SECONDS, _LONG_WAY_BACK = 0.1, 0.1, 0.02
# Clients are asked to open another stream after this time, so that new gateways get their share.
STREAM_SECONDS = 300.0
# And ended so long after.
LEAVE_SECONDS = 40.0


class InferenceService:
    """Answers everyone who may speak for a world.

    Each method takes a stream of requests, also those that have only one: gRPC reads the message of a unary call
    before its handler runs, so any client that reaches the port could make the gateway hold one message per call.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        callers: Callers,
        players: Players,
    ) -> None:
        self._dispatcher = dispatcher
        self._callers = callers
        self._players = players
        self._sessions: set[Session] = set()
        self._streams_of: Counter[str] = Counter()
        self._calls_of: Counter[str] = Counter()
        self._numbers = itertools.count()
        self._garbage = Garbage()
        self._arrivals = Arrivals(_MOST_WAITING)
        self._draining = False
        # When a single call came last, by the monotonic clock.
        self.heard = -math.inf
        self._loop = asyncio.get_running_loop()

    def add_to(self, server: aio.Server) -> None:
        """Serve its methods."""
        handlers: dict[str, Any] = {
            "StreamAnswers": grpc.stream_stream_rpc_method_handler(
                self.StreamAnswers, response_serializer=pb.StreamAnswersResponse.SerializeToString
            ),
            "GenerateAnswer": grpc.stream_unary_rpc_method_handler(
                self.GenerateAnswer, **_wire(pb.GenerateAnswerRequest, pb.GenerateAnswerResponse)
            ),
            "GenerateText": grpc.stream_stream_rpc_method_handler(
                self.GenerateText, **_wire(pb.GenerateTextRequest, pb.GenerateTextResponse)
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))

    def drain(self) -> None:
        """Ask all streams to leave."""
        self._draining = True
        for session in self._sessions:
            session.go_away()

    @property
    def streams(self) -> int:
        """Streams that are open."""
        return len(self._sessions)

    async def StreamAnswers(self, request_iterator: AsyncIterator[bytes], context: Context) -> None:
        """Frames in, as they came, and frames out."""
        with CallStatus(self._dispatcher.metrics, self._garbage) as mapped:
            caller = self._callers.of(context)
            within(self._streams_of, caller, MOST_STREAMS, "streams", context)
            # At once, so that the client knows that it was accepted.
            await context.send_initial_metadata(())
            number = next(self._numbers)
            session = Session(
                self._dispatcher,
                lambda name: self._callers.world(caller, name),
                holder=_holder(caller),
                reported=lambda world, players: self._report(world, players, caller, number),
            )
            try:
                mapped.failed(await self._serve(session, caller, request_iterator, context))
            finally:
                self._players.ended(number)
        await mapped.end(context)

    async def GenerateAnswer(
        self, request_iterator: AsyncIterator[pb.GenerateAnswerRequest], context: Context
    ) -> pb.GenerateAnswerResponse:
        """One question, one answer."""
        with CallStatus(self._dispatcher.metrics, self._garbage) as mapped:
            caller = self._callers.of(context)
            within(self._calls_of, caller, MOST_CALLS, "calls", context)
            request = await only_message(self._arrivals, request_iterator)
            answer = await self._infer(caller, request, context)
            if not answer.HasField("error"):
                return pb.GenerateAnswerResponse(answer=answer)
            mapped.fault(answer.error)
        await mapped.end(context)
        # `end` raised, unless the client is gone.
        return pb.GenerateAnswerResponse()

    async def _infer(
        self, caller: Caller, request: pb.GenerateAnswerRequest, context: Context
    ) -> pb.Answer:
        self.heard = monotonic()
        world = self._callers.world(caller, request.world)
        self._dispatcher.pacer.note(world.key)
        single = SingleAnswer()
        inquiry = self._dispatcher.ask(world, request.question, single, within=_left(context))
        try:
            answer = await single.wait()
            hold_until_sent(context, self._dispatcher.ledger, _holder(caller) or world.key, answer)
            return answer
        finally:
            single.closed = True
            if inquiry is not None:
                self._dispatcher.abandon(inquiry)

    async def GenerateText(
        self, request_iterator: AsyncIterator[pb.GenerateTextRequest], context: Context
    ) -> None:
        """Text as it is made."""
        with CallStatus(self._dispatcher.metrics, self._garbage) as mapped:
            caller = self._callers.of(context)
            within(self._calls_of, caller, MOST_CALLS, "calls", context)
            request = await only_message(self._arrivals, request_iterator)
            self.heard = monotonic()
            world = self._callers.world(caller, request.world)
            self._dispatcher.pacer.note(world.key)
            spoken = TextStream(self._dispatcher.ledger, _holder(caller) or world.key)
            left = _left(context)
            inquiry = self._dispatcher.ask(
                world, request.question, spoken, streams=True, within=left
            )
            try:
                mapped.fault(await _send_text(spoken, inquiry, context))
            finally:
                spoken.close()
                if inquiry is not None:
                    self._dispatcher.abandon(inquiry)
        await mapped.end(context)

    async def _serve(
        self,
        session: Session,
        caller: Caller,
        frames: AsyncIterator[bytes],
        context: Context,
    ) -> BaseException | None:
        """What ended the stream, if it did not end by itself.

        Nothing is raised here: an error and the tasks of this call would hold each other, and what gRPC holds of the
        call, until the collector comes by.
        """
        self._sessions.add(session)
        if self._draining:
            session.go_away()
        # Not all in the same moment, of a client's two streams in particular.
        end = min(STREAM_SECONDS * (0.8 + 0.2 * (monotonic() % 1)), caller.seconds_left())
        leaving = self._loop.call_later(end, session.go_away)
        ending = asyncio.create_task(asyncio.sleep(end + LEAVE_SECONDS))
        writing = asyncio.create_task(session.write(context))
        reading = asyncio.create_task(_read(session, frames))
        try:
            tasks = (writing, reading, ending, session.stuck)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                return DrainingError("this stream has ended for a gateway change: open another one")
            errors = (task.exception() for task in (writing, reading, session.stuck) if task.done())
            return next((error for error in errors if error is not None), None)
        finally:
            leaving.cancel()
            for task in (writing, reading, ending):
                task.cancel()
            self._sessions.discard(session)
            session.close()
            await asyncio.gather(writing, reading, ending, return_exceptions=True)

    def _report(self, world: WorldView, players: pb.Players, caller: Caller, number: int) -> None:
        if len(players.instance) > MOST_INSTANCE:
            raise InvalidArgumentError(
                f"players.instance must have at most {MOST_INSTANCE} characters",
                field="players.instance",
            )
        if players.instance and not players.sequence:
            raise InvalidArgumentError(
                "players.sequence must count the reports of an instance, from 1",
                field="players.sequence",
            )
        # Of one caller: another one cannot replace its reports.
        instance = f"{caller.name}/{players.instance}" if players.instance else ""
        report = Report(players.online, players.lobby, monotonic(), instance, players.sequence)
        self._players.report(world.key, number, report)


def _holder(caller: Caller) -> str:
    """The holder of a stream's memory: the namespace of its caller, or of the world without identity."""
    return "" if caller.name is None else f"{namespace(caller.name)}/"


async def _read(session: Session, frames: AsyncIterator[bytes]) -> None:
    """Every frame, then until all is answered."""
    async for frame in frames:
        await session.take(frame)
    await session.drained()


async def _send_text(
    spoken: TextStream, inquiry: Inquiry | None, context: Context
) -> Status | None:
    """Send the parts and the end. The error, where the text ends with one; it is not sent as a message."""
    async for message in spoken.messages():
        if message.end.HasField("error"):
            return message.end.error
        await spoken.send(context, message)
        if inquiry is not None and spoken.resumes() and inquiry.attempt is not None:
            inquiry.attempt.resume()
    return None


def _wire(request: Any, response: Any) -> dict[str, Any]:
    """How a method's messages are read and written."""
    return {
        "request_deserializer": request.FromString,
        "response_serializer": response.SerializeToString,
    }


def _left(context: Context) -> float:
    """Seconds in which an answer must have been found: the call's own deadline, less the way back.

    A question's `deadline_ms` may be missed by a moment, and the answer still arrives; after a call's deadline none does.
    """
    # None where the call has no deadline, whatever its type says.
    left: float | None = context.time_remaining()
    if left is None:
        return math.inf
    return left - max(min(_WAY_BACK_SECONDS, left * _WAY_BACK), left * _LONG_WAY_BACK)
