"""The world-state service on a real database, with calls of it and events for it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from gameai.bus.log import Log
from gameai.bus.subjects import World, name_id
from gameai.client import Bus
from gameai.events.v1.events_pb2 import (
    SOURCE_GAME_SERVER,
    SOURCE_WORLD_STATE,
    EntityKilled,
    FactChanged,
)
from gameai.kit import Database, Kit
from gameai.kit.cache import WorldCache
from gameai.kit.kit import Together
from gameai.services.world_state.__main__ import WorldStateService
from gameai.services.world_state.cache import SOURCE
from gameai.services.world_state.rules.drift import Dated
from gameai.services.world_state.rules.reactions import EVENTS
from gameai.services.world_state.rules.table import Rule, Stored
from gameai.services.world_state.tables import TABLES
from gameai.serving.live import LiveWorld
from gameai.testing.hosting import hosted
from gameai.world_state.v1 import world_state_pb2 as pb
from gameai.world_state.v1 import world_state_pb2_grpc
from gameai_contract.world_config import parse
from google.protobuf.message import Message
from grpc import aio

from support.bounties import Places
from support.bus import published
from support.live_settings import drawn, of
from support.worlds import configuration

REGIONS = ("coast", "moor")
HOUR = 3_600_000_000


def rule(name: str = "danger", **given: Any) -> pb.FactRule:
    """A fact per region of 0 to 100 that proposals may change."""
    return pb.FactRule(
        **{
            "name": name,
            "description": f"The {name}.",
            "per_region": True,
            "maximum": 100,
            "proposals": True,
            **given,
        }
    )


def killing(add: int = 10, *conditions: pb.Condition) -> pb.Reaction:
    """The fact of the region changes with each kill."""
    return pb.Reaction(event="EntityKilled", region_field="region", add=add, conditions=conditions)


def killed(region: str = "moor", **given: Any) -> EntityKilled:
    return EntityKilled(killer=1, victim=2, region=name_id(region), **given)


def declared(*given: pb.FactRule, **fields: Any) -> pb.DeclareFactsRequest:
    return pb.DeclareFactsRequest(rules=given, **fields)


def proposal(region: str = "moor", fact: str = "danger", **given: Any) -> pb.Proposal:
    return pb.Proposal(**{"fact": fact, "region": region, "cause": "a test", **given})


def dated(value: int, at_us: int = 0) -> Dated:
    return Dated(value=value, at_us=at_us)


def stored(value: int, revision: int = 5, at_us: int = 0, cause: str = "a test") -> Stored:
    return Stored(dated=dated(value, at_us), revision=revision, cause=cause)


def rules(*given: pb.FactRule) -> dict[str, Rule]:
    return {each.name: Rule(body=each, base=dated(each.initial), revision=1) for each in given}


@dataclass(frozen=True, kw_only=True)
class WorldState:
    """The service, and calls of it; a call without `world` is of the first one."""

    stub: Any
    log: Log
    live: LiveWorld
    kit: Kit
    worlds: Places
    place: World

    async def declare(self, *given: pb.FactRule, removed: tuple[str, ...] = ()) -> int:
        request = pb.DeclareFactsRequest(request_id=drawn(), rules=given, removed_facts=removed)
        return int((await self.stub.DeclareFacts(request, timeout=20)).revision)

    async def propose(self, *given: pb.Proposal, world: str = "") -> pb.ProposeFactsResponse:
        request = pb.ProposeFactsRequest(request_id=drawn(), proposals=given)
        found: pb.ProposeFactsResponse = await self.stub.ProposeFacts(
            request, metadata=of(world), timeout=20
        )
        return found

    async def snapshot(self, world: str = "", **given: Any) -> pb.GetSnapshotResponse:
        request = pb.GetSnapshotRequest(**given)
        found: pb.GetSnapshotResponse = await self.stub.GetSnapshot(
            request, metadata=of(world), timeout=20
        )
        return found

    async def present(self, region: str = "moor", fact: str = "danger") -> int:
        found = {(each.name, each.region): each for each in (await self.snapshot()).facts}
        return found[fact, region].present

    async def until(self, wanted: int, region: str = "moor", fact: str = "danger") -> None:
        """Wait until a fact has a value. A batch whose replica has ended comes again after half a minute."""
        async with asyncio.timeout(60):
            while await self.present(region, fact) != wanted:
                await asyncio.sleep(0.05)

    async def changes(self, region: str = "moor", fact: str = "danger") -> list[pb.FactChange]:
        request = pb.ListChangesRequest(fact=fact, region=region)
        return list((await self.stub.ListChanges(request, timeout=20)).changes)

    async def happen(self, *given: Message) -> None:
        """Publish events of a game server."""
        bus = Bus.of_log(self.log, self.place, service="arena")
        async with bus.publisher(SOURCE_GAME_SERVER) as publisher:
            for each in given:
                await publisher.publish(each, world_us=0)

    async def events(self, number: int) -> list[FactChanged]:
        found = await published(self.log, self.place, "world-state", number)
        return [each for each in found if isinstance(each, FactChanged)]

    async def chain(self, first: int, last: int) -> list[FactChanged]:
        """The events of one fact, once the last one is there: each begins where the one before it ends."""
        found: list[FactChanged] = []
        async with asyncio.timeout(20):
            while not found or found[-1].value != last:
                found = await self.events(len(found) + 1)
        assert [each.previous for each in found] == [first, *(each.value for each in found[:-1])]
        return found


@contextlib.asynccontextmanager
async def serving(
    url: str, log: Log, *given: World, consumes: Callable[[], bool] = lambda: True
) -> AsyncIterator[WorldState]:
    """The service of these worlds."""
    worlds = Places(*given)
    opened = Kit.opened(
        "world-state",
        SOURCE_WORLD_STATE,
        Database(url, schema="svc_world_state", connections=4),
        worlds,
        tables=TABLES,
        bus=Bus.of_log(log, given[0], service="world-state"),
    )
    live = LiveWorld(parse(configuration()), lambda: time.time_ns() // 1000)
    async with opened as kit:
        cache = WorldCache(kit.database, worlds, SOURCE, live.notify)
        service = WorldStateService(kit, cache, live, REGIONS)
        types = [each.message for each in EVENTS.values()]
        handlers = Together(types=types, method=service.changes.react)

        def start(server: aio.Server) -> list[Coroutine[Any, Any, None]]:
            world_state_pb2_grpc.add_WorldStateServiceServicer_to_server(service, server)
            return [kit.run(handlers, consumes=consumes), cache.run()]

        async with hosted(start) as channel:
            stub = world_state_pb2_grpc.WorldStateServiceStub(channel)
            yield WorldState(stub=stub, log=log, live=live, kit=kit, worlds=worlds, place=given[0])
