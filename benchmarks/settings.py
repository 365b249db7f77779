"""Reads of the settings service over gRPC, in turns with empty calls of the same server; and changes by several writers.

The service, PostgreSQL and the clients share the cores of this machine; the bus is in memory.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop
from gameai.bus.subjects import world
from gameai.client import Bus
from gameai.events.v1.events_pb2 import SOURCE_SETTINGS
from gameai.kit import Database, Kit
from gameai.kit.limits import CallLimits
from gameai.services.settings.__main__ import SettingsService
from gameai.services.settings.cache import Cache
from gameai.services.settings.tables import TABLES
from gameai.serving import LiveWorld
from gameai.settings.v1 import settings_pb2 as pb
from gameai.settings.v1 import settings_pb2_grpc
from gameai.testing.bus import MemoryLog
from gameai.testing.hosting import hosted
from gameai.testing.worlds import FixedWorlds
from gameai_contract.world_config import parse
from gameai_devcluster import postgres, story
from grpc import aio

from benchmarks.report import Row, median, write
from benchmarks.state import drawn

ROUNDS, READS, KEYS, WRITERS, CHANGES = 7, 300, 100, 20, 10
MOOR = world("moor", "aldermoor", "uid")
SAID: dict[str, Any] = {"author": "bench", "reason": "bench"}


@contextlib.asynccontextmanager
async def serving(url: str) -> AsyncIterator[Any]:
    worlds = FixedWorlds(MOOR)
    opened = Kit.opened(
        "settings",
        SOURCE_SETTINGS,
        Database(url, schema="svc_settings"),
        worlds,
        tables=TABLES,
        bus=Bus.of_log(MemoryLog(), MOOR, service="settings"),
        limits=CallLimits(at_a_time=200, per_second=1e6, burst=10**6),
    )
    live = LiveWorld(
        parse(story.configuration(story.world("moor/aldermoor"), "", "")),
        lambda: time.time_ns() // 1000,
    )
    async with opened as kit:
        cache = Cache(kit.database, worlds, live.notify)
        service = SettingsService(kit, cache, live, 1000)

        def start(server: aio.Server) -> list[Coroutine[Any, Any, None]]:
            settings_pb2_grpc.add_SettingsServiceServicer_to_server(service, server)
            return [kit.run({}), cache.run()]

        async with hosted(start) as channel:
            yield settings_pb2_grpc.SettingsServiceStub(channel)


async def declare(stub: Any) -> None:
    """Keys with values of a world and of a region, and ten with a rollout."""
    keys = [f"key-{each}" for each in range(KEYS)]
    one = pb.Value(whole=1)
    declared = [pb.Declaration(key=each, description="One.", default=one) for each in keys]
    await stub.DeclareSettings(
        pb.DeclareSettingsRequest(request_id=drawn(), declarations=declared, **SAID)
    )
    volume = pb.Declaration(key="volume", description="One.", default=one, per_player=True)
    await stub.DeclareSettings(
        pb.DeclareSettingsRequest(request_id=drawn(), declarations=[volume], **SAID)
    )
    layers = (
        [pb.Change(key=each, layer=pb.LAYER_WORLD, value=one) for each in keys[:50]],
        [
            pb.Change(key=each, layer=pb.LAYER_REGION, region="north", value=one)
            for each in keys[25:75]
        ],
        [
            pb.Change(key=each, layer=pb.LAYER_ROLLOUT, permille=500, value=one)
            for each in keys[:10]
        ],
    )
    for changes in layers:
        await stub.UpdateSettings(
            pb.UpdateSettingsRequest(request_id=drawn(), changes=changes, **SAID)
        )


async def timed(call: Callable[[], Awaitable[Any]]) -> float:
    """Microseconds of a call, one after the other."""
    began = time.perf_counter()
    for _ in range(READS):
        await call()
    return (time.perf_counter() - began) / READS * 1e6


async def changes(stub: Any) -> float:
    """Revisions a second of several writers; each must get its own."""

    async def writer(number: int) -> list[int]:
        found = []
        for each in range(CHANGES):
            value = pb.Value(whole=time.perf_counter_ns() + number + each)
            change = pb.Change(key=f"key-{number}", layer=pb.LAYER_WORLD, value=value)
            answer = await stub.UpdateSettings(
                pb.UpdateSettingsRequest(request_id=drawn(), changes=[change], **SAID)
            )
            found.append(answer.revision)
        return found

    began = time.perf_counter()
    made = await asyncio.gather(*(writer(each) for each in range(WRITERS)))
    took = time.perf_counter() - began
    numbers = sorted(each for found in made for each in found)
    assert numbers == list(range(numbers[0], numbers[0] + WRITERS * CHANGES)), "not one history"
    return WRITERS * CHANGES / took


async def measure(url: str) -> list[Row]:
    found: dict[str, list[float]] = {
        "empty": [], "read": [], "ratio": [], "own": [], "written": []
    }  # fmt: skip
    context = pb.Context(region="north", player="player-7")
    keys = [f"key-{each}" for each in range(KEYS)]
    async with serving(url) as stub:
        empty, all_of_them = (
            pb.ListDeclarationsRequest(page_token="z"),  # noqa: S106 - a place in a list
            pb.GetEffectiveRequest(keys=keys, context=context),
        )
        with_own = pb.GetEffectiveRequest(keys=[*keys[1:], "volume"], context=context)
        await declare(stub)
        for _ in range(ROUNDS):
            alone = await timed(lambda: stub.ListDeclarations(empty))
            read = await timed(lambda: stub.GetEffective(all_of_them))
            found["empty"].append(alone)
            found["read"].append(read)
            found["ratio"].append(read / alone)
            found["own"].append(await timed(lambda: stub.GetEffective(with_own)))
            found["written"].append(await changes(stub))
    return [
        median("an empty call", found["empty"], limit=None, unit="us"),
        median(
            "100 settings of a region, ten with a rollout", found["read"], limit=None, unit="us"
        ),
        median("the second / the first", found["ratio"], limit=2.0, unit="x"),
        median(
            "the same with one more, a value of the player", found["own"], limit=None, unit="us"
        ),
        median("changes of 20 writers", found["written"], limit=None, unit="/s"),
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as name, postgres.running(Path(name) / "pg") as server:
        write("settings", uvloop.run(measure(server.database("bench"))))
