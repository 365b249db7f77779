"""EDGE: runs the methods of a service in transactions: each request takes effect once, each event is published or handled once."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any, LiteralString, Self, TypeVar, cast

from google.protobuf.message import Message
from grpc import aio
from psycopg import AsyncConnection
from psycopg.errors import ReadOnlySqlTransaction

from gameai.bus.group import Handler, Received, RetryError
from gameai.bus.types import Types
from gameai.bus.v1.bus_pb2 import Event
from gameai.client import Bus, Inbox
from gameai.errors import (
    ConflictError,
    ExhaustedError,
    InvalidArgumentError,
    NotFoundError,
    RunningError,
    UnavailableError,
)
from gameai.events.v1 import events_pb2
from gameai.kit import requests
from gameai.kit.call import Call, Emitted, Emitter, Occurred
from gameai.kit.database import AgainError, Database, LockedError, OverdueError
from gameai.kit.forgetting import forget
from gameai.kit.guard import guarded
from gameai.kit.limits import CallLimiter, CallLimits
from gameai.kit.measuring import measure
from gameai.kit.metrics import KitMetrics, of_process
from gameai.kit.outbox import Outbox
from gameai.kit.places import Places
from gameai.kit.relay import Relay
from gameai.kit.requests import RequestKey
from gameai.kit.worlds import KitWorld, Worlds

_LOG = logging.getLogger(__name__)
WORLD_HEADER = "gameai-world"
Context = aio.ServicerContext[Any, Any]
Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)
T = TypeVar("T")
# What a service does with events, by their type.
Handlers = Mapping[type[Message], Callable[[Any, Call], Awaitable[None]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Together:
    """A method that handles the events of these types, all of a batch in one call, in their order. `Call.event` is the first one's."""

    types: Sequence[type[Message]]
    method: Callable[[Sequence[Message], Call], Awaitable[None]]


# A transaction that met another one.
_TRIES = 3
_FROM_MEMORY = 1000
_MOST_SHOWN = 130
# A cluster without an event bus may get one.
_BUS_SECONDS = 5.0
_KNOWN = "SELECT digest, answer FROM gameai_request WHERE world = %s AND request_id = %s"
_KEEP = "INSERT INTO gameai_request (world, request_id, digest, answer) VALUES (%s, %s, %s, %s)"
# Something else is needed: a handler tries again without an end. A transaction that takes too long is a failure.
_AWAY = (UnavailableError, ExhaustedError, AgainError, LockedError)


def now_us() -> int:
    """The wall clock, µs since 1970."""
    return time.time_ns() // 1000


class Kit:
    """What the methods of one service stand on. Everything takes its world as an argument.

    `source` is the number of the service as a publisher. `types` are the modules of event types that it emits or handles,
    other than the built-in ones. Without a `bus` its events stay in the database.
    """

    def __init__(
        self,
        service: str,
        source: int,
        database: Database,
        worlds: Worlds,
        *,
        bus: Bus | None = None,
        types: Sequence[ModuleType] = (),
        limits: CallLimits | None = None,
        metrics: KitMetrics | None = None,
    ) -> None:
        self._metrics = metrics or of_process()
        self.database = database
        self._worlds, self._bus = worlds, bus
        self._types = Types([events_pb2, *types])
        self._emitter = Emitter(self._types, source, now_us)
        self._outbox, self._service = Outbox(worlds), service
        self._inbox = Inbox(service)
        limits = limits or CallLimits()
        self._limiter = CallLimiter(limits, time.monotonic)
        # They hold no connection: calls that wait for the database must not shut them out.
        from_memory = replace(limits, at_a_time=_FROM_MEMORY)
        self._memory_limiter = CallLimiter(from_memory, time.monotonic)
        self._places = Places(database.connections, worlds)
        self._relay = (
            Relay(database.url, bus, worlds, service, metrics=self._metrics) if bus else None
        )

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(
        cls,
        service: str,
        source: int,
        database: Database,
        worlds: Worlds,
        *,
        tables: Sequence[LiteralString] = (),
        bus: Bus | None = None,
        types: Sequence[ModuleType] = (),
        limits: CallLimits | None = None,
    ) -> AsyncIterator[Self]:
        """A kit whose database is open, and has its tables and those of the service. Waits for a database that is away."""
        async with database:
            await database.prepare(service, tables)
            yield cls(service, source, database, worlds, bus=bus, types=types, limits=limits)

    async def run(
        self, handlers: Handlers | Together, *, consumes: Callable[[], bool] = lambda: True
    ) -> None:
        """Publish what the outbox has, handle events, and forget what is old, until cancelled.

        `handlers` come from `gameai.kit.methods.handlers`. Where there are some, the service must consume events: `consumes`
        of its GameWorld. They are not called before the argument `consumes` returns True.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(forget(self.database, self._inbox))
            tasks.create_task(measure(self.database, self._worlds, self._metrics))
            tasks.create_task(self._with_bus(handlers, consumes))

    async def _with_bus(self, handlers: Handlers | Together, consumes: Callable[[], bool]) -> None:
        """What needs the event bus, once the cluster has one."""
        if self._relay is None or self._bus is None:
            return
        if not self._on_bus():
            _LOG.info("the cluster has no event bus: nothing is published or consumed")
        while not self._on_bus():  # noqa: ASYNC110 - worlds say nothing when they change
            await asyncio.sleep(_BUS_SECONDS)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._relay.run())
            while handlers and not consumes():  # noqa: ASYNC110 - as above
                await asyncio.sleep(_BUS_SECONDS)
            if handlers:
                tasks.create_task(self._bus.consume(self.handler(handlers)))

    def _on_bus(self) -> bool:
        found = map(self._worlds.find, self._worlds.names())
        return any(each is not None and each.on_bus() is not None for each in found)

    async def mutate(
        self, name: str, method: Callable[[Q, Call], Awaitable[A]], request: Q, context: Context
    ) -> A:
        """The answer of the method of this name to a request, once; a later one gets what was answered.

        Raises errors of `gameai.errors`.
        """
        world = self.world_of(context)
        key = requests.key(self._service, world.name, name, request)
        named = request.DESCRIPTOR.full_name
        try:
            with self._limiter.held(world.name):
                repeated, answer = await self._again(
                    lambda: self._once(method, request, key, world)
                )
        except BaseException:
            self._metrics.mutations.labels(named, "failed").inc()
            raise
        self._metrics.mutations.labels(named, "repeated" if repeated else "executed").inc()
        self._wake()
        return answer

    async def ask(
        self, method: Callable[[Q, Call], Awaitable[T]], request: Q, context: Context
    ) -> T:
        """What a method reads; a stream reads each of its parts by a call. Raises errors of `gameai.errors`."""
        world = self.world_of(context)

        async def read() -> T:
            async with self._transaction(world) as connection:
                await connection.execute("SET TRANSACTION READ ONLY")
                async with self._call(world, connection, reads=True) as call:
                    return await _reading(method(request, call))

        with self._limiter.held(world.name):
            return await self._again(read)

    def handler(self, handlers: Handlers | Together) -> Handler:
        """Handles batches of events: each event takes effect once, and all of a batch together.

        Raises ValueError for a type that is not in `types`.
        """
        for each in handlers.types if isinstance(handlers, Together) else handlers:
            self._types.of(each())

        async def handle(received: Received) -> None:
            name = f"{received.address.namespace}/{received.address.world}"
            world = self._worlds.find(name)
            if world is None:
                raise RetryError(f"{name} is not here")
            try:
                async with self._transaction(world) as connection:
                    await self._handle(handlers, received, world, connection)
            except _AWAY as error:
                raise RetryError(str(error) or "transactions met") from error
            self._wake()

        return handle

    async def _handle(
        self,
        handlers: Handlers | Together,
        received: Received,
        world: KitWorld,
        connection: AsyncConnection,
    ) -> None:
        fresh = [
            (message, _occurred(received, number, event))
            for number, event in await self._inbox.fresh(connection, received)
            if (message := self._types.message(event)) is not None
        ]
        events: list[Emitted] = []
        for act, occurred in _calls(handlers, fresh):
            async with self._call(world, connection, occurred) as call:
                await act(call)
            events += call.events
        await self._write(connection, world, events)

    async def _write(
        self, connection: AsyncConnection, world: KitWorld, events: Sequence[Emitted]
    ) -> None:
        """Keep what was emitted, in a cluster that has an event bus."""
        if world.on_bus() is not None:
            await self._outbox.write(connection, world.name, events)

    async def _once(
        self,
        method: Callable[[Q, Call], Awaitable[A]],
        request: Q,
        key: RequestKey,
        world: KitWorld,
    ) -> tuple[bool, A]:
        """Whether the request was answered before, and its answer."""
        async with self._transaction(world) as connection:
            cursor = await connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (key.lock,))
            if await cursor.fetchone() != (True,):
                raise RunningError(
                    f"request_id {key.request_id} is being handled: call again with it"
                )
            # A statement of its own: it sees what was committed before the lock was free.
            cursor = await connection.execute(_KNOWN, (key.world, key.request_id))
            known = await cursor.fetchone()
            if known is not None:
                requests.check_same(known[0], key)
                return True, cast("A", requests.unpacked(known[1]))
            async with self._call(world, connection) as call:
                answer = await method(request, call)
            await self._write(connection, world, call.events)
            await connection.execute(
                _KEEP, (key.world, key.request_id, key.digest, requests.packed(answer))
            )
        return False, answer

    async def _again(self, act: Callable[[], Awaitable[T]]) -> T:
        """Act, again where transactions met. Raises `ConflictError` where they meet each time, `UnavailableError`."""
        for _ in range(_TRIES):
            try:
                return await act()
            except AgainError:
                continue
            except OverdueError as error:
                raise UnavailableError(f"{error}: call again") from error
        raise ConflictError("others change the same at this moment: call again")

    @contextlib.contextmanager
    def from_memory(self, context: Context) -> Iterator[KitWorld]:
        """The world of a call that is answered without the database, within the limits of the world.

        Raises `NotFoundError`, `InvalidArgumentError`, `ExhaustedError`.
        """
        world = self.world_of(context)
        with self._memory_limiter.held(world.name):
            yield world

    def world_of(self, context: Context) -> KitWorld:
        """The world that a call is about. Raises `NotFoundError`, `InvalidArgumentError`."""
        given = [
            str(value) for key, value in context.invocation_metadata() or () if key == WORLD_HEADER
        ]
        if len(given) > 1:
            raise InvalidArgumentError(f"the header {WORLD_HEADER} is there {len(given)} times")
        found = self._worlds.find(given[0] if given else "")
        if found is None:
            raise NotFoundError(
                f"no world {given[0][:_MOST_SHOWN]!r} here: set the header {WORLD_HEADER} to <namespace>/<name> of a world that this service runs in"
            )
        return found

    @contextlib.asynccontextmanager
    async def _transaction(self, world: KitWorld) -> AsyncIterator[AsyncConnection]:
        """A transaction, on one of the connections that the world may use."""
        async with self._places.held(world.name), self.database.transaction() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def _call(
        self,
        world: KitWorld,
        connection: AsyncConnection,
        event: Occurred | None = None,
        *,
        reads: bool = False,
    ) -> AsyncIterator[Call]:
        """What a method gets; the connection is its own until the end of the block."""
        async with guarded(connection) as guard:
            yield Call(
                world=world.name,
                now_us=world.now_us(),
                db=guard,
                emitter=None if reads else self._emitter,
                event=event,
            )

    def _wake(self) -> None:
        if self._relay is not None:
            self._relay.wake()


async def _reading(reads: Awaitable[T]) -> T:
    """What a query reads. That it may not write is its own mistake, and not that of a database that is a standby."""
    try:
        return await reads
    except ReadOnlySqlTransaction as error:
        raise TypeError("a query writes: make it a mutation") from error


def _calls(
    handlers: Handlers | Together, events: Sequence[tuple[Message, Occurred]]
) -> list[tuple[Callable[[Call], Awaitable[None]], Occurred]]:
    """What is called for the events of a batch, one after the other, and the event that each call is about."""
    if not isinstance(handlers, Together):
        return [
            (partial(handlers[type(message)], message), occurred)
            for message, occurred in events
            if type(message) in handlers
        ]
    wanted = [each for each in events if type(each[0]) in handlers.types]
    messages = [message for message, _ in wanted]
    return [(partial(handlers.method, messages), occurred) for _, occurred in wanted[:1]]


def _occurred(received: Received, number: int, event: Event) -> Occurred:
    batch = received.batch
    return Occurred(
        at_us=batch.at_us + event.delta_us,
        world_us=batch.world_us,
        source=batch.source,
        epoch=batch.epoch,
        sequence=number,
    )
