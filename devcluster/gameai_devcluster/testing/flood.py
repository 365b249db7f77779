"""A hostile game server: `python -m gameai_devcluster.testing.flood KIND ADDRESS TOKEN_FILE WORLDS`, until it is killed.

It asks for worlds `flood/w0`, `flood/w1` … as fast as it is answered, in the way of its kind.
"""

import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gameai.inference.v1 import inference_pb2 as pb
from gameai.inference.v1 import inference_pb2_grpc
from grpc import aio

KINDS = ("equal", "falling", "fields", "long", "streams", "unread", "worlds")
_FRAME, _CHANNELS = 256, 8
_NUMBERS = itertools.count(1)


def question(**more: Any) -> pb.Question:
    """One that has no answer in any cache, unless `more` gives it the fields for one."""
    number = next(_NUMBERS)
    asked: dict[str, Any] = {
        "role": "reaction",
        "archetype": "guard",
        "npc": f"f{number}",
        "prompt": pb.Prompt(parts=["A wolf!"]),
        "deadline_ms": 500,
    }
    return pb.Question(id=number, **(asked | more))


def frame(kind: str) -> list[pb.Question]:
    """The questions of one frame."""
    if kind == "falling":
        fields = {"threat": str(next(_NUMBERS) % 100)}
        return [question(fields=fields, deadline_ms=3000 - 10 * n) for n in range(_FRAME)]
    if kind == "long":
        long = {"role": "dialogue", "archetype": "", "max_tokens": 2048, "deadline_ms": 60_000}
        return [question(**long) for _ in range(16)]
    if kind in ("streams", "worlds"):
        return [question() for _ in range(8)]
    return [question() for _ in range(_FRAME)]


async def one(kind: str, call: Any, world: str) -> None:
    """One frame, and its answers where the kind reads them. Raises `InvalidStateError` where the stream ended."""
    if kind == "fields":
        # A MiB of fields that no frame has.
        await call.write(pb.StreamAnswersRequest.FromString(b"\x28\x00" * 500_000))
        return
    asked = frame(kind)
    await call.write(pb.StreamAnswersRequest(world=world, questions=asked))
    waiting = set() if kind == "unread" else {each.id for each in asked}
    while waiting:
        response = await call.read()
        if response is aio.EOF:
            raise asyncio.InvalidStateError
        waiting -= {each.id for each in response.answers}


async def pour(kind: str, stub: Any, metadata: Any, world: str) -> None:
    """One stream: frames one after another, each when the former is answered; or without looking at answers."""
    while True:
        call = stub.StreamAnswers(metadata=metadata)
        with contextlib.suppress(aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                await one(kind, call, world)
        call.cancel()
        await asyncio.sleep(0.2)


def streams(kind: str, worlds: int) -> Iterator[str]:
    """The world of each stream."""
    many = {"streams": 500, "long": 16, "worlds": worlds}.get(kind, 8)
    return (f"flood/w{number % worlds}" for number in range(many))


async def flood(kind: str, address: str, token: str, worlds: int) -> None:
    """All streams of a kind at once, until cancelled."""
    metadata = [("authorization", f"Bearer {token}")]
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with contextlib.AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(aio.insecure_channel(address, options=options))
            for _ in range(_CHANNELS)
        ]
        stubs = itertools.cycle(map(inference_pb2_grpc.InferenceServiceStub, channels))
        async with asyncio.TaskGroup() as group:
            for world in streams(kind, worlds):
                group.create_task(pour(kind, next(stubs), metadata, world))


if __name__ == "__main__":
    # What it costs others by its own CPU is not what is measured.
    os.nice(19)
    asyncio.run(flood(sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_text(), int(sys.argv[4])))
