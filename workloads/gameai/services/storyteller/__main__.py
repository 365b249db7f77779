"""StorytellerService over gRPC: arcs, beats, answers and chronicles of one world."""

import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, cast

from gameai_contract.names import MEMORY_TOKEN_ENVIRONMENT, TOKEN_ENVIRONMENT
from gameai_contract.world_config import WorldConfig
from gameai_contract.world_time import MICROSECOND
from grpc import aio

from gameai.client import Gateway, Memory
from gameai.errors import ExhaustedError, NotFoundError
from gameai.services.storyteller.archive import Archive
from gameai.services.storyteller.author import Author
from gameai.services.storyteller.planner import Planner
from gameai.services.storyteller.resolver import Resolver
from gameai.services.storyteller.rules import prompts, requests, sources
from gameai.services.storyteller.rules.missing import missing
from gameai.services.storyteller.rules.replies import Written
from gameai.serving import GameService, LiveWorld, Runtime, main
from gameai.storyteller.v1 import storyteller_pb2 as pb
from gameai.storyteller.v1 import storyteller_pb2_grpc

# Calls that wait for a language model, of this replica.
_MOST_CALLS = 8
# The memory takes four writes of an account at a time, of all services of a world together.
_MOST_WRITES = 3
# To keep and send what was written before the caller's deadline.
_SPARE_SECONDS = 2.0
Context = aio.ServicerContext[Any, Any]
_LOG = logging.getLogger(__name__)


class StorytellerService(storyteller_pb2_grpc.StorytellerServiceServicer):
    """Keeps everything in the world's memory; any replica answers."""

    def __init__(
        self, world: LiveWorld, archive: Archive, author: Author, budget: int, seconds: float
    ) -> None:
        self._world = world
        self._archive = archive
        self._author = author
        self._budget = budget
        self._seconds = seconds
        self._planner = Planner(archive, author, self._now, budget)
        self._resolver = Resolver(archive, self._now)
        self._places = Places(_MOST_CALLS, "wait for a language model")
        self._writes = Places(_MOST_WRITES, "write")

    async def WriteArc(self, request: pb.WriteArcRequest, context: Context) -> pb.WriteArcResponse:
        """Create or change an arc."""
        arc = requests.arc(request.arc)
        expected = requests.version(request.expected_version, 0)
        with self._writes.taken():
            self._planner.forget(arc.name)
            written = await self._archive.write_arc(arc, expected, self._now())
        return pb.WriteArcResponse(arc=written)

    async def GetArc(self, request: pb.GetArcRequest, context: Context) -> pb.GetArcResponse:
        """One arc."""
        name = requests.arc_name(request.name, "name")
        arc = await self._archive.arc(name)
        if arc is None:
            raise NotFoundError(f"this world has no arc {name}: ListArcs has all", field="name")
        return pb.GetArcResponse(arc=arc)

    async def ListArcs(self, request: pb.ListArcsRequest, context: Context) -> pb.ListArcsResponse:
        """A page of arcs."""
        after, count = requests.position(request.after_name), requests.count(request.count)
        arcs, more = await self._archive.arcs(after, count)
        return pb.ListArcsResponse(arcs=arcs, more=more)

    async def PlanBeat(self, request: pb.PlanBeatRequest, context: Context) -> pb.PlanBeatResponse:
        """The next beat."""
        name = requests.request_id(request.request_id)
        arc = requests.arc_name(request.arc, "arc")
        situation = requests.text(request.situation, "situation", requests.MOST_SITUATION)
        beat, known = await self._planner.plan(name, arc, situation, lambda: self._left(context))
        return pb.PlanBeatResponse(beat=beat, known=known)

    async def GetBeat(self, request: pb.GetBeatRequest, context: Context) -> pb.GetBeatResponse:
        """One beat."""
        name = requests.beat_name(request.name, "name")
        kept = await self._archive.kept_beat(name)
        if kept is None:
            raise NotFoundError(
                f"this world has no beat {name}: ListBeats has those of an arc", field="name"
            )
        return pb.GetBeatResponse(beat=kept.beat)

    async def ListBeats(
        self, request: pb.ListBeatsRequest, context: Context
    ) -> pb.ListBeatsResponse:
        """A page of beats."""
        arc = requests.arc_name(request.arc, "arc")
        requests.check_state(request.state)
        after, count = requests.position(request.after_name), requests.count(request.count)
        beats, more = await self._archive.beats(arc, request.state, after, count)
        return pb.ListBeatsResponse(beats=beats, more=more)

    async def ResolveBeat(
        self, request: pb.ResolveBeatRequest, context: Context
    ) -> pb.ResolveBeatResponse:
        """What became of a beat."""
        requests.beat_name(request.beat, "beat")
        happened = requests.outcome(request)
        with self._writes.taken():
            beat, refused = await self._resolver.resolve(request, happened)
        return pb.ResolveBeatResponse(beat=beat, refused=refused)

    async def AnswerQuestion(
        self, request: pb.AnswerQuestionRequest, context: Context
    ) -> pb.AnswerQuestionResponse:
        """An answer with its sources."""
        question = requests.text(request.question, "question", requests.MOST_QUESTION)
        trust = requests.trust(request)
        with self._places.taken():
            found = await self._archive.found(question, trust, self._budget)
            if not found:
                return pb.AnswerQuestionResponse()
            written = await self._author.write(
                prompts.question(question, found), self._left(context)
            )
        if isinstance(written, Written):
            citations = [each.citation for each in written.sources]
            return pb.AnswerQuestionResponse(answer=written.text, citations=citations)
        return pb.AnswerQuestionResponse(
            citations=[each.citation for each in found], degraded_reason=written
        )

    async def RecountHistory(
        self, request: pb.RecountHistoryRequest, context: Context
    ) -> pb.RecountHistoryResponse:
        """A chronicle of a period."""
        begin, end = requests.period(request)
        with self._places.taken():
            events, more = await self._archive.period(begin, end, requests.TRUST)
            if not events:
                return pb.RecountHistoryResponse()
            told, shortened = sources.period(events, self._budget)
            written = await self._author.write(prompts.recount(told), self._left(context))
        made = pb.RecountHistoryResponse(partial=more or shortened)
        if isinstance(written, Written):
            made.text = written.text
            made.citations.extend(each.citation for each in written.sources)
        else:
            made.text = "\n".join(each.text for each in told)
            made.citations.extend(each.citation for each in told)
            made.degraded_reason = written
        return made

    def _now(self) -> int:
        """The second of world time."""
        return self._world.now() // MICROSECOND

    def _left(self, context: Context) -> float:
        """Seconds that a language model may take."""
        # grpc types it as a number always; without a deadline it is None.
        left = cast("float | None", context.time_remaining())
        return self._seconds if left is None else min(self._seconds, left - _SPARE_SECONDS)


class Places:
    """So many calls at the same time; `what` they do completes the message to the others."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._open = 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Raises `ExhaustedError` where all are taken."""
        if self._open >= self._most:
            raise ExhaustedError(f"{self._most} calls {self._what} already: call again later")
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


def _gateway(config: WorldConfig) -> Gateway | None:
    """The world's gateways, with the pod's token where it has one; None where the world has none."""
    if not config.gateway:
        return None
    if not os.environ.get(TOKEN_ENVIRONMENT):
        return Gateway(config.gateway, world=f"{config.namespace}/{config.world}")
    # Without a certificate of the gateways the token crosses the cluster's network in clear, as it does to the memory.
    return Gateway.of_world(insecure=True)


def _memory(config: WorldConfig) -> Memory | None:
    """The world's memory, with the pod's token where it has one; None where the world has none."""
    if os.environ.get(MEMORY_TOKEN_ENVIRONMENT):
        return Memory.of_world(insecure=True)
    if not config.memory:
        return None
    return Memory(config.memory, world=f"{config.namespace}/{config.world}")


@asynccontextmanager
async def lifespan(runtime: Runtime) -> AsyncIterator[None]:
    """Clients of the gateways and of the memory; neither is waited for."""
    config, settings = runtime.world.config, runtime.settings
    async with AsyncExitStack() as stack:
        gateway = _gateway(config)
        if gateway is not None:
            await stack.enter_async_context(gateway)
        memory = _memory(config)
        if memory is not None:
            await stack.enter_async_context(memory)
        for each in missing(config, settings["role"]):
            _LOG.warning("%s", each)
        author = Author(gateway, role=settings["role"], tokens=int(settings["answerTokens"]))
        service = StorytellerService(
            runtime.world,
            Archive(memory),
            author,
            int(settings["sourceCharacters"]),
            float(settings["answerSeconds"]),
        )
        storyteller_pb2_grpc.add_StorytellerServiceServicer_to_server(service, runtime.server)
        yield


SERVICE = GameService(
    name="storyteller",
    wire_name="gameai.storyteller.v1.StorytellerService",
    lifespan=lifespan,
)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
