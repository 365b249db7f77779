"""A service that publishes what it writes, its events as they are in the stream, and what may go wrong with them."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
from gameai.bus import subjects
from gameai.bus.admin import NatsAdmin
from gameai.bus.batches import parsed
from gameai.bus.log import BusError, Log, Outgoing, Start
from gameai.bus.streams import LOG, Stream
from gameai.bus.subjects import World
from gameai.client import Bus
from gameai.errors import InvalidArgumentError
from gameai.kit import Call, mutation
from gameai.testing.bus import MemoryLog
from gameai_devcluster.broker import SMALL

from support.bounties import Bounties, Example, Places, bounties, types_of, until_answered

KEPT = next(each for each in SMALL if each.name == LOG.name)
# Who holds the lock of the outbox.
RELAY = (
    "SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = database"
    " WHERE locktype = 'advisory' AND granted AND datname = current_database()"
)


def telling(example: Example) -> type[Any]:
    """The service, which also publishes each bounty; it refuses 13 after it has emitted."""

    class Telling(example.service.Bounties):  # type: ignore[misc,name-defined] # it was compiled just now
        @mutation
        async def PostBounty(self, request: Any, call: Call) -> Any:
            cursor = await call.db.execute(
                "INSERT INTO bounty VALUES (%s, %s, %s) ON CONFLICT (world, victim)"
                " DO UPDATE SET gold = bounty.gold + EXCLUDED.gold RETURNING gold",
                (call.world, request.victim, request.gold),
            )
            row = await cursor.fetchone()
            assert row
            call.emit(example.wire.BountyClaimed(victim=request.victim, gold=row[0]))
            if request.gold == 13:
                raise InvalidArgumentError("unlucky", field="gold")
            return example.wire.PostBountyResponse(gold=row[0])

    return Telling


@contextlib.asynccontextmanager
async def running(
    example: Example, url: str, log: Log, *given: World, places: Places | None = None
) -> AsyncIterator[Bounties]:
    bus = Bus.of_log(log, given[0], service="bounties", types=types_of(example))
    found = places or Places(*given)
    async with bounties(example, url, found, bus, service=telling(example)) as service:
        yield service


async def published(log: Log, world: World, number: int, example: Example) -> list[tuple[int, int]]:
    """The gold of the first events of a world that are in the stream, each with its epoch; they are numbered without gaps."""
    found: list[tuple[int, int]] = []
    following: dict[int, int] = {}
    subject = subjects.log(world, "bounties")
    async with (
        asyncio.timeout(30),
        contextlib.aclosing(log.replay(LOG, subject, Start(sequence=1))) as messages,
    ):
        async for message in messages:
            batch = parsed(message.payload)
            assert batch.world == world.number
            assert batch.first_sequence == following.get(batch.epoch, 1)
            following[batch.epoch] = batch.first_sequence + len(batch.events)
            for each in batch.events:
                event = example.wire.BountyClaimed.FromString(each.body)
                found.append((batch.epoch, event.gold))
            if len(found) >= number:
                return found
    raise AssertionError("the replay ended")


async def golds(log: Log, world: World, number: int, example: Example) -> list[int]:
    return [gold for _, gold in await published(log, world, number, example)]


async def posted(service: Bounties, number: int, world: str = "") -> None:
    for _ in range(number):
        await until_answered(lambda: service.post(1, 1, world=world))


async def end_relay(url: str) -> None:
    """End the connection of the replica that publishes."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        cursor = await connection.execute(
            f"SELECT pg_terminate_backend(pid) FROM ({RELAY}) AS relay"
        )
        assert await cursor.fetchall() == [(True,)]


def copied(folder: Path, copy: Path) -> None:
    """Copy a folder of another user."""
    shutil.copytree(folder, copy)
    owner = folder.stat()
    for each in (copy, *copy.rglob("*")):
        os.chown(each, owner.st_uid, owner.st_gid)


async def lose(nats: NatsAdmin, sequences: Sequence[int]) -> None:
    for each in sequences:
        await nats._js.delete_msg(LOG.name, each)


class Refusing(MemoryLog):
    """A bus that refuses the events of some worlds, as one without permissions does, or fails for them."""

    def __init__(self, fault: BusError, *names: str) -> None:
        super().__init__()
        self.fault, self.names = fault, names
        self.asked = 0

    def _check(self, subject: str) -> None:
        if any(f".{each}." in subject for each in self.names):
            self.asked += 1
            raise self.fault

    async def store(self, message: Outgoing, *, after: int | None = None) -> int:
        self._check(message.subject)
        return await super().store(message, after=after)

    async def last_sequence(self, stream: Stream, subject: str) -> int:
        self._check(subject)
        return await super().last_sequence(stream, subject)
