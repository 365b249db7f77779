"""Batches that wait: order, limits, and what happens to an event for which there is no room."""

import itertools
from collections import Counter

import pytest
from gameai.bus.batches import (
    Buffer,
    DamagedBatchError,
    Limits,
    Loss,
    Occurrence,
    Queue,
    message_id,
    parsed,
)
from gameai.bus.subjects import World
from gameai.bus.v1.bus_pb2 import OVERFLOW_DROP_OLDEST, Event, EventBatch
from gameai.events.v1.events_pb2 import WeatherChanged
from gameai.weather.v1.weather_pb2 import SKY_RAIN
from google.protobuf.message import Message
from support.bus import MOOR, REGISTRY, killed, sky_of, victim_of, weather, worlds

SMALL = Limits(batch_events=4, batch_bytes=200, waiting_events=8, waiting_bytes=1000)


class Case:
    """A buffer, and what it has lost."""

    def __init__(self, limits: Limits = SMALL, *, kept: bool = True) -> None:
        self.lost: Counter[tuple[int, Loss]] = Counter()
        epochs = itertools.count(7)
        self.buffer = Buffer(
            *("game-server", 31, limits),
            kept=kept,
            draw_epoch=lambda: next(epochs),
            on_loss=self._lose,
        )

    def _lose(self, number: int, how: Loss) -> None:
        self.lost[number, how] += 1

    def add(
        self,
        message: Message,
        world: World = MOOR,
        at_us: int = 0,
        sequence: int | None = None,
    ) -> bool:
        kind = REGISTRY.of(message)
        occurrence = Occurrence(
            type=kind, message=message, at_us=at_us, world_us=5, sequence=sequence
        )
        return self.buffer.add(world, occurrence)

    def add_ambient(self, victim: int, world: World = MOOR) -> bool:
        """An event that may be lost."""
        kind = REGISTRY.of(killed(victim))
        loose = type(kind)(
            name=kind.name, number=kind.number, schema=1, overflow=OVERFLOW_DROP_OLDEST,
            key=(), message=kind.message,
        )  # fmt: skip
        given = Occurrence(type=loose, message=killed(victim), at_us=0, world_us=0)
        return self.buffer.add(world, given)

    def take(self) -> tuple[Queue, EventBatch]:
        """A batch, which there must be."""
        found = self.buffer.take()
        assert found is not None
        return found

    def taken(self) -> list[EventBatch]:
        """Every batch, each stored before the next one is taken."""
        self.buffer.linger()
        found = []
        while taken := self.buffer.take():
            queue, batch = taken
            found.append(batch)
            self.buffer.sent(queue)
        return found


def victims(batches: list[EventBatch]) -> list[int]:
    return [victim_of(each) for batch in batches for each in batch.events]


def test_events_leave_in_the_order_in_which_they_came_and_without_gaps() -> None:
    case = Case()
    for each in range(8):
        assert case.add(killed(each), at_us=each)
    batches = case.taken()
    assert victims(batches) == list(range(8))
    assert [(each.first_sequence, len(each.events)) for each in batches] == [(1, 4), (5, 4)]
    assert [(each.at_us, each.events[3].delta_us) for each in batches] == [(0, 3), (4, 3)]
    assert case.buffer.idle


def test_a_lone_event_waits_until_it_has_lingered() -> None:
    case = Case()
    case.add(killed(1))
    assert case.buffer.lingering
    assert case.buffer.take() is None
    case.buffer.linger()
    assert not case.buffer.lingering
    assert case.buffer.take() is not None


def test_a_batch_that_has_lingered_takes_events_until_it_is_sent() -> None:
    case = Case()
    case.add(killed(1))
    case.buffer.linger()
    case.add(killed(2))
    assert not case.buffer.lingering
    assert victims([case.take()[1]]) == [1, 2]


def test_a_full_batch_is_ready_at_once() -> None:
    case = Case()
    for each in range(4):
        case.add(killed(each))
    assert case.buffer.ready
    assert not case.buffer.lingering


def test_a_batch_of_many_bytes_is_ready_at_once() -> None:
    case = Case(Limits(batch_bytes=20))
    case.add(killed(1))
    assert not case.buffer.ready
    for each in range(2, 4):
        case.add(killed(each))
    assert case.buffer.ready


def test_a_world_has_one_batch_on_its_way() -> None:
    case = Case()
    for each in range(8):
        case.add(killed(each))
    queue, _ = case.take()
    assert case.buffer.take() is None
    assert not case.buffer.idle
    case.buffer.sent(queue)
    assert case.buffer.take() is not None


def test_worlds_do_not_wait_for_each_other() -> None:
    case = Case()
    for each in worlds(3):
        case.add(killed(1), each)
    case.buffer.linger()
    found = [case.take() for _ in range(3)]
    assert len({batch.world for _, batch in found}) == 3


def test_a_world_that_sends_gathers_events_meanwhile() -> None:
    case = Case()
    case.add(killed(0))
    case.buffer.linger()
    queue, _ = case.take()
    for each in range(1, 4):
        case.add(killed(each))
    assert not case.buffer.lingering
    case.buffer.sent(queue)
    assert len(case.taken()[0].events) == 3


def test_an_event_with_a_number_of_its_own_is_a_batch_of_its_own() -> None:
    case = Case()
    case.add(weather(1), sequence=40)
    case.add(killed(1))
    case.add(weather(2), sequence=41)
    found = [(each.epoch, each.first_sequence, len(each.events)) for each in case.taken()]
    assert found == [(0, 40, 1), (7, 1, 1), (0, 41, 1)]


def test_equal_events_of_two_replicas_have_one_message_id() -> None:
    ids = []
    for _ in range(2):
        case = Case()
        case.add(weather(1), sequence=40)
        ids += [message_id(each) for each in case.taken()]
    assert ids[0] == ids[1] == f"{MOOR.number:x}.31.0.40"


def test_a_number_that_was_used_for_another_event_of_the_world_is_refused() -> None:
    case = Case()
    case.add(weather(1), sequence=40)
    with pytest.raises(ValueError, match=r"sequence 40 of .*WeatherChanged is not above 40"):
        case.add(weather(2), sequence=40)
    case.add(weather(2), world=worlds(1)[0], sequence=40)
    assert sorted(each.first_sequence for each in case.taken()) == [40, 40]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("trace", 1 << 40),
        ("trace", -1),
        ("world_us", 1 << 63),
        ("sequence", 0),
        ("sequence", 1 << 64),
    ],
)
def test_a_number_that_does_not_fit_the_wire_is_named_and_nothing_waits(
    field: str, value: int
) -> None:
    given = {"trace": 0, "world_us": 0, "sequence": None, field: value}
    with pytest.raises(ValueError, match=f"{field} is {value}: it must be from "):
        Occurrence(type=REGISTRY.of(killed(1)), message=killed(1), at_us=0, **given)  # type: ignore[arg-type] # one of three fields


@pytest.mark.parametrize("field", ["batch_events", "window", "window_bytes", "waiting_events"])
def test_limits_under_which_nothing_could_be_sent_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        Limits(**{field: 0})


def test_a_clock_that_was_set_back_begins_another_batch() -> None:
    case = Case()
    case.add(killed(1), at_us=10)
    case.add(killed(2), at_us=9)
    assert [each.at_us for each in case.taken()] == [10, 9]


def test_a_world_without_an_event_for_over_an_hour_begins_another_batch() -> None:
    case = Case()
    case.add(killed(1))
    case.add(killed(2), at_us=2**32)
    assert len(case.taken()) == 2


def test_an_event_that_must_not_be_lost_finds_no_room() -> None:
    case = Case()
    assert all(case.add(killed(each)) for each in range(8))
    assert not case.add(killed(8))
    assert victims(case.taken()) == list(range(8))
    assert case.add(killed(8))


def test_bytes_are_limited_too() -> None:
    case = Case(Limits(waiting_bytes=20))
    assert case.add(killed(1))
    assert case.add(killed(2))
    assert not case.add(killed(3))


def test_a_newer_fact_takes_the_place_of_the_waiting_one() -> None:
    case = Case()
    for each in range(8):
        case.add(weather(each))
    assert case.add(weather(3, sky=SKY_RAIN))
    skies = [sky_of(event) for batch in case.taken() for event in batch.events]
    assert skies == [1, 1, 1, 5, 1, 1, 1, 1]
    assert case.lost == {(17, Loss.REPLACED): 1}


@pytest.mark.parametrize("limits", [{"batch_bytes": 30}, {"waiting_bytes": 30}])
def test_a_newer_fact_that_is_larger_replaces_none_beyond_the_limits(
    limits: dict[str, int],
) -> None:
    case = Case(Limits(**{"batch_events": 2, "waiting_events": 2, **limits}))
    for each in (200, 300):
        assert case.add(WeatherChanged(region=each, wind=100))
    size = case.buffer._bytes
    larger = WeatherChanged(region=200, wind=100, centidegrees=-(2**31), lasts_seconds=2**32 - 1)
    assert size / 2 + len(larger.SerializeToString()) > 30 > size
    assert not case.add(larger)
    assert case.add(WeatherChanged(region=200, wind=2))
    assert case.lost == {(17, Loss.REPLACED): 1}


def test_a_fact_that_is_alone_in_its_batch_may_grow() -> None:
    case = Case(Limits(batch_bytes=4, waiting_events=1))
    case.add(WeatherChanged(region=2))
    assert case.add(WeatherChanged(region=2, lasts_seconds=2**32 - 1))
    assert case.lost == {(17, Loss.REPLACED): 1}


def test_a_large_event_has_room_where_nothing_waits() -> None:
    case = Case(Limits(waiting_bytes=1))
    assert case.add(killed(1))
    assert not case.add(killed(2))


def test_a_fact_about_something_else_finds_no_room() -> None:
    case = Case()
    for each in range(8):
        case.add(weather(each))
    assert not case.add(weather(99))
    assert not case.add(weather(1), sequence=3)


def test_facts_are_not_replaced_while_there_is_room() -> None:
    case = Case()
    case.add(weather(1))
    case.add(weather(1, sky=SKY_RAIN))
    assert sum(len(each.events) for each in case.taken()) == 2


def test_the_oldest_event_that_may_be_lost_makes_room() -> None:
    case = Case(kept=False)
    assert all(case.add_ambient(each) for each in range(10))
    batches = case.taken()
    assert victims(batches) == list(range(2, 10))
    assert case.lost == {(497, Loss.DROPPED): 2}
    # What was dropped had no sequence numbers yet.
    assert [each.first_sequence for each in batches] == [1, 3, 7]


def test_an_event_of_a_world_without_others_is_dropped_itself() -> None:
    case = Case(kept=False)
    for each in range(8):
        case.add_ambient(each)
    assert case.add_ambient(99, worlds(1)[0])
    assert victims(case.taken()) == list(range(8))
    assert case.lost == {(497, Loss.DROPPED): 1}


def test_a_queue_that_was_emptied_by_drops_is_not_sent() -> None:
    case = Case(Limits(waiting_events=1), kept=False)
    case.add_ambient(1)
    case.add_ambient(2)
    assert victims(case.taken()) == [2]


@pytest.mark.parametrize(("kept", "first"), [(True, "log"), (False, "amb")])
def test_events_that_may_be_lost_have_subjects_of_their_own(kept: bool, first: str) -> None:
    case = Case(kept=kept)
    case.add(killed(1))
    case.buffer.linger()
    assert case.take()[0].subject.split(".")[0] == first


def test_worlds_without_events_are_forgotten_when_there_are_very_many() -> None:
    case = Case(Limits())
    for each in worlds(20_000):
        case.add(killed(1), each)
    case.taken()
    case.add(killed(1), MOOR)
    assert len(case.buffer._queues) == 1


def test_an_event_that_is_too_large_is_refused() -> None:
    case = Case()
    message = REGISTRY.of(killed(1)).message.FromString(b"\xfa\x3f\x80\x80\x04" + b"\0" * 65_536)
    with pytest.raises(ValueError, match=r"has 655.. bytes: at most 65536 are allowed"):
        case.add(message)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"\xff", "not an EventBatch"),
        (b"", "has no events"),
        (EventBatch(source=1, events=[Event(type=497)]).SerializeToString(), "of source 31"),
    ],
)
def test_a_message_that_is_no_batch_is_named(payload: bytes, words: str) -> None:
    with pytest.raises(DamagedBatchError, match=words):
        parsed(payload)


def test_a_batch_is_read_as_it_was_written() -> None:
    batch = EventBatch(world=1, source=31)
    batch.events.add(type=497)
    assert parsed(batch.SerializeToString()) == batch
