"""The decisions of the kit: keys of requests, numbers of events, limits of worlds, what may be emitted."""

import uuid

import pytest
from gameai.bus.batches import Limits
from gameai.bus.types import Types
from gameai.bus.v1.bus_pb2 import OVERFLOW_DROP_OLDEST
from gameai.errors import ExhaustedError, InvalidArgumentError
from gameai.events.v1 import events_pb2
from gameai.kit import requests
from gameai.kit.call import MOST_EVENTS, Call, Emitter
from gameai.kit.limits import CallLimiter, CallLimits
from gameai.kit.methods import handlers, on
from gameai.kit.numbering import Row, number
from gameai.knowledge.v1 import knowledge_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from support.bus import LOOSE, REGISTRY, killed, weather

ID = "0190b0a2-7c1e-7000-8000-0123456789ab"
SMALL = Limits(batch_events=2, batch_bytes=10)


def request(request_id: str, gold: int = 1, *, name: str = "Post") -> Message:
    """A request of a mutation."""
    file = descriptor_pb2.FileDescriptorProto(name="post.proto", package="x", syntax="proto3")
    message = file.message_type.add(name=name)
    message.field.add(name="request_id", number=1, type=9, label=1)
    message.field.add(name="gold", number=2, type=3, label=1)
    pool = DescriptorPool()
    pool.Add(file)
    made = GetMessageClass(pool.FindMessageTypeByName(f"x.{name}"))
    return made(request_id=request_id, gold=gold)


def row(
    identity: int,
    world: str = "a/b",
    at_us: int = 0,
    *,
    size: int = 1,
    kind: int = 497,
    world_us: int = 0,
) -> Row:
    return Row(
        id=identity,
        world=world,
        type=kind,
        schema=1,
        at_us=at_us,
        world_us=world_us or identity,
        body=b"x" * size,
    )


def key(
    given: Message, *, service: str = "bounties", world: str = "a/b", method: str = "Post"
) -> requests.RequestKey:
    return requests.key(service, world, method, given)


def test_a_request_is_known_by_its_world_its_id_and_what_it_asks_for() -> None:
    known = key(request(ID))
    assert known == key(request(ID))
    others = (
        key(request(ID), world="a/c"),
        key(request(ID), service="quests"),
        key(request(str(uuid.UUID(int=7)))),
    )
    assert known.lock not in {each.lock for each in others}
    requests.check_same(known.digest, key(request(ID)))
    for other in (
        key(request(ID, 2)),
        key(request(ID, name="Take")),
        key(request(ID), method="Take"),
    ):
        with pytest.raises(InvalidArgumentError, match="was used for another request"):
            requests.check_same(known.digest, other)


@pytest.mark.parametrize("given", ["", "7", "x" * 36])
def test_a_request_id_must_be_a_uuid(given: str) -> None:
    with pytest.raises(InvalidArgumentError, match="must be a UUID"):
        key(request(given))


def test_the_request_of_a_mutation_must_have_an_id() -> None:
    with pytest.raises(TypeError, match="has no field request_id"):
        key(killed(1))


def test_an_answer_is_kept_with_its_type() -> None:
    answer = knowledge_pb2.SearchResponse()
    assert requests.unpacked(requests.packed(answer)) == answer
    with pytest.raises(TypeError, match="it returned None"):
        requests.packed(None)  # type: ignore[arg-type] # a method without a return
    with pytest.raises(ValueError, match="are kept"):
        requests.packed(events_pb2.EntityKilled.FromString(b"\x7a\x80\x80\x10" + b"x" * 262_144))


def test_events_are_numbered_by_world_in_the_order_of_their_rows() -> None:
    rows = [row(1), row(2, "c/d"), row(3), row(4), row(5, "c/d")]
    batches, following = number(rows, 9, {"c/d": 41}, SMALL)
    assert following == {"a/b": 4, "c/d": 43}
    assert [
        (each.world, each.batch.epoch, each.batch.first_sequence, len(each.batch.events))
        for each in batches
    ] == [("a/b", 9, 1, 2), ("c/d", 9, 41, 2), ("a/b", 9, 3, 1)]
    assert [each.batch.world_us for each in batches] == [1, 2, 4]


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [
        ([row(1), row(2), row(3)], [2, 1]),
        ([row(1, size=6), row(2, size=5)], [1, 1]),
        ([row(1, size=5), row(2, size=5)], [2]),
        # 2^32 µs after the first one.
        ([row(1), row(2, at_us=1 << 32)], [1, 1]),
        # The clock of another replica is behind.
        ([row(1, at_us=5), row(2, at_us=3)], [2]),
        # More than a second of the world's time after the first one, or before it.
        ([row(1, world_us=1), row(2, world_us=1_000_001)], [2]),
        ([row(1, world_us=1), row(2, world_us=1_000_002)], [1, 1]),
        ([row(1, world_us=2_000_000), row(2, world_us=1)], [1, 1]),
        # A release with another source.
        ([row(1), row(2, kind=513)], [1, 1]),
    ],
)
def test_a_batch_has_what_fits(rows: list[Row], sizes: list[int]) -> None:
    batches, _ = number(rows, 9, {}, SMALL)
    assert [len(each.batch.events) for each in batches] == sizes
    assert {
        event.type >> 4 == each.batch.source for each in batches for event in each.batch.events
    } == {True}
    assert all(0 <= event.delta_us < 1 << 32 for each in batches for event in each.batch.events)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_world_has_places_and_a_rate_of_its_own() -> None:
    clock = Clock()
    limiter = CallLimiter(CallLimits(at_a_time=2, per_second=10.0, burst=3), clock)
    with limiter.held("a"), limiter.held("a"):
        with pytest.raises(ExhaustedError, match="2 calls of a are running"), limiter.held("a"):
            pass
        with limiter.held("b"):
            pass
    with limiter.held("a"):
        pass
    with pytest.raises(ExhaustedError, match="call again in 100 ms"), limiter.held("a"):
        pass
    clock.now += 0.1
    with limiter.held("a"):
        pass
    clock.now += 60.0
    for _ in range(3):
        with limiter.held("a"):
            pass


def test_worlds_that_are_quiet_are_forgotten_when_there_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gameai.kit.limits._MOST_WORLDS", 2)
    clock = Clock()
    limiter = CallLimiter(CallLimits(per_second=1.0, burst=1), clock)
    with limiter.held("quiet"):
        pass
    clock.now += 5.0
    with limiter.held("running"):
        clock.now += 5.0
        with limiter.held("new"):
            pass
        assert set(limiter._used) == {"running", "new"}


def emitter(types: Types = REGISTRY) -> Emitter:
    return Emitter(types, 31, lambda: 5)


def call(given: Emitter) -> Call:
    return Call(world="a/b", now_us=7, db=None, emitter=given)  # type: ignore[arg-type] # it has none


def test_an_event_has_the_time_of_its_call_or_one_that_is_given() -> None:
    found = call(emitter())
    found.emit(killed(1))
    found.emit(killed(2), world_us=3)
    assert [(each.at_us, each.world_us) for each in found.events] == [(5, 7), (5, 3)]


def test_what_a_service_may_not_emit_is_refused() -> None:
    found = call(emitter())
    with pytest.raises(ValueError, match="source 31 may not publish it"):
        found.emit(weather(1))
    with pytest.raises(ValueError, match="is not an event type"):
        found.emit(knowledge_pb2.SearchRequest())
    with pytest.raises(ValueError, match="at most 65536 are allowed"):
        found.emit(events_pb2.EntityKilled.FromString(b"\x7a\x80\x80\x08" + b"x" * 131_072))
    assert LOOSE.of(killed(1)).overflow == OVERFLOW_DROP_OLDEST
    with pytest.raises(ValueError, match="may be lost"):
        call(emitter(LOOSE)).emit(killed(1))
    with pytest.raises(ValueError, match="a query emits nothing"):
        Call(world="a/b", now_us=7, db=found.db, emitter=None).emit(killed(1))
    for _ in range(MOST_EVENTS):
        found.emit(killed(1))
    with pytest.raises(ValueError, match="at most 10000 events and 1048576 bytes"):
        found.emit(killed(1))


def test_a_call_emits_a_bounded_number_of_bytes() -> None:
    found = call(emitter())
    large = events_pb2.EntityKilled.FromString(b"\x7a\x80\x80\x02" + b"x" * 32_768)
    for _ in range(31):
        found.emit(large)
    with pytest.raises(ValueError, match="1048576 bytes"):
        found.emit(large)


def test_one_method_handles_a_type() -> None:

    class Twice:
        kit = None

        @on(events_pb2.EntityKilled)  # type: ignore[type-var] # it has no kit
        async def one(self, event: events_pb2.EntityKilled, call: Call) -> None: ...

        @on(events_pb2.EntityKilled)  # type: ignore[type-var] # same
        async def other(self, event: events_pb2.EntityKilled, call: Call) -> None: ...

    with pytest.raises(
        ValueError, match=r"two methods of Twice handle gameai\.events\.v1\.EntityKilled"
    ):
        handlers(Twice())
