"""Memory of the gateway after a million questions, beside what it was after a hundred thousand.

10,000 NPCs on 200 streams, one of them reopened every second; nine of ten questions repeat, the others are new, so
that the cache stays at its cap and turns over.
"""

import asyncio
import itertools
import json
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
from gameai.inference.v1 import inference_pb2 as pb
from gameai.inference.v1 import inference_pb2_grpc
from gameai_devcluster.binary import Program, built
from gameai_devcluster.processes import free_port
from grpc import aio

from benchmarks import report
from benchmarks.inference import backend, running, wait_listening

FIRST, LAST = 100_000, 1_000_000
STREAMS, FRAME, NPCS = 200, 32, 10_000
COMMON = 1000
# Different states before most questions are of those that came before.
ENTRIES = 50_000
ARCHETYPES = """\
version: 1
archetypes:
  guard:
    actions: [patrol, challenge, attack, flee]
    defaults: [patrol]
    cache: {fields: {state: {}}, ttlSeconds: 3600}
"""


class Crowd:
    """Game servers that ask in frames, as fast as they are answered."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._draw = random.Random(7)
        self._new = itertools.count()
        self.answers = 0
        self.sources: Counter[int] = Counter()
        self.ends: Counter[str] = Counter()

    async def run(self) -> None:
        """All streams, until enough was answered."""
        async with asyncio.TaskGroup() as group:
            for _ in range(STREAMS):
                group.create_task(self._stream())

    async def _stream(self) -> None:
        """One stream; each lives for about as many seconds as there are streams: one reconnect a second."""
        while self.answers < LAST:
            async with aio.insecure_channel(
                self._address, options=[("grpc.use_local_subchannel_pool", 1)]
            ) as channel:
                call = inference_pb2_grpc.InferenceServiceStub(channel).StreamAnswers()
                end = time.monotonic() + self._draw.uniform(0, 2 * STREAMS)
                try:
                    while time.monotonic() < end and self.answers < LAST:
                        await self._frame(call)
                except aio.AioRpcError as error:
                    # A stream that is asked to leave is reopened, as clients do.
                    self.ends[f"{error.code().name}: {error.details()}"] += 1
                call.cancel()

    async def _frame(self, call: Any) -> None:
        await call.write(
            pb.StreamAnswersRequest(questions=[self._question(n + 1) for n in range(FRAME)])
        )
        left = FRAME
        while left:
            response = await call.read()
            if response is aio.EOF:
                self.ends["OK"] += 1
                return
            for answer in response.answers:
                self.sources[answer.source] += 1
            left -= len(response.answers)
            self.answers += len(response.answers)

    def _question(self, number: int) -> pb.Question:
        # Until the cache is full, everything is new.
        fresh = next(self._new) < 1.2 * ENTRIES or self._draw.random() < 0.1
        state = f"n{self._draw.random()}" if fresh else f"c{self._draw.randrange(COMMON)}"
        npc = f"npc-{self._draw.randrange(NPCS)}"
        return pb.Question(
            id=number, role="reaction", archetype="guard", npc=npc, prompt=pb.Prompt(parts=["A wolf!"]),
            fields={"state": state}, deadline_ms=60_000,
        )  # fmt: skip


async def _play(address: str, process: psutil.Process) -> tuple[dict[int, float], dict[int, int]]:
    """Memory in MiB at each hundred thousand answers, and answers by source."""
    crowd = Crowd(address)
    running_crowd = asyncio.create_task(crowd.run())
    memory: dict[int, float] = {}
    while not running_crowd.done():
        step = crowd.answers // FIRST * FIRST
        if step and step not in memory:
            memory[step] = process.memory_info().rss / (1 << 20)
            print(f"  {step:>9} answers: {memory[step]:.1f} MiB", flush=True)
        await asyncio.sleep(0.05)
    await running_crowd
    memory[LAST] = process.memory_info().rss / (1 << 20)
    print(f"  streams that ended by themselves: {dict(crowd.ends)}", flush=True)
    return memory, crowd.sources


def main() -> None:
    """One run: it takes minutes."""
    program = built(
        Program(name="backend", package="./backend", about="the benchmark's backend: seconds"),
        print,
    )
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        address = f"127.0.0.1:{backend(program, folder, stack)}"
        (folder / "npcs.yaml").write_text(ARCHETYPES)
        view = {
            "tiers": [{"name": "gold", "class": "Gold", "slots": 256, "endpoints": [address]}],
            "worlds": [
                {
                    "name": "moor",
                    "archetypes": "npcs.yaml",
                    "roles": [{"name": "reaction", "tier": "gold", "share": {"maxInFlight": 256}}],
                }
            ],
        }
        (folder / "view.yaml").write_text(json.dumps(view))
        port, log = free_port(), folder / "gateway.log"
        command = [
            *(sys.executable, "-m", "gameai.gateway", f"--view={folder / 'view.yaml'}"),
            *("--insecure-no-identity", "--address=127.0.0.1", f"--port={port}"),
            *("--health-port=0", "--log-level=WARNING"),
        ]
        process = stack.enter_context(running(command, 0, log))
        wait_listening(port, log, process)
        began = time.monotonic()
        memory, sources = asyncio.run(_play(f"127.0.0.1:{port}", process))
        seconds = time.monotonic() - began
    by_source = {pb.Source.Name(source): count for source, count in sources.items()}  # type: ignore[arg-type] # a number of that enumeration
    print(f"  {LAST} answers in {seconds:.0f} s: {by_source}", flush=True)
    grown = [memory[LAST] / memory[FIRST]]
    report.write(
        "endurance",
        [
            report.median("memory after 1 M questions / after 100 k", grown, limit=1.05, unit="×"),
            report.median("memory after 1 M questions", [memory[LAST]], limit=None, unit="MiB"),
        ],
    )


if __name__ == "__main__":
    main()
