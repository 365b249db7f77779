"""Event types, subjects and identities: what is on the wire stays what it is."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from gameai.bus import subjects
from gameai.bus.consumer import Consumer
from gameai.bus.dead_letters import Dead, is_letter_of, reason, since
from gameai.bus.group import Group, Received, WorldGroup
from gameai.bus.log import Stored
from gameai.bus.streams import DEAD_LETTERS, JOBS, LOG, STREAMS, WORK, Discard, Durable, streams
from gameai.bus.subjects import Address, world
from gameai.bus.types import DamagedEventError, EventType, LaterSchemaError, Types
from gameai.bus.v1.bus_pb2 import Event, EventBatch, event
from gameai.events.v1 import events_pb2
from gameai.testing.bus import MemoryLog
from gameai_contract.world_config import parse
from gameai_devcluster import event_reference
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from support.bus import METRICS, REGISTRY, killed

ROOT = Path(__file__).parents[2]
TYPES = sorted(REGISTRY.by_number.values(), key=lambda each: each.number)


def filled(message: Message) -> Message:
    """A message with the largest value in every field."""
    most = {
        FieldDescriptor.TYPE_FIXED64: 2**64 - 1,
        FieldDescriptor.TYPE_FIXED32: 2**32 - 1,
        FieldDescriptor.TYPE_UINT32: 2**32 - 1,
        FieldDescriptor.TYPE_UINT64: 2**63,
        # A world that is 100,000 years old.
        FieldDescriptor.TYPE_INT64: 3_155_760_000_000_000_000,
        FieldDescriptor.TYPE_SINT32: -(2**31),
        # Values of facts are within 10^12.
        FieldDescriptor.TYPE_SINT64: -(2**40),
        FieldDescriptor.TYPE_ENUM: 15,
    }
    for each in message.DESCRIPTOR.fields:
        setattr(message, each.name, most[each.type])
    return message


@pytest.mark.parametrize("kind", TYPES, ids=lambda each: each.name.rpartition(".")[2])
def test_a_filled_event_has_at_most_100_bytes_alone_in_its_batch(kind: EventType) -> None:
    batch = EventBatch(
        world=2**64 - 1, source=kind.source, epoch=2**32 - 1, first_sequence=2**40,
        at_us=2**52, world_us=2**52,
    )  # fmt: skip
    body = filled(kind.message()).SerializeToString()
    batch.events.add(trace=2**32 - 1, schema=kind.schema, type=kind.number, body=body)
    assert len(batch.SerializeToString()) <= 100


def test_the_bytes_of_a_batch_are_fixed() -> None:
    batch = EventBatch(
        world=0x1122334455667788, source=31, epoch=7, first_sequence=300, at_us=10, world_us=-1
    )
    batch.events.add(delta_us=2, trace=9, schema=1, type=497, body=killed(3).SerializeToString())
    assert batch.SerializeToString().hex() == (
        "098877665544332211101f1d0700000020ac02290a0000000000000030ffffffffffffffffff01"
        "820117080215090000001801 20f1037a09 11 0300000000000000".replace(" ", "")
    )


def test_every_type_has_a_comment_and_a_known_source() -> None:
    text = (ROOT / "proto/gameai/events/v1/events.proto").read_text()
    declared = re.findall(r"((?:// .*\n)+)message (\w+) \{", text)
    assert {name for _, name in declared} == {each.name.rpartition(".")[2] for each in TYPES}
    sources = set(events_pb2.Source.values())
    assert all(each.source in sources for each in TYPES)


def test_every_field_of_an_event_is_a_number() -> None:
    others = [
        f"{each.name}.{field.name}"
        for each in TYPES
        for field in each.message.DESCRIPTOR.fields
        if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE)
    ]
    assert others == []


def test_an_event_is_read_as_its_message() -> None:
    kind = REGISTRY.of(killed(5))
    given = Event(schema=1, type=kind.number, body=killed(5).SerializeToString())
    assert REGISTRY.message(given) == killed(5)


def test_an_event_of_an_unknown_type_is_none() -> None:
    assert REGISTRY.message(Event(schema=1, type=63 << 4 | 1)) is None


def test_a_later_schema_is_not_misread() -> None:
    with pytest.raises(LaterSchemaError, match="major version 2; this program knows 1: upgrade"):
        REGISTRY.message(Event(schema=2, type=497))


def test_a_damaged_body_is_named() -> None:
    with pytest.raises(DamagedEventError, match=r"not a gameai\.events\.v1\.EntityKilled"):
        REGISTRY.message(Event(schema=1, type=497, body=b"\xff"))


def test_a_message_that_is_no_event_is_refused() -> None:
    with pytest.raises(ValueError, match="is not an event type of this program"):
        REGISTRY.of(Event())


def declared(*options: tuple[int, int, list[str]]) -> Types:
    """Types of a module whose messages have these sources, numbers and keys."""
    file = FileDescriptorProto(
        name="studio/v1/duels.proto", package="studio.v1", syntax="proto3",
        dependency=["gameai/bus/v1/bus.proto"],
    )  # fmt: skip
    for index, (source, number, key) in enumerate(options):
        message = DescriptorProto(name=f"Duel{index}")
        message.field.add(name="winner", number=1, type="TYPE_FIXED64", label="LABEL_OPTIONAL")
        given = message.options.Extensions[event]
        given.source, given.number = source, number
        given.key.extend(key)
        file.message_type.append(message)
    pool = DescriptorPool()
    for each in ("google/protobuf/descriptor.proto", "gameai/bus/v1/bus.proto"):
        copied = FileDescriptorProto()
        descriptor_pool.Default().FindFileByName(each).CopyToProto(copied)
        pool.Add(copied)
    pool.Add(file)
    module = ModuleType("duels_pb2")
    vars(module)["DESCRIPTOR"] = pool.FindFileByName(file.name)
    return Types([module])


def test_a_studio_declares_types_of_its_own() -> None:
    assert [each.name for each in declared((32, 1, [])).by_number.values()] == ["studio.v1.Duel0"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([(0, 1, [])], "source must be 1 to 63 and number 1 to 15"),
        ([(64, 1, [])], "source must be 1 to 63 and number 1 to 15"),
        ([(32, 0, [])], "source must be 1 to 63 and number 1 to 15"),
        ([(32, 16, [])], "source must be 1 to 63 and number 1 to 15"),
        ([(32, 1, ["loser"])], "key names the field 'loser', which it lacks"),
        ([(32, 1, []), (32, 1, [])], "have the same number 1 of source 32"),
    ],
)
def test_a_wrong_declaration_is_refused(
    options: list[tuple[int, int, list[str]]], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        declared(*options)


@pytest.mark.parametrize(
    ("knowledge_base", "subject"),
    [
        ("", "log.none.10.moor.aldermoor.05c3ac51791a25e4.weather-manager"),
        ("studio/lore", "log.studio_lore.10.moor.aldermoor.05c3ac51791a25e4.weather-manager"),
    ],
)
def test_the_subject_of_a_world_is_fixed(knowledge_base: str, subject: str) -> None:
    given = world("moor", "aldermoor", "uid", knowledge_base)
    assert subjects.log(given, "weather-manager") == subject
    assert subjects.parsed(subject) == Address(
        world_set=given.world_set,
        namespace="moor",
        world="aldermoor",
        number=given.number,
        service="weather-manager",
    )


def test_the_number_of_a_world_is_fixed() -> None:
    assert world("moor", "aldermoor", "2f1c").number == 11156921445050574003


@pytest.mark.parametrize("name", ["", "a.b", "Moor", "a b", "-a", "a" * 64, "a\n", "*"])
def test_a_name_that_would_change_a_subject_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a part of a subject"):
        world("moor", name, "uid")


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ("", "is not a subject of the bus"),
        ("log.a.b", "is not a subject of the bus"),
        ("now.a.b.c.d.e", "is not a subject of the bus"),
        ("dlq.a.b.c.d", "is not a subject of the bus"),
        ("log.a.b.c.d.e.f.g", "is not a subject of the bus"),
        ("log.none.b.c.d.e.f", "has no number of a world"),
        ("dlq.none.b.c.d.05C3AC51791A25E4", "has no number of a world"),
    ],
)
def test_a_foreign_subject_is_refused(subject: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        subjects.parsed(subject)


@pytest.mark.parametrize("base", ["none", "a/b/c", "a/", "/b", "a_b"])
def test_what_is_no_knowledge_base_makes_no_set(base: str) -> None:
    with pytest.raises(ValueError, match=r"no knowledge base|no set of worlds|part of a subject"):
        world("moor", "aldermoor", "uid", base)


def test_an_inbox_is_of_one_account_alone() -> None:
    one, other = subjects.inbox("moor/a"), subjects.inbox("moor/a.b")
    assert one != other
    assert "." not in one + other


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"consumer": "a.b"}, "part of a subject"),
        ({"world_set": "a_b_c"}, "no set of worlds"),
        ({"services": ("A",)}, "part of a subject"),
        ({"shards": (0, 2)}, "must follow each other"),
        ({"shards": (1, 0)}, "must follow each other"),
    ],
)
def test_a_group_that_the_broker_could_not_keep_apart_is_refused(
    given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Group(**{"world_set": "none", "consumer": "quests", "services": ("a",), **given})


def test_groups_with_other_shards_have_other_names() -> None:
    given: dict[str, Any] = {"world_set": "none", "consumer": "quests", "services": ("a",)}
    groups = [
        Group(**given, shards=shards, ambient=ambient)
        for shards in ((), (0,), (0, 1), (1,), (1, 2))
        for ambient in (False, True)
    ]
    assert len({each.durable(1.0).name for each in groups}) == len(groups)


def test_orders_to_redrive_are_read_apart_from_dead_letters() -> None:
    group = Group(world_set="moor_lore", consumer="quests", services=("a",))
    found = group.redrives(5.0)
    assert (found.name, found.stream.name) == ("moor_lore_quests_redrive", "GAME_ORDERS")
    assert found.filters == ("redrive.moor_lore.quests.>",)


def test_a_batch_that_was_received_is_known_by_its_world_source_epoch_and_number() -> None:
    batch = EventBatch(world=0x2F, source=31, epoch=10, first_sequence=7)
    address = subjects.parsed(subjects.log(world("moor", "aldermoor", "uid"), "quests"))
    received = Received(address=address, batch=batch, sequence=1, deliveries=1)
    assert received.id == "2f.31.a.7"


def test_streams_share_a_disk_and_leave_a_tenth_of_it() -> None:
    found = streams(100 << 30)
    assert sum(each.most_bytes for each in found) <= 90 << 30
    assert [each.name for each in found] == [each.name for each in STREAMS]
    assert found[0].most_bytes > 60 << 30


def test_filters_name_shards_and_services() -> None:
    assert subjects.filters("none", ["b", "a"]) == ("log.none.*.*.*.*.a", "log.none.*.*.*.*.b")
    assert subjects.filters("none", ["a"], [10, 2], kept=False) == (
        "amb.none.02.*.*.*.a",
        "amb.none.0a.*.*.*.a",
    )


def test_dead_letters_and_redrives_have_subjects_of_their_own() -> None:
    given = subjects.parsed(subjects.ambient(world("moor", "aldermoor", "uid"), "game-server"))
    letters, order = subjects.dead_letters(given, "quests"), subjects.redrive(given, "quests")
    assert letters == "dlq.none.quests.moor.aldermoor.05c3ac51791a25e4"
    assert order == "redrive.none.quests.moor.aldermoor.05c3ac51791a25e4"
    assert {subjects.parsed(each).service for each in (letters, order)} == {"quests"}
    assert subjects.dead_letters_of("none", "quests") == "dlq.none.quests.>"
    assert subjects.redrives_of("none", "quests") == "redrive.none.quests.>"


def test_every_subject_has_one_stream_and_dead_letters_are_refused_rather_than_lost() -> None:
    first = [each.split(".")[0] for stream in STREAMS for each in stream.subjects]
    assert sorted(first) == ["amb", "dlq", "job", "log", "redrive", "work"]
    kept = [each.name for each in STREAMS if each.discard is Discard.NEW]
    assert kept == [DEAD_LETTERS.name, JOBS.name, WORK.name]
    assert Durable(name="quests", stream=LOG).most_pending == 1


def test_a_consumer_of_one_world_reads_it_in_whichever_set_it_is() -> None:
    given = world("moor", "aldermoor", "uid")
    group = WorldGroup(world=given, consumer="quests")
    place = "moor.aldermoor.05c3ac51791a25e4"
    assert group.name == "moor_aldermoor_05c3ac51791a25e4_quests"
    assert group.durable().filters == (f"log.*.*.{place}.*",)
    assert not group.durable().name.startswith(
        Group(world_set="moor_aldermoor", consumer="quests", services=("a",)).name
    )
    assert group.reads("chat")
    assert not group.ambient
    address = subjects.parsed(subjects.log(given, "chat"))
    assert group.letters(address) == group.own_letters == f"dlq.own.quests.{place}"
    assert group.redrives().filters == (f"redrive.own.quests.{place}",)
    own = subjects.own(given, "quests")
    assert subjects.redrive(own, "quests") == f"redrive.own.quests.{place}"
    assert (
        subjects.letter_request("first", group.own_letters) == f"letters.first.own.quests.{place}"
    )


def test_no_set_of_worlds_has_the_name_of_what_belongs_to_one() -> None:
    with pytest.raises(ValueError, match="no set of worlds"):
        subjects.set_label(subjects.OWN_SET)


def test_a_group_reads_its_services_alone() -> None:
    group = Group(world_set="none", consumer="quests", services=("a",))
    assert group.reads("a")
    assert not group.reads("b")
    address = subjects.parsed(subjects.log(world("moor", "aldermoor", "uid"), "a"))
    assert group.letters(address) == subjects.dead_letters(address, "quests")


def test_a_handler_of_a_worlds_service_may_not_outlast_the_answer_that_its_broker_waits_for() -> (
    None
):
    group = WorldGroup(world=world("moor", "aldermoor", "uid"), consumer="quests")
    with pytest.raises(ValueError, match="at most 20 s"):
        Consumer(MemoryLog(), group, _unused, metrics=METRICS, handler_seconds=21.0)


async def _unused(received: Received) -> None:
    raise AssertionError(received)


def test_a_dead_letter_says_why_and_of_which_message_it_is() -> None:
    message = Stored(subject="log.x", payload=b"1", sequence=7, at_us=0)
    letter = Dead("no stage\n7 \u00e9", 3).letter("dlq.x", message)
    assert letter.subject == "dlq.x"
    assert dict(letter.headers) == {
        "Gameai-Reason": "no stage 7 \\xe9",
        "Gameai-Tries": "3",
        "Gameai-Sequence": "7",
        "Gameai-Subject": "log.x",
    }
    kept = replace(message, subject="dlq.x", sequence=1, headers=letter.headers)
    assert (reason(kept), since(kept)) == ("no stage 7 \\xe9", "1970-01-01T00:00:00Z")
    assert reason(replace(kept, headers={"Gameai-Reason": "a\x1b[2J"})) == "a [2J"
    assert is_letter_of(kept, message)
    assert not is_letter_of(kept, replace(message, sequence=8))
    assert not is_letter_of(kept, replace(message, payload=b"2"))


def test_a_subject_of_what_belongs_to_one_world_is_read() -> None:
    given = world("moor", "aldermoor", "uid")
    own = subjects.own(given, "quests")
    assert subjects.parsed(subjects.dead_letters(own, "quests")) == own
    with pytest.raises(ValueError, match="part of a subject"):
        subjects.parsed("dlq.own.quests.moor.*.05c3ac51791a25e4")


def test_the_reference_has_every_type_and_says_what_each_field_means() -> None:
    found = event_reference.sections()
    assert len(found) == len(TYPES)
    assert all(meaning for _, rows in found for _, _, meaning in rows)


@pytest.mark.parametrize("base", ["", "studio/lore"])
def test_a_configuration_says_who_its_world_is_on_the_bus(base: str) -> None:
    anchor = {"effectiveAt": "2026-11-22T09:00:00Z", "worldSeconds": "0", "speed": "1"}
    given: dict[str, Any] = {
        "namespace": "studio",
        "world": "duels",
        "seed": 7,
        "clock": {"anchors": [{**anchor, "dayLengthMinutes": 48}]},
        "services": {},
    }
    assert subjects.configured(parse(json.dumps(given), by_hand=True)) is None
    given["bus"] = {"endpoint": "bus:4222", "world": "uid", "knowledgeBase": base}
    found = subjects.configured(parse(json.dumps(given), by_hand=True))
    assert found == world("studio", "duels", "uid", base)
