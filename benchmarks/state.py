"""Objects of the state-manager over gRPC: batches of 32 writes, and clients that add to the same objects.

The service, PostgreSQL and the clients share the cores of this machine; the bus is in memory. In turns with the batches, the
same rows by one statement for each batch without the service: what the database itself takes.
"""

import asyncio
import contextlib
import random
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import psycopg
import uvloop
from gameai.bus.subjects import world
from gameai.client import Bus
from gameai.events.v1.events_pb2 import SOURCE_STATE_MANAGER
from gameai.kit import Database, Kit
from gameai.kit.limits import CallLimits
from gameai.services.state_manager.__main__ import StateService
from gameai.services.state_manager.rules.checks import Limits
from gameai.services.state_manager.tables import TABLES
from gameai.serving.interceptor import Interceptor
from gameai.state.v1 import state_pb2 as pb
from gameai.state.v1 import state_pb2_grpc
from gameai.testing.bus import MemoryLog
from gameai.testing.worlds import FixedWorlds
from gameai_devcluster import postgres
from grpc import aio

from benchmarks.report import Row, median, write

ROUNDS, BATCHES, BATCH, CALLERS, CLIENTS, ADDITIONS = 5, 200, 32, 8, 100, 5
MOOR = world("moor", "aldermoor", "uid")
VALUE = b"x" * 300
DIRECT = """
INSERT INTO svc_state_manager.object (world, collection, key, owner, value, type, written_world_us)
SELECT 'direct', 'saves', k, '', %s, 'json', 0 FROM unnest(%s::text[]) AS k
ON CONFLICT (world, collection, key) DO UPDATE SET value = EXCLUDED.value, version = nextval('svc_state_manager.object_version')
"""


def drawn() -> str:
    return str(uuid.UUID(int=random.getrandbits(128)))


@contextlib.asynccontextmanager
async def serving(url: str) -> AsyncIterator[Any]:
    limits = Limits(collections=("saves",), value_bytes=65_536, owner_objects=100_000)
    server = aio.server(interceptors=[Interceptor()])
    opened = Kit.opened(
        "state-manager",
        SOURCE_STATE_MANAGER,
        Database(url, schema="svc_state_manager"),
        FixedWorlds(MOOR),
        tables=TABLES,
        bus=Bus.of_log(MemoryLog(), MOOR, service="state-manager"),
        limits=CallLimits(at_a_time=200, per_second=1e6, burst=10**6),
    )
    async with opened as kit:
        state_pb2_grpc.add_StateServiceServicer_to_server(StateService(kit, limits), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        running = asyncio.create_task(kit.run({}))
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield state_pb2_grpc.StateServiceStub(channel)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await server.stop(0)


async def batches(stub: Any) -> float:
    """Objects a second, written in batches by several callers."""

    async def caller(number: int) -> None:
        for batch in range(BATCHES // CALLERS):
            writes = [
                pb.Write(
                    object=pb.Object(
                        collection="saves", key=f"{number}/{batch}/{each}", value=VALUE
                    ),
                    expected_version=-1,
                )
                for each in range(BATCH)
            ]
            await stub.BatchWriteObjects(
                pb.BatchWriteObjectsRequest(request_id=drawn(), writes=writes)
            )

    began = time.perf_counter()
    await asyncio.gather(*(caller(each) for each in range(CALLERS)))
    return BATCHES * BATCH / (time.perf_counter() - began)


async def direct(url: str) -> float:
    """The same rows in PostgreSQL alone, by as many connections."""

    async def caller(number: int) -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            for batch in range(BATCHES // CALLERS):
                keys = [f"{number}/{batch}/{each}" for each in range(BATCH)]
                await connection.execute(DIRECT, (VALUE, keys))

    began = time.perf_counter()
    await asyncio.gather(*(caller(each) for each in range(CALLERS)))
    return BATCHES * BATCH / (time.perf_counter() - began)


async def add(stub: Any, key: pb.ObjectKey) -> bool:
    """Whether one more was added; False: another client was faster."""
    (found,) = (await stub.BatchGetObjects(pb.BatchGetObjectsRequest(keys=[key]))).objects
    raised = pb.Object(collection="saves", key=key.key, value=str(int(found.value) + 1).encode())
    given = pb.Write(object=raised, expected_version=found.version)
    try:
        await stub.BatchWriteObjects(
            pb.BatchWriteObjectsRequest(request_id=drawn(), writes=[given])
        )
    except aio.AioRpcError as error:
        if error.code() not in (grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE):
            raise
        return False
    return True


async def additions(stub: Any, turn: int) -> float:
    """Additions a second of clients that read, add and write behind the version that they have read; the sum must be exact."""
    keys = [pb.ObjectKey(collection="saves", key=f"sum-{turn}-{each}") for each in range(100)]
    for key in keys:
        first = pb.Write(object=pb.Object(collection="saves", key=key.key, value=b"0"))
        await stub.BatchWriteObjects(
            pb.BatchWriteObjectsRequest(request_id=drawn(), writes=[first])
        )

    async def client(number: int) -> None:
        chance = random.Random(number)
        for _ in range(ADDITIONS):
            while not await add(stub, chance.choice(keys)):
                pass

    began = time.perf_counter()
    await asyncio.gather(*(client(each) for each in range(CLIENTS)))
    took = time.perf_counter() - began
    total = 0
    for some in (keys[:50], keys[50:]):
        answer = await stub.BatchGetObjects(pb.BatchGetObjectsRequest(keys=some))
        total += sum(int(each.value) for each in answer.objects)
    assert total == CLIENTS * ADDITIONS, f"{total} is not the sum"
    return CLIENTS * ADDITIONS / took


async def measure(url: str) -> list[Row]:
    found: dict[str, list[float]] = {"ours": [], "direct": [], "ratio": [], "added": []}
    async with serving(url) as stub:
        for turn in range(ROUNDS):
            ours, alone = await batches(stub), await direct(url)
            found["ours"].append(ours)
            found["direct"].append(alone)
            found["ratio"].append(ours / alone)
            found["added"].append(await additions(stub, turn))
    return [
        median(
            "objects written in batches of 32", found["ours"], limit=10_000, unit="/s", least=True
        ),
        median("the same rows in PostgreSQL alone", found["direct"], limit=None, unit="/s"),
        median("the first / the second", found["ratio"], limit=None, unit="x"),
        median("additions of 100 clients behind versions", found["added"], limit=None, unit="/s"),
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as name, postgres.running(Path(name) / "pg") as server:
        write("state", uvloop.run(measure(server.database("bench"))))
