"""Events as a person reads them."""

import pytest
from gameai.bus import subjects
from gameai.bus.log import Stored
from gameai.bus.v1.bus_pb2 import EventBatch
from gameai_devcluster.laptop_bus import lines, types_of
from support.bus import MOOR, killed


def message(payload: bytes, subject: str = "") -> Stored:
    named = subject or subjects.log(MOOR, "game-server")
    return Stored(subject=named, payload=payload, sequence=1, at_us=0)


def batch(**event: object) -> bytes:
    found = EventBatch(world=MOOR.number, source=31, epoch=1, first_sequence=1)
    found.events.add(**{"schema": 1, "type": 497, "body": killed(7).SerializeToString(), **event})
    return found.SerializeToString()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (message(batch()), "EntityKilled victim: 7"),
        (message(batch(body=b"")), "EntityKilled"),
        (message(batch(type=498)), "type 498 with 9 bytes: give its module by --types"),
        (message(batch(body=b"\xff")), "is not a gameai.events.v1.EntityKilled"),
        (message(batch(schema=9)), "upgrade it"),
        (message(b"\xff"), "the message is not an EventBatch"),
        (message(batch(), "log.x"), "is not a subject of the bus"),
    ],
)
def test_a_message_is_shown_whatever_it_is(given: Stored, said: str) -> None:
    (line,) = lines(given, types_of([]))
    assert line.endswith(said) or said in line
