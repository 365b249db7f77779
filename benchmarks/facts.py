"""Deltas of world-state to 200 watchers, in rounds with and without them; reads and proposals of one caller.

The service is a process of its own whose CPU time is read; PostgreSQL and the watchers share the cores of this machine.
"""

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import uvloop
from gameai.world_state.v1 import world_state_pb2 as pb
from gameai.world_state.v1 import world_state_pb2_grpc
from gameai_contract.names import DATABASE_ENVIRONMENT
from gameai_devcluster import postgres, story
from gameai_devcluster.services import Service, ServiceLaunch
from grpc import aio

from benchmarks.report import Row, median, write
from benchmarks.state import drawn

ROUNDS, WATCHERS, CHANGES, READS, FACTS = 5, 200, 20, 200, 20
# Each change reaches the watchers in a message of its own.
PAUSE_SECONDS = 0.25


def rules() -> list[pb.FactRule]:
    return [
        pb.FactRule(name=f"f-{each}", description="One.", maximum=10**9, proposals=True)
        for each in range(FACTS)
    ]


async def propose(stub: Any, fact: str = "f-0") -> None:
    given = pb.Proposal(fact=fact, add=1, cause="bench")
    await stub.ProposeFacts(pb.ProposeFactsRequest(request_id=drawn(), proposals=[given]))


@contextlib.asynccontextmanager
async def watching(target: str) -> AsyncIterator[list[int]]:
    """How many messages watchers have had; those of several channels, as several game servers."""
    seen, full = [0], asyncio.Event()

    async def one(channel: aio.Channel) -> None:
        stub = world_state_pb2_grpc.WorldStateServiceStub(channel)
        async for _ in stub.WatchFacts(pb.WatchFactsRequest()):
            seen[0] += 1
            if seen[0] >= WATCHERS:
                full.set()

    async with contextlib.AsyncExitStack() as stack:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            await stack.enter_async_context(aio.insecure_channel(target, options))
            for _ in range(10)
        ]
        tasks = [asyncio.create_task(one(channels[each % 10])) for each in range(WATCHERS)]
        try:
            async with asyncio.timeout(60):
                await full.wait()
            yield seen
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def cpu_of_changes(stub: Any, process: psutil.Process) -> float:
    """Seconds of CPU that the service takes for some changes."""

    def used() -> float:
        times = process.cpu_times()
        return float(times.user + times.system)

    before = used()
    for _ in range(CHANGES):
        await propose(stub)
        await asyncio.sleep(PAUSE_SECONDS)
    return used() - before


async def timed(call: Callable[[], Awaitable[Any]], number: int) -> float:
    """Milliseconds of a call, one after the other."""
    began = time.perf_counter()
    for _ in range(number):
        await call()
    return (time.perf_counter() - began) / number * 1e3


async def measure(target: str, process: psutil.Process) -> list[Row]:
    found: dict[str, list[float]] = {"delta": [], "read": [], "proposal": []}
    async with aio.insecure_channel(target) as channel:
        stub = world_state_pb2_grpc.WorldStateServiceStub(channel)
        await stub.DeclareFacts(pb.DeclareFactsRequest(request_id=drawn(), rules=rules()))
        snapshot = pb.GetSnapshotRequest()
        for _ in range(ROUNDS):
            alone = await cpu_of_changes(stub, process)
            async with watching(target) as seen:
                before = seen[0]
                watched = await cpu_of_changes(stub, process)
                sent = seen[0] - before
            assert sent == WATCHERS * CHANGES, f"{sent} messages: changes were sent together"
            found["delta"].append((watched - alone) / sent * 1e6)
            found["read"].append(await timed(lambda: stub.GetSnapshot(snapshot), READS))
            found["proposal"].append(await timed(lambda: propose(stub, "f-1"), READS // 4))
    return [
        median("CPU of a delta to one of 200 watchers", found["delta"], limit=40.0, unit="us"),
        median(f"a snapshot of {FACTS} facts", found["read"], limit=None, unit="ms"),
        median("a proposal, until its replica reads it", found["proposal"], limit=None, unit="ms"),
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "world.json"
        document = json.loads(story.configuration(story.world("moor/aldermoor"), "", ""))
        document["services"] = {"world-state": {"endpoint": "", "settings": {}, "settingsHash": ""}}
        config.write_text(json.dumps(document))
        with postgres.running(Path(folder) / "postgres") as database:
            url = database.database("facts")
            launch = ServiceLaunch(
                name="world-state",
                config=config,
                log=Path(folder) / "service.log",
                environment={DATABASE_ENVIRONMENT: url},
            )
            service = Service(launch)
            try:
                service.wait_serving()
                process = psutil.Process(service.process.pid)
                write("facts", uvloop.run(measure(service.endpoint, process)))
            finally:
                service.close()


if __name__ == "__main__":
    main()
