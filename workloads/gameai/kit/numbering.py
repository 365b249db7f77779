"""PURE: gives the events of an outbox their numbers, and puts them into batches, in the order of their rows.

A transaction that has seen the effects of another one wrote its events later, so that their rows have higher ids: the order
of ids is one in which no event comes before its cause. Rows of transactions that were slower come in a later call, and get
higher numbers; nothing that was visible can depend on them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gameai.bus.batches import Limits
from gameai.bus.v1.bus_pb2 import EventBatch

_MOST_DELTA_US = (1 << 32) - 1
# A batch has one world time: that of its events differs by at most one second.
_MOST_WORLD_US = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """An event of the outbox: wall clock and world time in microseconds, its type, and its message as bytes."""

    id: int
    world: str
    type: int
    schema: int
    at_us: int
    world_us: int
    body: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbered:
    """A batch of a world. The number of the world is set when it is sent."""

    world: str
    batch: EventBatch


def number(
    rows: Iterable[Row], epoch: int, following: Mapping[str, int], limits: Limits
) -> tuple[list[Numbered], dict[str, int]]:
    """The batches of these rows, and what number is next of each world that has some; `following` is what was next before.

    `epoch` and `following` are those of a process, and not of the database: one that was restored would give numbers a
    second time, and consumers would pass over events that they do not know.
    """
    found: list[Numbered] = []
    numbers: dict[str, int] = {}
    open_batches: dict[str, tuple[EventBatch, int]] = {}
    for row in rows:
        following_one = numbers.get(row.world) or following.get(row.world, 1)
        batch, size = open_batches.get(row.world, (None, 0))
        if batch is None or not _fits(batch, size, row, limits):
            batch, size = _opened(row, epoch, following_one), 0
            found.append(Numbered(world=row.world, batch=batch))
        delta_us = max(0, row.at_us - batch.at_us)
        batch.events.add(delta_us=delta_us, schema=row.schema, type=row.type, body=row.body)
        open_batches[row.world] = (batch, size + len(row.body))
        numbers[row.world] = following_one + 1
    return found, numbers


def _opened(row: Row, epoch: int, sequence: int) -> EventBatch:
    return EventBatch(
        source=row.type >> 4,
        epoch=epoch,
        first_sequence=sequence,
        at_us=row.at_us,
        world_us=row.world_us,
    )


def _fits(batch: EventBatch, size: int, row: Row, limits: Limits) -> bool:
    return (
        row.type >> 4 == batch.source
        and len(batch.events) < limits.batch_events
        and size + len(row.body) <= limits.batch_bytes
        and row.at_us - batch.at_us <= _MOST_DELTA_US
        and abs(row.world_us - batch.world_us) <= _MOST_WORLD_US
    )
