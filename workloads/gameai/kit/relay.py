"""EDGE: publishes the events of an outbox: one replica at a time, in order for each world, each once.

Each batch names the sequence of the one before it, and the broker stores it behind that one alone. So a relay that was
replaced cannot publish any more, and a broker that has lost its newest messages is noticed before anything else is stored.
"""

import asyncio
import logging
import secrets  # noqa: TID251 - the edge: an epoch that no other database has drawn
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import class_row

from gameai.bus import subjects
from gameai.bus.batches import Limits, message_id
from gameai.bus.cancellation import end_if_cancelled
from gameai.bus.log import BusError, Log, MovedError, Outgoing, RefusedError
from gameai.bus.streams import LOG
from gameai.bus.v1.bus_pb2 import EventBatch
from gameai.client import Bus
from gameai.kit.database import connecting
from gameai.kit.metrics import KitMetrics
from gameai.kit.numbering import Row, number
from gameai.kit.statements import (
    FORGET_STORED,
    LOCK,
    LOST,
    MARK_STORED,
    MARK_STREAMS,
    RETAINED,
    SAVE_BATCHES,
    TAKE,
    TAKEN,
    WAITING,
)
from gameai.kit.worlds import Worlds

_LOG = logging.getLogger(__name__)
# A look at an outbox without events. Not NOTIFY: it makes the commits of all writers wait for each other.
_POLL_SECONDS = 0.05
# Before a lock that another replica has, or a database or a bus that is away, is tried again.
_LOCK_SECONDS, _RETRY_SECONDS = 1.0, 1.0
# A world whose events the bus refuses, or that is not here, is tried again.
_STUCK_SECONDS = 10.0
_STATEMENT_SECONDS = 30.0
_MOST_ROWS, _MOST_BATCHES, _AT_A_TIME = 4096, 512, 32
# Another message of the subject is just being stored.
_IN_FLIGHT_TRIES, _IN_FLIGHT_SECONDS = 20, 0.05
_MOST_EPOCH = (1 << 32) - 1
# Longer than a server keeps what it has stored from its disk, and than it takes to notice that it was lost.
_RETAINED_MINUTES = 10
_FORGET_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A batch that is not stored, with what is known of its world's subject."""

    id: int
    world: str
    payload: bytes
    subject: str
    last_stored: int


@dataclass(slots=True, kw_only=True)
class _Sent:
    """What became of the batches of a world: ids and sequences of those that were stored, and whether the broker had lost some."""

    world: str
    subject: str = ""
    last: int = 0
    stored: list[tuple[int, int]] = field(default_factory=list)
    events: int = 0
    lost_behind: int | None = None
    fault: BusError | None = None


class Relay:
    """The relay of one replica; the replica that holds the lock of the outbox publishes."""

    def __init__(
        self,
        database: str,
        bus: Bus,
        worlds: Worlds,
        service: str,
        *,
        metrics: KitMetrics,
        limits: Limits | None = None,
    ) -> None:
        self._database, self._bus = database, bus
        self._worlds, self._service = worlds, service
        self._metrics, self._limits = metrics, limits or Limits()
        self._wake = asyncio.Event()
        # Worlds that are left alone until a time of the loop.
        self._stuck: dict[str, float] = {}
        self._forget_at = 0.0
        # What numbers are counted in, and the next one of each world.
        self._epoch, self._following = 0, dict[str, int]()

    def wake(self) -> None:
        """There are events, most likely."""
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled; a database or a bus that is away is waited for."""
        while True:
            try:
                url, how = self._database, connecting(self._database, _STATEMENT_SECONDS)
                async with await AsyncConnection.connect(url, **how) as connection:
                    await self._held(connection, self._published)
            except (psycopg.Error, BusError) as error:
                end_if_cancelled()
                _LOG.warning("the outbox waits: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _held(
        self, connection: AsyncConnection, act: Callable[[AsyncConnection, Log], Awaitable[None]]
    ) -> None:
        """Act once this replica holds the lock, which goes with the connection."""
        while True:
            cursor = await connection.execute(LOCK, (self._worlds.scope,))
            row = await cursor.fetchone()
            if row is not None and row[0]:
                break
            await asyncio.sleep(_LOCK_SECONDS)
        async with self._bus.connection() as (log, _):
            await act(connection, log)

    async def _published(self, connection: AsyncConnection, log: Log) -> None:
        await self._verify(connection, log)
        self._epoch, self._following = secrets.randbelow(_MOST_EPOCH) + 1, {}
        while True:
            self._wake.clear()
            moved = await self._number(connection)
            sent = await self._send(connection, log)
            await self._forget(connection)
            end_if_cancelled()
            if not moved and not sent:
                await self._idle()

    async def _idle(self) -> None:
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _number(self, connection: AsyncConnection) -> bool:
        """Give numbers to events, in one transaction; False: there are none, or enough batches wait already."""
        async with connection.transaction():
            cursor = connection.cursor(row_factory=class_row(Row))
            taken = {"worlds": self._open(), "batches": _MOST_BATCHES, "rows": _MOST_ROWS}
            rows = await (await cursor.execute(TAKE, taken)).fetchall()
            if not rows:
                return False
            batches, following = number(rows, self._epoch, self._following, self._limits)
            await connection.execute(
                SAVE_BATCHES,
                (
                    [each.world for each in batches],
                    [each.batch.SerializeToString() for each in batches],
                ),
            )
            await connection.execute(TAKEN, ([each.id for each in rows],))
        self._following.update(following)
        return True

    async def _send(self, connection: AsyncConnection, log: Log) -> bool:
        """Send batches that wait; False: there are none. Raises `BusError` once what was stored is marked."""
        cursor = connection.cursor(row_factory=class_row(Waiting))
        await cursor.execute(WAITING, (self._open(), _MOST_BATCHES))
        of_worlds: dict[str, list[Waiting]] = {}
        for each in await cursor.fetchall():
            of_worlds.setdefault(each.world, []).append(each)
        places = asyncio.Semaphore(_AT_A_TIME)

        async def one(world: str, waiting: list[Waiting]) -> _Sent:
            async with places:
                return await self._send_world(log, world, waiting)

        found = await asyncio.gather(*(one(*each) for each in of_worlds.items()))
        await self._mark(connection, found)
        faults = [each.fault for each in found if each.fault is not None]
        if faults:
            await self._meet(log, faults[0])
        return bool(of_worlds)

    async def _send_world(self, log: Log, world: str, waiting: list[Waiting]) -> _Sent:
        """Send the batches of one world in order, up to the first that is not stored."""
        sent = _Sent(world=world)
        found = self._worlds.find(world)
        place = found.on_bus() if found else None
        if place is None:
            self._leave(world)
            return sent
        sent.subject = subjects.log(place, self._service)
        try:
            # A world that got another knowledge base has another subject.
            same = waiting[0].subject == sent.subject
            sent.last = (
                waiting[0].last_stored if same else await log.last_sequence(LOG, sent.subject)
            )
            for each in waiting:
                batch = EventBatch.FromString(each.payload)
                batch.world = place.number
                if not await self._stored(log, sent, batch):
                    break
                sent.stored.append((each.id, sent.last))
                sent.events += len(batch.events)
        except RefusedError as error:
            self._leave(world)
            sent.fault = error
        except BusError as error:
            sent.fault = error
        return sent

    async def _stored(self, log: Log, sent: _Sent, batch: EventBatch) -> bool:
        """Store a batch behind the last one of its world; False: the broker has lost that one. Raises `BusError`."""
        message = Outgoing(
            subject=sent.subject,
            payload=batch.SerializeToString(),
            message_id=message_id(batch),
        )
        for _ in range(_IN_FLIGHT_TRIES):
            try:
                sent.last = await log.store(message, after=sent.last)
                return True
            except MovedError as error:
                if error.last is None:
                    await asyncio.sleep(_IN_FLIGHT_SECONDS)
                elif error.last < sent.last:
                    sent.lost_behind = error.last
                    return False
                else:
                    # Stored without an answer: the broker then knows the id. Or by a publisher without an outbox.
                    sent.last = error.last
        raise BusError(f"{sent.subject}: others publish there all the time")

    def _open(self) -> list[str]:
        """The worlds of this process that are not left alone now."""
        now = asyncio.get_running_loop().time()
        self._stuck = {world: until for world, until in self._stuck.items() if until > now}
        return [each for each in self._worlds.names() if each not in self._stuck]

    def _leave(self, world: str) -> None:
        """Leave a world alone for a while: it holds up no other."""
        self._stuck[world] = asyncio.get_running_loop().time() + _STUCK_SECONDS

    async def _meet(self, log: Log, fault: BusError) -> None:
        """Raise the fault; where the bus refuses a world, open the connection again, which has the permissions of its time."""
        if not isinstance(fault, RefusedError):
            raise fault
        _LOG.warning("the bus refuses events, trying again in %g s: %s", _STUCK_SECONDS, fault)
        await log.renew()

    async def _mark(self, connection: AsyncConnection, found: Iterable[_Sent]) -> None:
        """Note what was stored and what was lost, in one transaction."""
        known = [
            each for each in found if each.subject and (each.stored or each.lost_behind is not None)
        ]
        if not known:
            return
        pairs = [pair for each in known for pair in each.stored]
        lasts = [each.last if each.lost_behind is None else each.lost_behind for each in known]
        async with connection.transaction():
            await connection.execute(
                MARK_STORED, ([pair[0] for pair in pairs], [pair[1] for pair in pairs])
            )
            for each in known:
                if each.lost_behind is not None:
                    await self._lost(connection, each.world, each.lost_behind)
            await connection.execute(
                MARK_STREAMS,
                ([each.world for each in known], [each.subject for each in known], lasts),
            )
        self._metrics.stored.inc(sum(each.events for each in known))

    async def _lost(self, connection: AsyncConnection, world: str, last: int) -> None:
        """Send again what the broker had stored behind its last message."""
        cursor = await connection.execute(LOST, (world, last))
        if cursor.rowcount:
            self._metrics.lost.inc(cursor.rowcount)
            _LOG.error(
                "the bus has lost %d batches of %s, which are sent again", cursor.rowcount, world
            )

    async def _verify(self, connection: AsyncConnection, log: Log) -> None:
        """Look whether the broker still has what it had stored lately: a server that was lost may have taken its newest with it."""
        rows = await (await connection.execute(RETAINED, (list(self._worlds.names()),))).fetchall()
        found: list[_Sent] = []
        for world, subject, last_stored in rows:
            known = self._worlds.find(world)
            place = known.on_bus() if known else None
            if place is None or subjects.log(place, self._service) != subject:
                continue
            last = await log.last_sequence(LOG, subject)
            if last < last_stored:
                found.append(_Sent(world=world, subject=subject, lost_behind=last))
        await self._mark(connection, found)

    async def _forget(self, connection: AsyncConnection) -> None:
        """Forget batches that were stored a while ago."""
        now = asyncio.get_running_loop().time()
        if now >= self._forget_at:
            self._forget_at = now + _FORGET_SECONDS
            await connection.execute(FORGET_STORED, (_RETAINED_MINUTES,))
