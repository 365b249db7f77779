"""Replicas of a service with state, the broker and the database are killed: nothing is lost, and nothing takes effect twice."""

import asyncio
import itertools
import random
import uuid
from pathlib import Path

import psycopg
import pytest
from gameai.bus import subjects
from gameai.bus.admin import NatsAdmin
from gameai.bus.batches import parsed
from gameai.bus.group import WorldGroup
from gameai.bus.log import Start
from gameai.bus.publisher import Publisher
from gameai.bus.streams import LOG
from gameai.events.v1.events_pb2 import EntityKilled
from gameai_devcluster import postgres
from grpc import aio
from support.bounties import Example
from support.bus import METRICS, MOOR, REGISTRY
from support.killed import AGAIN, Stage, consumed, killed_often, open_bus

GROUP = WorldGroup(world=MOOR, consumer="bounties", services=("game-server",))


async def post(example: Example, stage: Stage, victims: range, gold: int) -> None:
    """Post bounties, each until one of the replicas has answered it."""
    replicas = itertools.cycle(stage.ports)
    for victim in victims:
        request = example.wire.PostBountyRequest(
            request_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{gold}/{victim}")),
            victim=victim,
            gold=gold,
        )
        answered = 0
        # A caller that has its answer sometimes asks again.
        while answered < 1 + (victim % 5 == 0):
            async with aio.insecure_channel(f"127.0.0.1:{next(replicas)}") as channel:
                stub = example.grpc.BountyServiceStub(channel)
                try:
                    await stub.PostBounty(request, timeout=5)
                    answered += 1
                except aio.AioRpcError as error:
                    if error.code() not in AGAIN:
                        raise
                    await asyncio.sleep(0.1)


async def claims(nats: NatsAdmin, example: Example, number: int) -> dict[int, int]:
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
                event = example.wire.BountyClaimed.FromString(each.body)
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
        url = database.database("kit")
        async with open_bus(tmp_path) as (server, nats):
            stage = Stage(
                module="bounties_service",
                service={},
                group=GROUP,
                environment={"PYTHONPATH": str(example.folder), "BOUNTIES_DATABASE": url},
                folder=tmp_path,
                server=server,
            )
            stage.write()
            async with killed_often(stage, chance):
                await consumed(nats, GROUP)
                quarter = number // 4
                posting = [
                    asyncio.create_task(
                        post(example, stage, range(1 + part, number + 1, 4), gold=7)
                    )
                    for part in range(4)
                ]
                await asyncio.sleep(4.0)
                database.kill()
                database = postgres.start(tmp_path / "postgres", database.port)
                await asyncio.gather(*posting)
                await post(example, stage, range(1, quarter + 1), gold=5)
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
                found = await claims(nats, example, number)
                assert found == {
                    victim: 12 if victim <= quarter else 7 for victim in range(1, number + 1)
                }
                await asyncio.sleep(1.0)
            async with await psycopg.AsyncConnection.connect(url) as connection:
                cursor = await connection.execute(
                    "SELECT (SELECT count(*) FROM bounties.bounty), (SELECT count(*) FROM bounties.gameai_outbox)"
                )
                assert await cursor.fetchone() == (0, 0)
    finally:
        database.stop()
