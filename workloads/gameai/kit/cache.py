"""EDGE: what readers of a service need of its worlds, in memory: little older than the database while that answers."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import psycopg
from psycopg import AsyncConnection

from gameai.bus.cancellation import end_if_cancelled
from gameai.errors import ExhaustedError, NotFoundError, ServiceFault, UnavailableError
from gameai.kit.database import AgainError, Database, OverdueError
from gameai.kit.worlds import Worlds

_LOG = logging.getLogger(__name__)
_STALE_SECONDS = 5.0
_REACH_SECONDS = 2.0
# A world that was read so lately is read again soon.
_BUSY_SECONDS = 5.0
# What a database raises that is away.
AWAY = (ServiceFault, AgainError, OverdueError, psycopg.Error)
# A revision, and a token that is drawn with it: a restored database comes to the same numbers with other values.
Version = tuple[int, str]


class State(Protocol):
    """What is known of a world at a revision."""

    @property
    def revision(self) -> int:
        """Counts the changes of the world."""

    @property
    def version(self) -> Version:
        """What no other state of the world has."""


S = TypeVar("S", bound=State)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source(Generic[S]):
    """Where states come from. `load` gets the state that is known, None where it may be from before a restore of the database.

    `name` is what the states are, for messages. They are read each `seconds`, and each `busy_seconds` while some are asked for.
    """

    name: str
    heads: Callable[[AsyncConnection, Sequence[str]], Awaitable[Mapping[str, Version]]]
    load: Callable[[Database, str, S | None], Awaitable[S]]
    least_seconds: float
    busy_seconds: float
    seconds: float
    most_watches: int


class WorldCache(Generic[S]):
    """The states of the worlds of a process. `notify` is called after each change of one."""

    def __init__(
        self, database: Database, worlds: Worlds, source: Source[S], notify: Callable[[], None]
    ) -> None:
        self._database, self._worlds = database, worlds
        self._source, self._notify = source, notify
        self._states: dict[str, S] = {}
        self._wanted = asyncio.Event()
        self._changed = asyncio.Event()
        self._polled = asyncio.Event()
        self._read_at, self._asked_at = time.monotonic(), 0.0
        self.away = False
        # Worlds that were read since the database was away.
        self._trusted = set[str]()
        self._watches = 0
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Read what has changed, until cancelled."""
        source = self._source
        while True:
            await self._poll()
            end_if_cancelled()
            self._polled.set()
            self._polled = asyncio.Event()
            # Changes come in groups: one load for several of them.
            await asyncio.sleep(source.least_seconds)
            busy = self._watches or time.monotonic() - self._asked_at < _BUSY_SECONDS
            pause = source.busy_seconds if busy else source.seconds
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause - source.least_seconds):
                    await self._wanted.wait()
            self._wanted.clear()

    async def of(self, world: str) -> S:
        """The state of a world. Raises `UnavailableError` where it was never read."""
        self._asked_at = time.monotonic()
        return await self.known(world)

    async def known(self, world: str) -> S:
        """As `of`, for who does not mind that it is older."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REACH_SECONDS):
                while world not in self._states:
                    await self._next()
        if world not in self._states:
            raise UnavailableError(
                f"the {self._source.name} of the world were not read yet: call again"
            )
        return self._states[world]

    async def fresh(self, world: str) -> S:
        """The state of a world as it is in the database now, or after some time as it is known. Raises `UnavailableError`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REACH_SECONDS):
                # One that runs may have read before.
                for _ in range(2):
                    polled = self._polled
                    self._wanted.set()
                    await polled.wait()
        return await self.of(world)

    async def checked(self, world: str, check: Callable[[S], T]) -> tuple[S, T]:
        """The state of a world, and what a check says of it.

        Where the check raises `NotFoundError`, the database is read first: another replica may have added what is missing just now.
        """
        found = await self.of(world)
        try:
            return found, check(found)
        except NotFoundError:
            found = await self.fresh(world)
            return found, check(found)

    async def reach(self, world: str, revision: int) -> None:
        """Wait until what this process has is as new as a change that was made by it, but not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REACH_SECONDS):
                while self._revision(world) < revision:
                    await self._next()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """A watch that is open. Raises `ExhaustedError` where there are too many."""
        most = self._source.most_watches
        if self._watches >= most:
            raise ExhaustedError(f"{most} watches are open here: close one, or run more replicas")
        self._watches += 1
        try:
            yield
        finally:
            self._watches -= 1

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One watch at a time computes what it sends, and others are served in between."""
        async with self._turn:
            await asyncio.sleep(0)
            yield

    def is_stale(self) -> bool:
        """Whether the database has not answered for some seconds."""
        return time.monotonic() - self._read_at > _STALE_SECONDS

    def _revision(self, world: str) -> int:
        known = self._states.get(world)
        return known.revision if known is not None else 0

    async def _next(self) -> None:
        """Read at once, and wait for a change."""
        changed = self._changed
        self._wanted.set()
        await changed.wait()

    async def _poll(self) -> None:
        try:
            await self._read()
        except AWAY as error:
            if not self.away:
                _LOG.warning("%s stay as they were: %s", self._source.name, error)
            self.away = True
            self._trusted = set()
            return
        if self.away:
            _LOG.info("%s are read again", self._source.name)
        self.away = False

    async def _read(self) -> None:
        names = set(self._worlds.names())
        for gone in self._states.keys() - names:
            del self._states[gone]
        async with self._database.transaction() as connection:
            heads = await self._source.heads(connection, sorted(names))
        # Also lower ones: a database may be restored.
        for each in (each for each in names if self._differs(each, heads[each])):
            known = self._states.get(each) if each in self._trusted else None
            self._states[each] = await self._source.load(self._database, each, known)
            self._trusted.add(each)
            self._notify()
            self._changed.set()
            self._changed = asyncio.Event()
        self._read_at = time.monotonic()

    def _differs(self, world: str, version: Version) -> bool:
        known = self._states.get(world)
        return known is None or known.version != version
