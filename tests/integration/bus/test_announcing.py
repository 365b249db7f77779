"""Services of the catalogue as processes that publish: three replicas, one event each, and a bus that comes and goes."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from gameai.bus import subjects
from gameai.bus.batches import parsed
from gameai.bus.log import Start, Stored
from gameai.bus.nats import NatsLog
from gameai.bus.streams import LOG
from gameai.time.v1 import time_pb2, time_pb2_grpc
from gameai_contract.world_time import format_time
from gameai_devcluster.broker import Broker
from gameai_devcluster.services import Service, ServiceLaunch
from support.worlds import configuration

SERVICES = [
    {"name": "time-manager"},
    {"name": "weather-manager", "settings": {"regions": "coast, moor"}},
]
# A day is six seconds.
FAST = {"dayLengthMinutes": 1, "speed": "10", "paused": False}
UID = "7f1c"


def write(file: Path, bus: str = "", *, began: str = "") -> str:
    """The configuration that the operator would mount; the time at which the world began."""
    began = began or format_time(time.time_ns() // 1000)
    text = configuration(seed=42, services=SERVICES, clock=FAST)
    document = json.loads(text.replace("2026-11-22T09:00:00Z", began))
    if bus:
        document["bus"] = {"endpoint": bus, "world": UID}
    part = file.with_suffix(".part")
    part.write_text(json.dumps(document))
    part.replace(file)
    return began


Run = Callable[[str, Path], Service]


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    running: list[Service] = []

    def start(name: str, config: Path) -> Service:
        log = tmp_path / f"{name}-{len(running)}.log"
        launch = ServiceLaunch(name=name, config=config, log=log, drain_seconds=0.2, environment={})
        running.append(Service(launch))
        return running[-1]

    yield start
    for each in running:
        each.close()
        assert "this is a bug" not in each.output()
        assert "failed as it ended" not in each.output()


async def published(log: NatsLog, service: str, number: int) -> list[Stored]:
    found: list[Stored] = []
    document = json.loads(configuration(seed=42, services=SERVICES))
    world = subjects.world(document["namespace"], document["world"], UID)
    async with asyncio.timeout(60):
        async for each in log.replay(LOG, subjects.log(world, service), Start(sequence=1)):
            found.append(each)
            if len(found) == number:
                break
    return found


@pytest.mark.parametrize("service", ["time-manager", "weather-manager"])
async def test_three_replicas_publish_each_event_once_and_in_order(
    nats: NatsLog, server: Broker, run: Run, tmp_path: Path, service: str
) -> None:
    config = tmp_path / "world.json"
    write(config, f"127.0.0.1:{server.port}")
    for _ in range(3):
        run(service, config)
    numbers = []
    for each in await published(nats, service, 12):
        batch = parsed(each.payload)
        assert batch.epoch == 0
        numbers.append(batch.first_sequence)
    assert numbers == sorted(set(numbers))


async def test_a_bus_may_come_and_go_while_the_service_answers(
    nats: NatsLog, server: Broker, run: Run, tmp_path: Path
) -> None:
    config = tmp_path / "world.json"
    began = write(config)
    service = run("time-manager", config).wait_serving()
    stub = time_pb2_grpc.TimeServiceStub(service.channel())
    assert stub.GetTime(time_pb2.GetTimeRequest()).time.world_microseconds
    write(config, f"127.0.0.1:{server.port}", began=began)
    await published(nats, "time-manager", 4)
    server.kill()
    assert stub.GetTime(time_pb2.GetTimeRequest()).time.world_microseconds
    await asyncio.sleep(3)
    server.start()
    await asyncio.wait_for(server.answers(), 30)
    last = (await nats.last(LOG, "log.>")) or pytest.fail("nothing was stored")
    async with asyncio.timeout(60):
        while ((await nats.last(LOG, "log.>")) or last).sequence < last.sequence + 3:
            await asyncio.sleep(0.2)
    assert stub.GetTime(time_pb2.GetTimeRequest()).time.world_microseconds
