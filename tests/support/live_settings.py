"""The settings service on a real database, with calls of it."""

import contextlib
import random
import time
import uuid
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any

from gameai.bus.log import Log
from gameai.bus.subjects import World
from gameai.client import Bus
from gameai.events.v1.events_pb2 import SOURCE_SETTINGS
from gameai.kit import Database, Kit
from gameai.services.settings.__main__ import SettingsService
from gameai.services.settings.cache import Cache
from gameai.services.settings.rules import table
from gameai.services.settings.rules.table import Place, Row
from gameai.services.settings.tables import TABLES
from gameai.serving.live import LiveWorld
from gameai.settings.v1 import settings_pb2 as pb
from gameai.settings.v1 import settings_pb2_grpc
from gameai.testing.bus import MemoryLog
from gameai.testing.hosting import hosted
from gameai_contract.world_config import parse
from google.protobuf.message import Message
from grpc import aio

from support.bounties import Places
from support.bus import published
from support.worlds import configuration

AUTHOR: dict[str, Any] = {"author": "anna", "reason": "a test"}


def whole(given: int) -> pb.Value:
    return pb.Value(whole=given)


def declaration(key: str, default: pb.Value | None = None, **fields: Any) -> pb.Declaration:
    """A declaration of a whole number unless another default is given."""
    return pb.Declaration(
        key=key, default=default or whole(1), **{"description": f"What {key} does.", **fields}
    )


def change(
    key: str,
    value: pb.Value | None,
    layer: "pb.Layer.ValueType" = pb.LAYER_WORLD,
    region: str = "",
    permille: int = 0,
) -> pb.Change:
    return pb.Change(key=key, value=value, layer=layer, region=region, permille=permille)


def place(key: str, layer: int = pb.LAYER_DEFAULT, scope: str = "") -> Place:
    return Place(layer=layer, scope=scope, key=key)


def row(
    key: str, body: pb.Declaration | pb.Change, revision: int, layer: int, scope: str = ""
) -> Row:
    return Row(place=place(key, layer, scope), body=body.SerializeToString(), revision=revision)


TABLE = table.table(
    5,
    [
        row("b", declaration("b"), 1, pb.LAYER_DEFAULT),
        row("a", declaration("a", whole(10), per_player=True), 1, pb.LAYER_DEFAULT),
        row("a", change("a", whole(11)), 2, pb.LAYER_WORLD),
        row("a", change("a", whole(12), pb.LAYER_REGION, "north"), 3, pb.LAYER_REGION, "north"),
        row("a", change("a", whole(13), pb.LAYER_ROLLOUT, permille=500), 4, pb.LAYER_ROLLOUT),
    ],
)


def drawn() -> str:
    return str(uuid.UUID(int=random.getrandbits(128)))


def of(world: str) -> tuple[tuple[str, str], ...]:
    return (("gameai-world", world),) if world else ()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The service, and calls of it; a call without `world` is of the first one."""

    stub: Any
    log: Log
    live: LiveWorld
    kit: Kit

    async def declare(self, *given: pb.Declaration, world: str = "", **fields: Any) -> int:
        request = pb.DeclareSettingsRequest(
            **{"request_id": drawn(), "declarations": given, **AUTHOR, **fields}
        )
        return int((await self.stub.DeclareSettings(request, metadata=of(world))).revision)

    async def update(self, *given: pb.Change, world: str = "", **fields: Any) -> int:
        request = pb.UpdateSettingsRequest(
            **{"request_id": drawn(), "changes": given, **AUTHOR, **fields}
        )
        return int((await self.stub.UpdateSettings(request, metadata=of(world))).revision)

    async def roll_back(self, revision: int, **fields: Any) -> int:
        request = pb.RollbackToRequest(
            **{"request_id": drawn(), "revision": revision, **AUTHOR, **fields}
        )
        return int((await self.stub.RollbackTo(request, timeout=20)).revision)

    async def of_player(self, player: str, **values: pb.Value | None) -> None:
        changes = [pb.PlayerChange(key=key, value=value) for key, value in values.items()]
        request = pb.UpdatePlayerSettingsRequest(request_id=drawn(), player=player, changes=changes)
        await self.stub.UpdatePlayerSettings(request, timeout=20)

    async def read(self, *keys: str, world: str = "", **context: str) -> pb.GetEffectiveResponse:
        request = pb.GetEffectiveRequest(keys=keys, context=pb.Context(**context))
        found: pb.GetEffectiveResponse = await self.stub.GetEffective(
            request, metadata=of(world), timeout=20
        )
        return found

    async def value(self, key: str, world: str = "", **context: str) -> int:
        (found,) = (await self.read(key, world=world, **context)).settings
        return found.value.whole

    async def events(self, number: int, world: World) -> list[Message]:
        return await published(self.log, world, "settings", number)


@contextlib.asynccontextmanager
async def serving(
    url: str, *given: World, revisions: int = 1000, log: Log | None = None
) -> AsyncIterator[Settings]:
    """The service of these worlds."""
    log, worlds = log or MemoryLog(), Places(*given)
    opened = Kit.opened(
        "settings",
        SOURCE_SETTINGS,
        Database(url, schema="svc_settings", connections=4),
        worlds,
        tables=TABLES,
        bus=Bus.of_log(log, given[0], service="settings"),
    )
    live = LiveWorld(parse(configuration()), lambda: time.time_ns() // 1000)
    async with opened as kit:
        cache = Cache(kit.database, worlds, live.notify)
        service = SettingsService(kit, cache, live, revisions)

        def start(server: aio.Server) -> list[Coroutine[Any, Any, None]]:
            settings_pb2_grpc.add_SettingsServiceServicer_to_server(service, server)
            return [kit.run({}), cache.run()]

        async with hosted(start) as channel:
            stub = settings_pb2_grpc.SettingsServiceStub(channel)
            yield Settings(stub=stub, log=log, live=live, kit=kit)
