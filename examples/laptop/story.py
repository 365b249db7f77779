"""Plans and resolves a beat of a story, then asks the storyteller a question: story.py QUESTION [ADDRESS]."""

import asyncio
import sys
import time
from collections.abc import Iterable

import grpc
from gameai.storyteller.v1 import storyteller_pb2 as pb
from gameai.storyteller.v1.storyteller_pb2_grpc import StorytellerServiceStub

ARC = pb.Arc(
    name="siege",
    goal="The riders of Orr take the town of Carrow.",
    # What happens where no tier answers.
    stages=["Scouts of Orr are seen at the ford.", "The riders of Orr cross the ford."],
)


def show(citations: Iterable[pb.Citation]) -> None:
    for each in citations:
        where = f"event {each.event_sequence}"
        if each.HasField("chunk"):
            where = " > ".join(filter(None, (each.chunk.document, each.chunk.section)))
        print(f"    source: {where}")


async def main(question: str, address: str = "127.0.0.1:50053") -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        stories = StorytellerServiceStub(channel)
        # The same call again changes nothing.
        await stories.WriteArc(pb.WriteArcRequest(arc=ARC), timeout=10)
        situation = "It is night, and the bridge of Tamrel is guarded."
        # The same request id gives the same beat: a game keeps it until it has the answer.
        request = pb.PlanBeatRequest(
            request_id=f"night-{time.time_ns()}", arc=ARC.name, situation=situation
        )
        beat = (await stories.PlanBeat(request, timeout=35)).beat
        print(f"next: {beat.text}")
        show(beat.citations)
        outcome = pb.ResolveBeatRequest(
            beat=beat.name, expected_version=beat.version, happened="The scouts were driven off."
        )
        done = (await stories.ResolveBeat(outcome, timeout=10)).beat
        print(f"happened, as event {done.event_sequence} of the world's history: {done.text}")
        asked = pb.AnswerQuestionRequest(question=question)
        found = await stories.AnswerQuestion(asked, timeout=35)
        print(f"{question}\n  {found.answer or 'The sources do not say.'}")
        show(found.citations)


if len(sys.argv) not in (2, 3):
    sys.exit('usage: story.py "QUESTION" [HOST:PORT]')
try:
    asyncio.run(main(*sys.argv[1:]))
except grpc.aio.AioRpcError as error:
    sys.exit(f"error: {error.code().name}: {error.details()}")
