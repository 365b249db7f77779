"""StateService over gRPC on a real database: objects with versions, whole batches, pages, owners."""

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import pytest
from gameai.bus.subjects import World, name_id
from gameai.client import Bus
from gameai.events.v1.events_pb2 import SOURCE_STATE_MANAGER, ObjectChanged, OwnerDeleted
from gameai.kit import Database, Kit
from gameai.services.state_manager.__main__ import StateService
from gameai.services.state_manager.rules.checks import Limits
from gameai.services.state_manager.tables import TABLES
from gameai.serving.interceptor import Interceptor
from gameai.state.v1 import state_pb2 as pb
from gameai.state.v1 import state_pb2_grpc
from gameai.testing.bus import MemoryLog
from google.protobuf.message import Message
from grpc import aio
from support.bounties import Places, refused, until_answered
from support.bus import MOOR, published, worlds

LIMITS = Limits(collections=("saves", "guild-banks"), value_bytes=65_536, owner_objects=20)


@dataclass(frozen=True, kw_only=True)
class State:
    """The service, and calls of it; a call without `world` is of the first one."""

    stub: Any
    log: MemoryLog

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


def of(world: str) -> tuple[tuple[str, str], ...]:
    return (("gameai-world", world),) if world else ()


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
async def serving(url: str, *given: World) -> AsyncIterator[State]:
    log = MemoryLog()
    server = aio.server(
        interceptors=[Interceptor()], options=[("grpc.max_receive_message_length", 1 << 20)]
    )
    opened = Kit.opened(
        "state-manager",
        SOURCE_STATE_MANAGER,
        Database(url, schema="svc_state_manager", connections=4),
        Places(*given),
        tables=TABLES,
        bus=Bus.of_log(log, given[0], service="state-manager"),
    )
    async with opened as kit:
        state_pb2_grpc.add_StateServiceServicer_to_server(StateService(kit, LIMITS), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        running = asyncio.create_task(kit.run({}))
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            try:
                yield State(stub=state_pb2_grpc.StateServiceStub(channel), log=log)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                await server.stop(0)


@pytest.fixture
async def state(database: str) -> AsyncIterator[State]:
    async with serving(database, MOOR, *worlds(1)) as found:
        yield found


async def test_an_object_is_written_read_replaced_and_deleted(state: State) -> None:
    (first,) = await state.write(save("anna", b"one", 0, owner="player-7"))
    (found,) = await state.read("anna")
    assert (found.value, found.owner, found.type, found.version) == (
        b"one", "player-7", "json", first,
    )  # fmt: skip
    assert found.written_world_us == 7_000_000
    (second,) = await state.write(save("anna", b"two", first, owner="player-7"))
    assert second > first
    assert await state.write(deletion("anna", second)) == [0]
    assert await state.read("anna") == []
    # A version of before is never one of now.
    (third,) = await state.write(save("anna", b"three", 0))
    assert third > second


@pytest.mark.parametrize(
    ("expected", "says"),
    [(0, "has version"), (999_999, "has version")],
)
async def test_a_batch_with_one_conflict_writes_nothing(
    state: State, expected: int, says: str
) -> None:
    (version,) = await state.write(save("anna", b"one"))
    error = await refused(state.write(save("bert"), save("anna", b"two", expected)))
    assert error.code() is grpc.StatusCode.ABORTED
    assert f"writes[1]: saves/anna {says} {version}, and expected_version is {expected}" in str(
        error.details()
    )
    assert [(each.key, each.value) for each in await state.read("anna", "bert")] == [
        ("anna", b"one")
    ]
    missing = await refused(state.write(save("carl", b"", 5)))
    assert "saves/carl does not exist, and expected_version is 5" in str(missing.details())


async def test_a_request_of_many_writes_takes_effect_once(state: State) -> None:
    given = [save(f"k{number:02}", bytes([number])) for number in range(64)]
    request_id = str(uuid.UUID(int=7))
    first = await state.write(*given, request_id=request_id)
    assert await state.write(*given, request_id=request_id) == first
    assert sorted(first) == first
    found = await state.read(*(f"k{number:02}" for number in reversed(range(64))))
    assert [each.key for each in found] == [f"k{number:02}" for number in reversed(range(64))]
    assert len(await state.events(64)) == 64


async def test_a_hundred_clients_count_to_exact_sums(state: State) -> None:
    names = [f"counter-{number}" for number in range(40)]
    await state.write(*(save(each, b"0", 0) for each in names))

    async def count(client: int) -> None:
        chance = random.Random(client)
        for _ in range(2):
            chosen = sorted(chance.sample(names, 2))
            await until_answered(partial(increment, chosen), full=True)

    async def increment(chosen: list[str]) -> None:
        found = await state.read(*chosen)
        await state.write(
            *(
                save(each.key, str(int(each.value) + 1).encode(), each.version)
                for each in reversed(found)
            )
        )

    await asyncio.gather(*(count(each) for each in range(100)))
    assert sum(int(each.value) for each in await state.read(*names)) == 400


async def test_creators_of_the_same_object_meet_and_one_creates_it(state: State) -> None:

    async def create(number: int) -> bool:
        try:
            await state.write(save("b", b"", 0), save("a", bytes([number]), 0))
        except aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.ABORTED:
                raise
            return False
        return True

    assert sum(await asyncio.gather(*(create(each) for each in range(20)))) == 1
    # Whatever there is, the last writer stays.
    await asyncio.gather(*(until_answered(lambda: state.write(save("c"))) for _ in range(20)))
    assert len(await state.read("a", "b", "c")) == 3


async def test_pages_have_each_object_once_while_others_are_written(state: State) -> None:
    names = [f"k{number:02}" for number in range(25)]
    await state.write(*(save(each) for each in names))
    await state.write(save("other", collection="guild-banks"), save("ümlaut"), save("K"))
    assert await state.listed(7) == ["K", *names, "ümlaut"]
    assert await state.listed(200, prefix="k1") == [f"k{number}" for number in range(10, 20)]
    assert await state.listed(4, prefix="none") == []
    request = pb.ListObjectsRequest(collection="saves", page_size=10)
    first = await state.stub.ListObjects(request)
    await state.write(deletion("k05"), save("k04a"), save("k20a"))
    request.page_token = first.next_page_token
    second = await state.stub.ListObjects(request)
    assert [each.key for each in first.objects] == ["K", *names[:9]]
    assert [each.key for each in second.objects] == names[9:19]
    request.key_prefix = "k"
    error = await refused(state.stub.ListObjects(request))
    assert "page_token is not of this list" in str(error.details())


async def test_a_page_ends_where_its_values_are_too_large(state: State) -> None:
    for number in range(3):
        await state.write(*(save(f"{number}-{each}", b"x" * 65_536) for each in range(12)))
    assert len(await state.listed(200)) == 36
    request = pb.ListObjectsRequest(collection="saves", page_size=200)
    assert len((await state.stub.ListObjects(request)).objects) == 16
    error = await refused(
        state.read(*(f"0-{each}" for each in range(12)), *(f"1-{each}" for each in range(12)))
    )
    assert "ask for fewer at a time" in str(error.details())


async def test_an_owner_is_exported_and_deleted_with_proof(state: State) -> None:
    mine = [save(f"k{number}", b"1", owner="anna") for number in range(5)]
    await state.write(*mine, save("bank", owner="anna", collection="guild-banks"))
    await state.write(save("other", owner="bert"), save("nobody"))
    exported = await state.exported("anna")
    assert exported == [("guild-banks", "bank"), *(("saves", f"k{number}") for number in range(5))]
    assert await state.listed(2, owner="anna") == [f"k{number}" for number in range(5)]
    request = pb.DeleteOwnerRequest(request_id=str(uuid.UUID(int=9)), owner="anna")
    answer = await state.stub.DeleteOwner(request)
    assert answer.deleted == len(exported) == 6
    assert (await state.stub.DeleteOwner(request)).deleted == 6
    assert await state.exported("anna") == []
    assert await state.listed(9) == ["nobody", "other"]


async def test_what_is_written_becomes_known_on_the_bus(state: State) -> None:
    (version,) = await state.write(save("anna", b"one", owner="player"))
    await state.write(deletion("anna"))
    await state.write(save("bert", owner="player"))
    request = pb.DeleteOwnerRequest(request_id=str(uuid.UUID(int=9)), owner="player")
    await state.stub.DeleteOwner(request)
    saves, anna, player = name_id("saves"), name_id("anna"), name_id("player")
    found = await state.events(4)
    assert found[:2] == [
        ObjectChanged(collection=saves, object=anna, owner=player, version=version, bytes=3),
        ObjectChanged(collection=saves, object=anna, owner=player),
    ]
    assert found[3] == OwnerDeleted(owner=player, objects=1)


async def test_worlds_have_objects_of_their_own(state: State) -> None:
    await state.write(save("anna", b"moor"))
    await state.write(save("anna", b"other", 0), world="moor/world-0")
    assert [each.value for each in await state.read("anna")] == [b"moor"]
    assert [each.value for each in await state.read("anna", world="moor/world-0")] == [b"other"]


async def test_an_owner_has_at_most_so_many_objects(state: State) -> None:
    await state.write(*(save(f"k{number}", owner="anna") for number in range(20)))
    await state.write(save("k0", b"again", owner="anna"))
    error = await refused(state.write(save("more", owner="anna")))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "owner 'anna' would have more than 20 objects" in str(error.details())
    given = pb.Object(collection="saves", key="free", owner="anna")
    await state.write(save("free"))
    assert "'anna'" in str(
        (await refused(state.write(pb.Write(object=given, expected_version=-1)))).details()
    )
    await state.write(save("k1", b"again", owner="anna"), deletion("k0"), save("k2", owner="bert"))
    await state.write(*(save(f"n{number}") for number in range(40)))


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda s: s.write(), "writes must be 1 to 64"),
        (lambda s: s.write(*(save(str(each)) for each in range(65))), "writes must be 1 to 64"),
        (lambda s: s.write(save("a", collection="savs")), "did you mean saves?"),
        (lambda s: s.write(save("")), "writes[0].object.key must have 1 to 128"),
        (lambda s: s.write(save("a\0")), "none of them a control character"),
        (lambda s: s.write(save("a", owner="x" * 129)), "writes[0].object.owner"),
        (lambda s: s.write(save("a", b"x" * 65_537)), "by the setting valueBytes"),
        (lambda s: s.write(save("a"), save("a")), "writes[1] repeats an earlier one"),
        (lambda s: s.write(save("a", expected=-2)), "writes[0].expected_version"),
        (lambda s: s.write(deletion("a", 0)), "that does not exist cannot be deleted"),
        (lambda s: s.read(), "keys must be 1 to 64"),
        (lambda s: s.read("a", "a"), "keys[1] repeats an earlier one"),
        (lambda s: s.listed(201), "page_size must be 0 to 200"),
        (lambda s: s.exported(""), "owner must have 1 to 128"),
    ],
)
async def test_a_request_that_cannot_be_honoured_is_refused_with_its_field(
    state: State, make: Callable[[State], Any], field: str
) -> None:
    error = await refused(make(state))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in str(error.details())
