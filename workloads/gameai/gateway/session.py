"""EDGE: one stream of a game server: frames of questions in, frames of answers out, both bounded."""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from grpc import aio

from gameai.errors import InvalidArgumentError, ServiceFault, status_of
from gameai.gateway.desk import Desk
from gameai.gateway.job import Job
from gameai.gateway.turns import Turns
from gameai.gateway.view import WorldView
from gameai.inference.v1 import inference_pb2 as pb

MOST_OPEN = 4096
MOST_FRAME = 256
# A client that takes nothing for so long is gone.
STUCK_SECONDS = 30.0

WorldOf = Callable[[str], WorldView]


class StuckError(Exception):
    """The client does not read its answers."""


class Session:
    """A sink whose answers leave together: those that are ready in one pass of the loop are one frame."""

    defers = True

    def __init__(self, desk: Desk, turns: Turns, world_of: WorldOf) -> None:
        self.closed = False
        # Whether its caller has spoken for a world.
        self.served = False
        self._desk = desk
        self._turns = turns
        self._world_of = world_of
        self._jobs: dict[int, Job] = {}
        self._open: set[int] = set()
        self._ready: list[pb.Answer] = []
        self._going_away = False
        self._sending = False
        self._wake = asyncio.Event()
        self._room = asyncio.Event()

    def answer(self, answer: pb.Answer, *, last: bool) -> None:
        """Take an answer."""
        self._ready.append(answer)
        if last:
            self._open.discard(answer.id)
            self._jobs.pop(answer.id, None)
        self._wake.set()

    def spoke(self, question: int, text: str) -> bool:
        """Streams of frames are not told in parts."""
        raise NotImplementedError

    def go_away(self) -> None:
        """Tell the client to open another stream."""
        self._going_away = True
        self._wake.set()

    async def take(self, frame: pb.StreamAnswersRequest) -> None:
        """Take a frame's questions; waits while too much is open. Raises `InvalidArgumentError`, and what `world_of` does."""
        if len(frame.questions) > MOST_FRAME:
            raise InvalidArgumentError(
                f"a frame has at most {MOST_FRAME} questions", field="questions"
            )
        self._cancel(frame.cancelled_ids)
        arrived, size = monotonic(), frame.ByteSize()
        # Of the world that the caller speaks for, whatever it names.
        key = self._key(frame.world)
        # A frame that waits is held like the questions that are open.
        self._desk.ledger.hold(key, size)
        try:
            while len(self._open) + len(self._ready) > MOST_OPEN - len(frame.questions):
                self._room.clear()
                await self._room.wait()
            await self._turns.run(lambda: self._take_all(frame, arrived), key)
        finally:
            self._desk.ledger.hold(key, -size)

    def _cancel(self, numbers: Sequence[int]) -> None:
        """Their answers are no longer wanted; one that is ready by now may still leave."""
        if len(numbers) > MOST_FRAME:
            raise InvalidArgumentError(
                f"a frame cancels at most {MOST_FRAME} questions", field="cancelled_ids"
            )
        for number in numbers:
            self._open.discard(number)
            if (job := self._jobs.pop(number, None)) is not None:
                self._desk.abandon(job)
        if numbers:
            self._room.set()

    def _key(self, name: str) -> str:
        try:
            return self._world_of(name).key
        except ServiceFault:
            if not self.served:
                # A caller that never spoke for a world learns it by the end of its stream.
                raise
            return ""

    def _take_all(self, frame: pb.StreamAnswersRequest, arrived: float) -> None:
        if self.closed:
            return
        # As it is now: the view may have changed while the frame waited.
        try:
            world: WorldView | ServiceFault = self._world_of(frame.world)
            self.served = True
        except ServiceFault as fault:
            # A world that is gone, for a moment maybe, takes no other answers along.
            world = fault
        for question in frame.questions:
            self._take(world, question, arrived)

    def _take(self, world: WorldView | ServiceFault, question: pb.Question, arrived: float) -> None:
        number = question.id
        if number in self._open:
            error = status_of(
                InvalidArgumentError(
                    f"id {number} is open already: give each question its own", field="questions.id"
                )
            )
            self._ready.append(pb.Answer(id=number, error=error))
            self._wake.set()
            return
        self._open.add(number)
        if isinstance(world, ServiceFault):
            self._desk.refuse(question, self, world)
            return
        job = self._desk.ask(world, question, self, arrived=arrived)
        if job is not None and number in self._open:
            self._jobs[number] = job

    async def write(self, context: aio.ServicerContext[Any, Any]) -> None:
        """Send what is ready, for ever. Raises `StuckError`."""
        told = False
        while True:
            await self._wake.wait()
            # Whatever else becomes ready in this pass of the loop goes along.
            await asyncio.sleep(0)
            self._wake.clear()
            while self._ready or self._going_away != told:
                self._sending = True
                answers, self._ready = self._ready[:MOST_FRAME], self._ready[MOST_FRAME:]
                told = self._going_away
                await self._send(
                    context, pb.StreamAnswersResponse(answers=answers, going_away=told)
                )
                self._sending = False
                self._room.set()

    async def drained(self) -> None:
        """Until every question is answered and its answer sent."""
        while self._open or self._ready or self._sending:
            self._room.clear()
            await self._room.wait()

    def close(self) -> None:
        """The client is gone: nobody waits for what is open."""
        self.closed = True
        for job in list(self._jobs.values()):
            self._desk.abandon(job)
        self._jobs.clear()

    async def _send(
        self, context: aio.ServicerContext[Any, Any], response: pb.StreamAnswersResponse
    ) -> None:
        try:
            async with asyncio.timeout(STUCK_SECONDS):
                await context.write(response)
        except TimeoutError as error:
            raise StuckError from error
