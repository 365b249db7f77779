"""EDGE: runs the methods of a service in transactions: each request takes effect once, each event is published or handled once."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, LiteralString, Self, TypeVar, cast

from google.protobuf.message import Message
from grpc import aio
from psycopg import AsyncConnection

from gameai.bus.group import Handler, Received, RetryError
from gameai.bus.types import Types
from gameai.bus.v1.bus_pb2 import Event
from gameai.client import Bus, Inbox
from gameai.errors import (
    ConflictError,
    ExhaustedError,
    NotFoundError,
    RunningError,
    UnavailableError,
)
from gameai.events.v1 import events_pb2
from gameai.kit import requests
from gameai.kit.call import Call, Emitter, Occurred
from gameai.kit.database import AgainError, Database
from gameai.kit.forgetting import forget
from gameai.kit.limits import CallLimiter, CallLimits
from gameai.kit.metrics import KitMetrics, of_process
from gameai.kit.outbox import Outbox
from gameai.kit.relay import Relay
from gameai.kit.requests import RequestKey
from gameai.kit.worlds import KitWorld, Worlds

WORLD_HEADER = "gameai-world"
Context = aio.ServicerContext[Any, Any]
Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)
T = TypeVar("T")
# A transaction that met another one.
_TRIES = 3
_KNOWN = "SELECT digest, answer FROM gameai_request WHERE world = %s AND request_id = %s"
_KEEP = "INSERT INTO gameai_request (world, request_id, digest, answer) VALUES (%s, %s, %s, %s)"
_AWAY = (UnavailableError, ExhaustedError, AgainError)


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
        self._outbox = Outbox(self._metrics)
        self._inbox = Inbox(service)
        self._limiter = CallLimiter(limits or CallLimits(), time.monotonic)
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
    ) -> AsyncIterator[Self]:
        """A kit whose database is open, and has its tables and those of the service. Waits for a database that is away."""
        async with database:
            await database.prepare(service, tables)
            yield cls(service, source, database, worlds, bus=bus, types=types)

    async def run(
        self, handlers: Mapping[type[Message], Callable[[Any, Call], Awaitable[None]]]
    ) -> None:
        """Publish what the outbox has, handle events, and forget what is old, until cancelled.

        `handlers` come from `gameai.kit.methods.handlers`. Where there are some, the service must consume events: `consumes`
        of its GameWorld.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(forget(self.database, self._inbox))
            if self._relay is not None:
                tasks.create_task(self._relay.run())
            if self._bus is not None and handlers:
                tasks.create_task(self._bus.consume(self.handler(handlers)))

    async def mutate(
        self, method: Callable[[Q, Call], Awaitable[A]], request: Q, context: Context
    ) -> A:
        """The answer of a method to a request, once; a later one gets what was answered. Raises errors of `gameai.errors`."""
        world = self._of(context)
        key = requests.key(world.name, request)
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
        self, method: Callable[[Q, Call], Awaitable[A]], request: Q, context: Context
    ) -> A:
        """The answer of a method that reads. Raises errors of `gameai.errors`."""
        world = self._of(context)

        async def read() -> A:
            async with self.database.transaction() as connection:
                await connection.execute("SET TRANSACTION READ ONLY")
                return await method(request, self._call(world, connection))

        with self._limiter.held(world.name):
            return await self._again(read)

    def handler(
        self, handlers: Mapping[type[Message], Callable[[Any, Call], Awaitable[None]]]
    ) -> Handler:
        """Handles batches of events: each event takes effect once, and all of a batch together."""

        async def handle(received: Received) -> None:
            name = f"{received.address.namespace}/{received.address.world}"
            world = self._worlds.find(name)
            if world is None:
                raise RetryError(f"{name} is not here")
            try:
                async with self.database.transaction() as connection:
                    await self._handle(handlers, received, world, connection)
            except _AWAY as error:
                raise RetryError(str(error) or "transactions met") from error
            self._wake()

        return handle

    async def _handle(
        self,
        handlers: Mapping[type[Message], Callable[[Any, Call], Awaitable[None]]],
        received: Received,
        world: KitWorld,
        connection: AsyncConnection,
    ) -> None:
        events = []
        for number, event in await self._inbox.fresh(connection, received):
            message = self._types.message(event)
            method = handlers.get(type(message)) if message is not None else None
            if method is not None:
                call = self._call(world, connection, _occurred(received, number, event))
                await method(message, call)
                events += call.events
        await self._outbox.write(connection, world.name, events)

    async def _once(
        self,
        method: Callable[[Q, Call], Awaitable[A]],
        request: Q,
        key: RequestKey,
        world: KitWorld,
    ) -> tuple[bool, A]:
        """Whether the request was answered before, and its answer."""
        async with self.database.transaction() as connection:
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
            call = self._call(world, connection)
            answer = await method(request, call)
            await self._outbox.write(connection, world.name, call.events)
            await connection.execute(
                _KEEP, (key.world, key.request_id, key.digest, requests.packed(answer))
            )
        return False, answer

    async def _again(self, act: Callable[[], Awaitable[T]]) -> T:
        """Act, again where transactions met. Raises `ConflictError` where they meet each time."""
        for _ in range(_TRIES):
            with contextlib.suppress(AgainError):
                return await act()
        raise ConflictError("others change the same at this moment: call again")

    def _of(self, context: Context) -> KitWorld:
        """The world that a call is about. Raises `NotFoundError`."""
        given = dict(context.invocation_metadata() or ()).get(WORLD_HEADER, "")
        found = self._worlds.find(str(given))
        if found is None:
            raise NotFoundError(
                f"no world {given!r} here: set the header {WORLD_HEADER} to <namespace>/<name> of a world that this service runs in"
            )
        return found

    def _call(
        self, world: KitWorld, connection: AsyncConnection, event: Occurred | None = None
    ) -> Call:
        return Call(
            world=world.name,
            now_us=world.now_us(),
            db=connection,
            emitter=self._emitter,
            event=event,
        )

    def _wake(self) -> None:
        if self._relay is not None:
            self._relay.wake()


def _occurred(received: Received, number: int, event: Event) -> Occurred:
    batch = received.batch
    return Occurred(
        at_us=batch.at_us + event.delta_us,
        world_us=batch.world_us,
        source=batch.source,
        epoch=batch.epoch,
        sequence=number,
    )
