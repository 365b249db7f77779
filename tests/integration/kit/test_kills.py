"""Replicas of a service with state, the broker and the database are killed: nothing is lost, and nothing takes effect twice."""

import asyncio
import contextlib
import itertools
import json
import os
import random
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import jwt
import psycopg
import pytest
from gameai.bus import subjects
from gameai.bus.admin import NatsAdmin
from gameai.bus.batches import parsed
from gameai.bus.group import WorldGroup
from gameai.bus.log import Start
from gameai.bus.login import Password
from gameai.bus.publisher import Publisher
from gameai.bus.streams import LOG
from gameai.events.v1.events_pb2 import EntityKilled
from gameai_devcluster import postgres
from gameai_devcluster.broker import SMALL, Broker, broker
from gameai_devcluster.processes import free_port
from grpc import aio
from support.bounties import Example
from support.bus import METRICS, MOOR, REGISTRY
from support.managed_bus import certificates

AGAIN = (grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
# Encrypted as in a cluster; anyone may connect.
OPEN = """\
port: 4222
http_port: 8222
jetstream { store_dir: /data, max_file: 4G, max_mem: 1G }
tls { cert_file: "/tls/tls.crt", key_file: "/tls/tls.key", timeout: 5, handshake_first: true }
"""
GROUP = WorldGroup(world=MOOR, consumer="bounties", services=("game-server",))


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Two replicas on ports of their own, and what they stand on."""

    example: Example
    folder: Path
    database: str
    server: Broker
    ports: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))

    def write(self) -> None:
        """What the operator gives a pod."""
        clock = {"effectiveAt": "2026-11-22T09:00:00Z", "worldSeconds": "0", "speed": "1"}
        config = {
            "namespace": MOOR.namespace,
            "world": MOOR.name,
            "seed": 7,
            "clock": {"anchors": [{**clock, "dayLengthMinutes": 48}]},
            "services": {"bounties": {}},
            "bus": {
                "endpoint": f"127.0.0.1:{self.server.port}",
                "world": "uid-of-aldermoor",
                "knowledgeBase": "",
            },
        }
        (self.folder / "world.json").write_text(json.dumps(config))
        claims = {"sub": f"system:serviceaccount:{MOOR.namespace}:bounties"}
        (self.folder / "bus-ca.crt").write_bytes((self.folder / "tls" / "ca.crt").read_bytes())
        (self.folder / "token").write_text(jwt.encode(claims, "k" * 32, "HS256"))

    async def replica(self, port: int) -> asyncio.subprocess.Process:
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.example.folder),
            "GAMEAI_CONFIG": str(self.folder / "world.json"),
            "GAMEAI_SERVICE": "bounties",
            "GAMEAI_BUS_TOKEN": str(self.folder / "token"),
            "BOUNTIES_DATABASE": self.database,
        }
        with (self.folder / "replicas.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bounties_service", "--address", "127.0.0.1"),
                *("--port", str(port), "--health-port", "0"),
                env=environment,
                stdout=log,
                stderr=log,
            )


@contextlib.asynccontextmanager
async def killed_often(stage: Stage, chance: random.Random) -> AsyncIterator[None]:
    """Both replicas run; each is killed after some seconds, and started again."""

    async def one(port: int) -> None:
        while True:
            process = await stage.replica(port)
            try:
                await asyncio.wait_for(process.wait(), chance.uniform(1.5, 4.0))
            except TimeoutError:
                pass
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    tasks = [asyncio.create_task(one(each)) for each in stage.ports]
    try:
        yield
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def post(stage: Stage, victims: range, gold: int) -> None:
    """Post bounties, each until one of the replicas has answered it."""
    replicas = itertools.cycle(stage.ports)
    for victim in victims:
        request = stage.example.wire.PostBountyRequest(
            request_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{gold}/{victim}")),
            victim=victim,
            gold=gold,
        )
        answered = 0
        # A caller that has its answer sometimes asks again.
        while answered < 1 + (victim % 5 == 0):
            async with aio.insecure_channel(f"127.0.0.1:{next(replicas)}") as channel:
                stub = stage.example.grpc.BountyServiceStub(channel)
                try:
                    await stub.PostBounty(request, timeout=5)
                    answered += 1
                except aio.AioRpcError as error:
                    if error.code() not in AGAIN:
                        raise
                    await asyncio.sleep(0.1)


async def claims(nats: NatsAdmin, stage: Stage, number: int) -> dict[int, int]:
    """Victims and gold of the claims in the stream, once each was published; one that is there twice has the same number."""
    found: dict[tuple[int, int], tuple[int, int]] = {}
    following: dict[int, int] = {}
    messages = nats.replay(LOG, subjects.log(MOOR, "bounties"), Start(sequence=1))
    async with asyncio.timeout(90):
        async for message in messages:
            batch = parsed(message.payload)
            expected = following.get(batch.epoch, 1)
            assert batch.first_sequence <= expected, "a number is missing"
            for place, each in enumerate(batch.events):
                event = stage.example.wire.BountyClaimed.FromString(each.body)
                key = (batch.epoch, batch.first_sequence + place)
                assert found.setdefault(key, (event.victim, event.gold)) == (
                    event.victim,
                    event.gold,
                )
            following[batch.epoch] = max(expected, batch.first_sequence + len(batch.events))
            if len(found) >= number:
                break
    victims = dict(found.values())
    assert len(victims) == len(found), "a bounty was paid twice"
    return victims


@pytest.mark.long
@pytest.mark.parametrize("number", [300, pytest.param(6000, marks=pytest.mark.soak)])
async def test_bounties_are_posted_and_paid_once_while_everything_is_killed(
    example: Example, tmp_path: Path, number: int
) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    database = postgres.start(tmp_path / "postgres")
    try:
        tls = certificates(tmp_path)
        login = Password(user="test", password="", ca_file=tls / "ca.crt")
        with broker(tmp_path, OPEN, certificates=tls) as server:
            await asyncio.wait_for(server.answers(), 10)
            stage = Stage(
                example=example, folder=tmp_path, database=database.database("kit"), server=server
            )
            stage.write()
            async with NatsAdmin(server.url, login=login) as nats, killed_often(stage, chance):
                await nats.declare(SMALL)
                # As the bus's controller does.
                for durable in (GROUP.durable(3.0), GROUP.redrives(3.0)):
                    assert await nats.declare_consumer(durable, new=True)
                quarter = number // 4
                posting = [
                    asyncio.create_task(post(stage, range(1 + part, number + 1, 4), gold=7))
                    for part in range(4)
                ]
                await asyncio.sleep(4.0)
                database.kill()
                database = postgres.start(tmp_path / "postgres", database.port)
                await asyncio.gather(*posting)
                await post(stage, range(1, quarter + 1), gold=5)
                async with Publisher(
                    nats, REGISTRY, "game-server", 31, metrics=METRICS, ack_seconds=1.0
                ) as events:
                    for victim in range(1, number + 1):
                        await events.publish(MOOR, EntityKilled(victim=victim), world_us=victim)
                        if victim % 10 == 0:
                            await asyncio.sleep(0.1)
                        if victim == number // 2:
                            server.kill()
                            server.start()
                    await events.flush()
                found = await claims(nats, stage, number)
                assert found == {
                    victim: 12 if victim <= quarter else 7 for victim in range(1, number + 1)
                }
                await asyncio.sleep(1.0)
            async with await psycopg.AsyncConnection.connect(stage.database) as connection:
                cursor = await connection.execute(
                    "SELECT (SELECT count(*) FROM bounties.bounty), (SELECT count(*) FROM bounties.gameai_outbox)"
                )
                assert await cursor.fetchone() == (0, 0)
    finally:
        database.stop()
