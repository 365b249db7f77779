"""Replicas of world-state are killed while events and proposals change its facts: each takes effect once."""

import asyncio
import itertools
import random
from pathlib import Path

import pytest
from gameai.bus import subjects
from gameai.bus.admin import NatsAdmin
from gameai.bus.batches import parsed
from gameai.bus.group import WorldGroup
from gameai.bus.log import Start
from gameai.bus.publisher import Publisher
from gameai.bus.streams import LOG
from gameai.bus.subjects import name_id
from gameai.events.v1.events_pb2 import FactChanged
from gameai.world_state.v1 import world_state_pb2 as pb
from gameai.world_state.v1 import world_state_pb2_grpc
from google.protobuf.message import Message
from grpc import aio
from support.bus import METRICS, MOOR, REGISTRY
from support.killed import AGAIN, Stage, consumed, killed_often, open_bus
from support.live_settings import drawn
from support.live_world_state import killed, killing, proposal, rule

GROUP = WorldGroup(world=MOOR, consumer="world-state", services=("game-server",))
DANGER = rule(maximum=10**9, reactions=[killing(1)])


async def asked(stage: Stage, method: str, request: Message) -> Message:
    """The answer of one of the replicas, once it has answered."""
    for port in itertools.cycle(stage.ports):
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = world_state_pb2_grpc.WorldStateServiceStub(channel)
            try:
                answer: Message = await getattr(stub, method)(request, timeout=5)
                return answer
            except aio.AioRpcError as error:
                if error.code() not in AGAIN:
                    raise
                await asyncio.sleep(0.1)
    raise AssertionError


async def proposed(stage: Stage, number: int) -> None:
    for _ in range(number):
        request = pb.ProposeFactsRequest(request_id=drawn(), proposals=[proposal("coast", add=1)])
        await asked(stage, "ProposeFacts", request)


async def facts(stage: Stage) -> dict[str, int]:
    """The facts, as a replica has them that has read the database in between."""
    await asked(stage, "GetSnapshot", pb.GetSnapshotRequest())
    await asyncio.sleep(2.0)
    found = await asked(stage, "GetSnapshot", pb.GetSnapshotRequest())
    assert isinstance(found, pb.GetSnapshotResponse)
    return {each.region: each.present for each in found.facts}


async def changed(nats: NatsAdmin, wanted: dict[int, int]) -> list[FactChanged]:
    """The changes in the stream, once regions have these values. One that is there twice has the same number."""
    found: dict[tuple[int, int], FactChanged] = {}
    present: dict[int, int] = {}
    async with asyncio.timeout(90):
        async for message in nats.replay(LOG, subjects.log(MOOR, "world-state"), Start(sequence=1)):
            batch = parsed(message.payload)
            for place, each in enumerate(batch.events):
                event = REGISTRY.message(each)
                assert isinstance(event, FactChanged)
                key = (batch.epoch, batch.first_sequence + place)
                assert found.setdefault(key, event) == event
                present[event.region] = event.value
            if present == wanted:
                break
    return list(found.values())


@pytest.mark.parametrize("number", [1600, pytest.param(20_000, marks=pytest.mark.soak)])
async def test_facts_are_the_sum_of_all_events_and_proposals_though_replicas_are_killed(
    database: str, tmp_path: Path, number: int
) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    async with open_bus(tmp_path) as (server, nats):
        stage = Stage(
            module="gameai.services.world_state",
            service={"settings": {"regions": "coast, moor"}, "consumes": ["game-server"]},
            group=GROUP,
            environment={"GAMEAI_DATABASE": database},
            folder=tmp_path,
            server=server,
        )
        stage.write()
        await consumed(nats, GROUP)
        async with killed_often(stage, random.Random(seed)):
            request = pb.DeclareFactsRequest(request_id=drawn(), rules=[DANGER])
            await asked(stage, "DeclareFacts", request)
            proposing = [asyncio.create_task(proposed(stage, number // 40)) for _ in range(4)]
            async with Publisher(nats, REGISTRY, "game-server", 31, metrics=METRICS) as events:
                for each in range(1, number + 1):
                    await events.publish(MOOR, killed(), world_us=each)
                    if each % 20 == 0:
                        await asyncio.sleep(0.1)
            await asyncio.gather(*proposing)
            wanted = {"moor": number, "coast": number // 10}
            changes = await changed(nats, {name_id(key): value for key, value in wanted.items()})
            assert await facts(stage) == wanted
    for region in map(name_id, wanted):
        chain = [each for each in changes if each.region == region]
        assert [each.previous for each in chain] == [0, *(each.value for each in chain[:-1])]
        assert [each.revision for each in chain] == sorted(each.revision for each in chain)
