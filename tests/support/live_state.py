"""The state-manager on a real database, with calls of it."""

import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any

from gameai.bus.log import Log
from gameai.bus.subjects import World
from gameai.client import Bus
from gameai.events.v1.events_pb2 import SOURCE_STATE_MANAGER
from gameai.kit import Database, Kit
from gameai.services.state_manager.__main__ import StateService
from gameai.services.state_manager.rules.checks import Limits
from gameai.services.state_manager.tables import TABLES
from gameai.state.v1 import state_pb2 as pb
from gameai.state.v1 import state_pb2_grpc
from gameai.testing.bus import MemoryLog
from gameai.testing.hosting import hosted
from google.protobuf.message import Message
from grpc import aio

from support.bounties import Places
from support.bus import MOOR, published
from support.live_settings import of

LIMITS = Limits(collections=("saves", "guild-banks"), value_bytes=65_536, owner_objects=20)


@dataclass(frozen=True, kw_only=True)
class State:
    """The service, and calls of it; a call without `world` is of the first one."""

    stub: Any
    log: Log

    async def write(self, *writes: pb.Write, world: str = "", request_id: str = "") -> list[int]:
        request = pb.BatchWriteObjectsRequest(
            request_id=request_id or str(uuid.UUID(int=random.getrandbits(128))), writes=writes
        )
        answer = await self.stub.BatchWriteObjects(request, metadata=of(world), timeout=20)
        return list(answer.versions)

    async def read(self, *keys: str, world: str = "") -> list[pb.Object]:
        request = pb.BatchGetObjectsRequest(
            keys=[pb.ObjectKey(collection="saves", key=each) for each in keys]
        )
        answer = await self.stub.BatchGetObjects(request, metadata=of(world), timeout=20)
        return list(answer.objects)

    async def listed(self, size: int, owner: str = "", prefix: str = "") -> list[str]:
        """The keys of a collection, page by page."""
        found, token = [], ""
        while True:
            request = pb.ListObjectsRequest(
                collection="saves",
                owner=owner,
                key_prefix=prefix,
                page_size=size,
                page_token=token,
            )
            answer = await self.stub.ListObjects(request, timeout=20)
            assert len(answer.objects) <= size
            found += [each.key for each in answer.objects]
            token = answer.next_page_token
            if not token:
                return found

    async def exported(self, owner: str) -> list[tuple[str, str]]:
        request = pb.ExportOwnerRequest(owner=owner)
        pages = [each async for each in self.stub.ExportOwner(request, timeout=20)]
        return [(each.collection, each.key) for page in pages for each in page.objects]

    async def events(self, number: int, world: World = MOOR) -> list[Message]:
        return await published(self.log, world, "state-manager", number)


def save(
    key: str, value: bytes = b"1", expected: int = -1, owner: str = "", collection: str = "saves"
) -> pb.Write:
    saved = pb.Object(collection=collection, key=key, value=value, owner=owner, type="json")
    return pb.Write(object=saved, expected_version=expected)


def deletion(key: str, expected: int = -1) -> pb.Write:
    return pb.Write(
        object=pb.Object(collection="saves", key=key), expected_version=expected, delete=True
    )


@contextlib.asynccontextmanager
async def serving(url: str, *given: World, log: Log | None = None) -> AsyncIterator[State]:
    """The service of these worlds."""
    log = log or MemoryLog()
    opened = Kit.opened(
        "state-manager",
        SOURCE_STATE_MANAGER,
        Database(url, schema="svc_state_manager", connections=4),
        Places(*given),
        tables=TABLES,
        bus=Bus.of_log(log, given[0], service="state-manager"),
    )
    async with opened as kit:

        def start(server: aio.Server) -> list[Coroutine[Any, Any, None]]:
            state_pb2_grpc.add_StateServiceServicer_to_server(StateService(kit, LIMITS), server)
            return [kit.run({})]

        async with hosted(start) as channel:
            yield State(stub=state_pb2_grpc.StateServiceStub(channel), log=log)
