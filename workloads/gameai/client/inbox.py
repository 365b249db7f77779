"""EDGE: what a service has handled of the event bus, kept in its own PostgreSQL: each event takes effect once."""

from collections.abc import Sequence
from typing import Any, LiteralString, Protocol

from gameai.bus.group import PoisonError, Received, RetryError
from gameai.bus.v1.bus_pb2 import Event

# May run at each start. The first columns are those by which a publisher is known.
CREATE_TABLE: LiteralString = """
CREATE TABLE IF NOT EXISTS gameai_inbox (
    consumer text NOT NULL,
    world bigint NOT NULL,
    source smallint NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL,
    handled_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, world, source, epoch)
)
"""
_LAST: LiteralString = """
SELECT sequence FROM gameai_inbox
WHERE consumer = %s AND world = %s AND source = %s AND epoch = %s FOR UPDATE
"""
_RAISE: LiteralString = """
UPDATE gameai_inbox SET sequence = %s, handled_at = now()
WHERE consumer = %s AND world = %s AND source = %s AND epoch = %s
"""
_INSERT: LiteralString = """
INSERT INTO gameai_inbox (sequence, consumer, world, source, epoch) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING RETURNING true
"""
_PRUNE: LiteralString = "DELETE FROM gameai_inbox WHERE consumer = %s AND handled_at < now() - make_interval(days => %s)"
_MOST_SEQUENCE = (1 << 63) - 1
_WORLD_BYTES = 8


class Cursor(Protocol):
    """The result of a statement."""

    async def fetchone(self) -> Any:
        """The next row; None where there is none."""


class Connection(Protocol):
    """What is needed of psycopg's `AsyncConnection`."""

    async def execute(self, query: LiteralString, params: Sequence[object] | None = None) -> Cursor:
        """Execute a statement in the present transaction."""


class Inbox:
    """The last number that a consumer has handled of each publisher. Its table is `CREATE_TABLE`."""

    def __init__(self, consumer: str) -> None:
        self._consumer = consumer

    async def fresh(self, connection: Connection, received: Received) -> list[tuple[int, Event]]:
        """The events of a batch that were not handled, with their numbers; they are marked as handled.

        Call it in the transaction in which they take effect: both are kept, or neither. Raises `RetryError` where another
        replica handles a batch of the same publisher at this moment, and what the connection raises.
        """
        batch = received.batch
        first, end = batch.first_sequence, batch.first_sequence + len(batch.events)
        if end > _MOST_SEQUENCE:
            raise PoisonError(f"sequence {end} does not fit a bigint")
        key = (self._consumer, _signed(batch.world), batch.source, batch.epoch)
        row = await (await connection.execute(_LAST, key)).fetchone()
        known = row[0] if row else 0
        if row is None:
            made = await connection.execute(_INSERT, (end - 1, *key))
            if await made.fetchone() is None:
                raise RetryError("another replica handles a batch of the same publisher")
        elif known < end - 1:
            await connection.execute(_RAISE, (end - 1, *key))
        return [
            (number, event) for number, event in enumerate(batch.events, first) if number > known
        ]

    async def prune(self, connection: Connection, days: int = 30) -> None:
        """Forget publishers of which nothing came for so many days. A batch of theirs that comes again is handled again."""
        await connection.execute(_PRUNE, (self._consumer, days))


def _signed(world: int) -> int:
    """The number of a world as a bigint, which has a sign."""
    return int.from_bytes(world.to_bytes(_WORLD_BYTES, "little"), "little", signed=True)
