"""StateService over gRPC on a real database: objects with versions, whole batches, pages, owners."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import grpc
import pytest
from gameai.bus.subjects import name_id
from gameai.events.v1.events_pb2 import ObjectChanged, OwnerDeleted
from gameai.state.v1 import state_pb2 as pb
from grpc import aio
from support.bounties import refused, until_answered
from support.bus import MOOR, worlds
from support.live_state import State, deletion, save, serving


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
