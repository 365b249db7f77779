"""EDGE: publishes the events of an outbox: one replica at a time, in order for each world.

Each batch names the sequence of the one before it, and the broker stores it behind that one alone. So a broker that has lost
its newest messages is noticed before anything else is stored, and a relay that has lost its lock stops before it stores
behind messages of another one.
"""

import asyncio
import contextlib
import logging
import secrets  # noqa: TID251 - the edge: an epoch that no other process has drawn
from collections.abc import Iterable

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import class_row

from gameai.bus.batches import Limits
from gameai.bus.cancellation import end_if_cancelled
from gameai.bus.log import BusError, Log, RefusedError
from gameai.bus.subjects import World
from gameai.client import Bus
from gameai.kit.database import connecting
from gameai.kit.metrics import KitMetrics
from gameai.kit.numbering import Row, number
from gameai.kit.sending import Sender, Sent, Waiting
from gameai.kit.statements import (
    FORGET_STORED,
    LOCK,
    LOOK,
    LOST,
    MARK_STORED,
    MARK_STREAMS,
    RETAINED,
    SAVE_BATCHES,
    STREAMS_OF,
    TAKE,
    TAKEN,
    WAITING,
)
from gameai.kit.worlds import Worlds

_LOG = logging.getLogger(__name__)
# An outbox without events is looked at after these times, the longer the quieter it is. Not NOTIFY: it makes the commits of
# all writers wait for each other.
_LEAST_PAUSE, _MOST_PAUSE = 0.02, 0.25
# Before a lock that another replica has is tried again; and a database or a bus that is away, longer, so that another
# replica which reaches both takes its place.
_LOCK_SECONDS, _RETRY_SECONDS = 1.0, 3.0
# A world whose events the bus does not take, or that is not here, is tried again.
_STUCK_SECONDS = 10.0
# Of a bus that does not answer, a world is tried again sooner; and after so long another replica may try.
_FAILED_SECONDS, _FAILING_SECONDS = 1.0, 15.0
_STATEMENT_SECONDS = 30.0
# A relay that is paused loses its lock after this time; it looks at its outbox several times a second.
_IDLE_SECONDS = 20.0
# A round sends for so long; then it marks what was stored.
_ROUND_SECONDS = 5.0
# Of one world in a round, and of all together.
_MOST_ROWS, _MOST_BATCHES, _OWN_BYTES, _ALL_BYTES = 1024, 64, 1 << 20, 8 << 20
_AT_A_TIME = 32
# Of a batch.
_LIMITS = Limits()
_MOST_EPOCH = (1 << 32) - 1
# Longer than a server keeps what it has stored from its disk, and than it takes to notice that it was lost.
_RETAINED_MINUTES = 10
_TIDY_SECONDS, _MOST_FORGOTTEN = 10.0, 10_000


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
    ) -> None:
        self._database, self._bus = database, bus
        self._worlds, self._service = worlds, service
        self._metrics = metrics
        self._wake = asyncio.Event()
        # Worlds that are left alone until a time of the loop, and worlds whose last events the broker may have lost.
        self._stuck: dict[str, float] = {}
        self._unverified: set[str] = set()
        self._tidy_at, self._blocked = 0.0, False
        self._failing_since: float | None = None
        # Worlds of which it was logged that their events wait.
        self._said = set[str]()
        # What numbers are counted in, and the next one of each world.
        self._epoch, self._following = _drawn(), dict[str, int]()

    def wake(self) -> None:
        """There are events, most likely."""
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled; a database or a bus that is away is waited for."""
        how = connecting(self._database, _STATEMENT_SECONDS, _IDLE_SECONDS)
        while True:
            try:
                # Who does not reach the bus must not hold the lock.
                async with (
                    self._bus.connection() as (log, _),
                    await AsyncConnection.connect(self._database, **how) as connection,
                ):
                    await self._held(connection)
                    await self._publish(connection, log)
            except* (psycopg.Error, BusError) as errors:
                end_if_cancelled()
                _LOG.warning("the outbox waits: %s", _first(errors))
            finally:
                self._metrics.publishing.set(0)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _held(self, connection: AsyncConnection) -> None:
        """Wait until this replica holds the lock, which goes with the connection."""
        while True:
            cursor = await connection.execute(LOCK, (self._worlds.scope,))
            if await cursor.fetchone() == (True,):
                return
            await asyncio.sleep(_LOCK_SECONDS)

    async def _publish(self, connection: AsyncConnection, log: Log) -> None:
        self._metrics.publishing.set(1)
        self._failing_since = None
        # A server that was lost may have taken its newest messages with it.
        cursor = await connection.execute(RETAINED, (list(self._worlds.names()),))
        self._unverified = {row[0] for row in await cursor.fetchall()}
        while True:
            self._wake.clear()
            await self._verify(connection, log)
            moved = await self._number(connection)
            sent = await self._send(connection, log)
            await self._tidy(connection)
            end_if_cancelled()
            if not (moved or sent or self._next_unverified()):
                await self._idle(connection)

    async def _idle(self, connection: AsyncConnection) -> None:
        """Wait until there is something to do. An event of this replica wakes it; those of others it finds.

        Where something waits and was not stored, that is after a quarter of a second.
        """
        pause = _LEAST_PAUSE
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
                    return
            cursor = await connection.execute(LOOK, {"worlds": self._open()})
            if await cursor.fetchone() == (True,):
                await asyncio.sleep(_MOST_PAUSE - pause if self._blocked else 0)
                return
            await self._tidy(connection)
            pause = min(2 * pause, _MOST_PAUSE)

    async def _number(self, connection: AsyncConnection) -> bool:
        """Give numbers to events, in one transaction; False: there are none, or enough batches wait already."""
        taken = {
            "worlds": self._open(),
            "batches": _MOST_BATCHES,
            "rows": _MOST_ROWS,
            "own": _OWN_BYTES,
            "all": _ALL_BYTES,
        }
        try:
            async with connection.transaction():
                cursor = connection.cursor(row_factory=class_row(Row))
                rows = await (await cursor.execute(TAKE, taken, binary=True)).fetchall()
                if not rows:
                    return False
                batches, following = number(rows, self._epoch, self._following, _LIMITS)
                names = [each.world for each in batches]
                payloads = [each.batch.SerializeToString() for each in batches]
                await connection.execute(SAVE_BATCHES, (names, payloads))
                await connection.execute(TAKEN, ([each.id for each in rows],))
        except BaseException:
            # It may have been committed: no number is given twice.
            self._epoch, self._following = _drawn(), {}
            raise
        self._following.update(following)
        return True

    async def _send(self, connection: AsyncConnection, log: Log) -> bool:
        """Send batches that wait; False: none was stored. Raises `BusError`, once what was stored is marked."""
        asked = {"worlds": self._open(), "batches": _MOST_BATCHES, "all": _ALL_BYTES}
        cursor = connection.cursor(row_factory=class_row(Waiting))
        await cursor.execute(WAITING, asked, binary=True)
        of_worlds: dict[str, list[Waiting]] = {}
        for each in await cursor.fetchall():
            of_worlds.setdefault(each.world, []).append(each)
        places = asyncio.Semaphore(_AT_A_TIME)
        sender = self._sender(connection, log)
        until = asyncio.get_running_loop().time() + _ROUND_SECONDS

        async def one(world: str, waiting: list[Waiting]) -> Sent:
            place = self._place(world)
            if place is None:
                return Sent(world=world)
            async with places:
                return await sender.send(world, place, waiting, until)

        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one(*each)) for each in of_worlds.items()]
        found = [each.result() for each in running]
        await self._met(connection, log, found)
        stored = any(each.stored for each in found)
        self._blocked = bool(found) and not stored
        return stored

    async def _met(self, connection: AsyncConnection, log: Log, found: list[Sent]) -> None:
        """Mark what was stored, and leave worlds alone that do not get on.

        Raises `BusError` where no world has got on for a while: another replica may reach the bus.
        """
        await self._mark(connection, found)
        now = asyncio.get_running_loop().time()
        failed = [each for each in found if each.fault is not None]
        refused = [each for each in failed if isinstance(each.fault, RefusedError)]
        for each in failed:
            seconds = _STUCK_SECONDS if each in refused else _FAILED_SECONDS
            self._leave(each.world, str(each.fault), seconds)
        self._said -= {each.world for each in found if each.fault is None and each.subject}
        if len(failed) < len(found):
            self._failing_since = None
        if refused:
            # Permissions are those of the time at which a connection was opened.
            await log.renew()
        elif failed:
            self._failing_since = self._failing_since or now
            if now - self._failing_since > _FAILING_SECONDS:
                raise BusError(
                    f"the bus has taken no events for {_FAILING_SECONDS:g} s: {failed[0].fault}"
                )

    def _sender(self, connection: AsyncConnection, log: Log) -> Sender:
        async def require_lock() -> None:
            await connection.execute("SELECT 1")

        return Sender(log, self._service, require_lock)

    def _place(self, world: str) -> World | None:
        """Who a world is on the bus; one that is not there is left alone."""
        found = self._worlds.find(world)
        place = found.on_bus() if found else None
        if place is None:
            self._leave(world, "it is not on the bus", _STUCK_SECONDS)
        return place

    def _open(self) -> list[str]:
        """The worlds of this process that are not left alone now."""
        now = asyncio.get_running_loop().time()
        self._stuck = {world: until for world, until in self._stuck.items() if until > now}
        self._metrics.left_alone.set(len(self._stuck))
        return [each for each in self._worlds.names() if each not in self._stuck]

    def _leave(self, world: str, why: str, seconds: float) -> None:
        """Leave a world alone for a while: it holds up no other."""
        if world not in self._said:
            self._said.add(world)
            _LOG.warning("events of %s wait: %s", world, why)
        self._stuck[world] = asyncio.get_running_loop().time() + seconds

    async def _mark(self, connection: AsyncConnection, found: Iterable[Sent]) -> None:
        """Note what was stored and what was lost, in one transaction."""
        known = [each for each in found if each.stored or each.lost_behind is not None]
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
        """Look whether the broker still has what it had stored lately, of some worlds in each round."""
        some = self._next_unverified()
        if not some:
            return
        cursor = await connection.execute(STREAMS_OF, (some,))
        rows, sender = await cursor.fetchall(), self._sender(connection, log)
        known = {row[0]: place for row in rows if (place := self._place(row[0]))}
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(sender.verify(world, known[world], subject, last))
                for world, subject, last in rows
                if world in known
            ]
        found = [each.result() for each in running]
        self._unverified -= {each.world for each in found if each.fault is None}
        await self._met(connection, log, found)

    def _next_unverified(self) -> list[str]:
        if not self._unverified:
            return []
        return [each for each in self._open() if each in self._unverified][:_AT_A_TIME]

    async def _tidy(self, connection: AsyncConnection) -> None:
        """Forget batches that were stored a while ago."""
        now = asyncio.get_running_loop().time()
        if now < self._tidy_at:
            return
        self._tidy_at = now + _TIDY_SECONDS
        await connection.execute(FORGET_STORED, (_RETAINED_MINUTES, _MOST_FORGOTTEN))


def _first(errors: BaseExceptionGroup[Exception]) -> Exception:
    """The first error of a group of groups."""
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _drawn() -> int:
    return secrets.randbelow(_MOST_EPOCH) + 1
