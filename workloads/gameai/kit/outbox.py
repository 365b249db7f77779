"""EDGE: writes the events of a call in its transaction, and knows how much waits."""

import asyncio
from collections.abc import Iterable, Sequence

from psycopg import AsyncConnection

from gameai.errors import ExhaustedError
from gameai.kit.call import Emitted
from gameai.kit.worlds import Worlds

# Of all worlds together; one of them may have a quarter.
MOST_WAITING, MOST_WAITING_BYTES = 1_000_000, 1 << 30
_SHARE = 4
_MEASURE_SECONDS = 1.0
# `unnest` gives the events in order, and so they get their ids.
_INSERT = """
INSERT INTO gameai_outbox (world, type, schema, at_us, world_us, body)
SELECT %s, type, schema, at_us, world_us, body
FROM unnest(%b::integer[], %b::integer[], %b::bigint[], %b::bigint[], %b::bytea[])
    WITH ORDINALITY AS event (type, schema, at_us, world_us, body, place)
ORDER BY place
"""
_MEASURE = """
SELECT world, count(*), sum(octet_length(body))::bigint
FROM (SELECT world, body FROM gameai_outbox WHERE world = ANY(%s) LIMIT %s) AS waiting GROUP BY world
"""


class Outbox:
    """The outbox of a service. Each replica looks once a second how much of its worlds waits; it may hold more by what comes in that time."""

    def __init__(
        self,
        worlds: Worlds,
        *,
        most: int = MOST_WAITING,
        most_bytes: int = MOST_WAITING_BYTES,
    ) -> None:
        self._worlds = worlds
        self._most, self._most_bytes = most, most_bytes
        self._measured_at = float("-inf")
        self._waiting: dict[str, tuple[int, int]] = {}

    async def write(
        self, connection: AsyncConnection, world: str, events: Sequence[Emitted]
    ) -> None:
        """Write events in the transaction of the connection. Raises `ExhaustedError` where too many wait to be published."""
        if not events:
            return
        await self._check(connection, world)
        await connection.execute(
            _INSERT,
            (
                world,
                [each.type.number for each in events],
                [each.type.schema for each in events],
                [each.at_us for each in events],
                [each.world_us for each in events],
                [each.body for each in events],
            ),
        )

    async def _check(self, connection: AsyncConnection, world: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._measured_at > _MEASURE_SECONDS:
            self._measured_at = now
            cursor = await connection.execute(
                _MEASURE, (list(self._worlds.names()), self._most + 1)
            )
            rows = await cursor.fetchall()
            self._waiting = {name: (events, size) for name, events, size in rows}
        self._require_room("all worlds", self._waiting.values(), 1)
        self._require_room(world, [self._waiting.get(world, (0, 0))], _SHARE)

    def _require_room(self, whose: str, waiting: Iterable[tuple[int, int]], share: int) -> None:
        events, size = (sum(each) for each in zip((0, 0), *waiting, strict=True))
        if events >= self._most // share or size >= self._most_bytes // share:
            raise ExhaustedError(
                f"{events} events of {whose} with {size} bytes wait to be published: is the event bus away?"
            )
