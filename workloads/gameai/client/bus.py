"""EDGE: the event bus for a service of a world, from what the operator gives its pod."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Self

from gameai_contract.names import (
    BUS_CA_KEY,
    BUS_TOKEN_ENVIRONMENT,
    CONFIG_ENVIRONMENT,
    SERVICE_ENVIRONMENT,
    SETTINGS_HASH_ENVIRONMENT,
)
from gameai_contract.world_config import ConfigError, parse
from google.protobuf.message import Message

from gameai.bus import subjects
from gameai.bus.consumer import HANDLER_SECONDS, Consumer
from gameai.bus.group import Handler, WorldGroup
from gameai.bus.log import BusError, Log
from gameai.bus.login import WorldToken
from gameai.bus.metrics import of_process
from gameai.bus.nats import NatsLog
from gameai.bus.publisher import Publisher
from gameai.bus.subjects import World
from gameai.bus.types import Types
from gameai.bus.v1.bus_pb2 import Event
from gameai.events.v1 import events_pb2

_LOG = logging.getLogger(__name__)
# The file with the configuration of the world, the name of the service, and the file with its token.
_VARIABLES = (CONFIG_ENVIRONMENT, SERVICE_ENVIRONMENT, BUS_TOKEN_ENVIRONMENT)
# Before a bus that is away is tried again.
_PAUSE_SECONDS = 5.0
# Opens a connection, once there is one.
Connected = Callable[[], contextlib.AbstractAsyncContextManager[tuple[Log, World]]]


class WorldPublisher:
    """Publishes events of the world."""

    def __init__(self, publisher: Publisher, world: World) -> None:
        self._publisher, self._world = publisher, world

    async def publish(self, message: Message, *, world_us: int) -> None:
        """Publish an event at a time of the world (µs since it began); it is sent within 2 ms.

        Waits while too many events wait, unless the type allows that they are lost. Raises ValueError for a type that this
        source may not publish, or an event that is too large.
        """
        await self._publisher.publish(self._world, message, world_us=world_us)

    async def flush(self) -> None:
        """Wait until all that was published is stored, or was given up as its type allows."""
        await self._publisher.flush()


class Bus:
    """What a service of a world does on the event bus. It holds no connection; each use has its own.

    Made by `of_world` in a pod, and by `of_log` in tests. `types` are the modules of event types other than the built-in ones.
    """

    def __init__(self, connected: Connected, service: str, types: Sequence[ModuleType]) -> None:
        self._connected, self._service = connected, service
        self._types = Types([events_pb2, *types])

    @classmethod
    def of_world(
        cls, *, types: Sequence[ModuleType] = (), insecure: bool = False, service: str = ""
    ) -> Self:
        """The bus of the world whose service this pod is, from what the operator gives it.

        Connections are encrypted where the operator gives the pod the certificate of the servers' authority. Where it does not,
        `insecure` must say that the network in between is trusted with the token, or no connection is made. Without an operator, on a laptop, there need be no token; `consume` then gets the events of all services.
        `service` is the name of a program that has only one, where the environment names none. Raises `ConfigError` in a pod of
        a template older than revision 5.
        """
        file, named, token = map(os.environ.get, _VARIABLES, ("", service, ""))
        service = named or service
        needed = (Path(file or "").is_file(), service, token or _by_hand())
        missing = [name for name, found in zip(_VARIABLES, needed, strict=True) if not found]
        if missing or file is None:
            raise ConfigError(
                f"{', '.join(missing)} must be set, as the operator does for a world's services from template revision 5 on"
            )
        authority = Path(file).with_name(BUS_CA_KEY)
        login = None
        if token:
            login = WorldToken(file=Path(token), authority=authority, insecure=insecure)
        return cls(lambda: _connected(Path(file), service, login), service, types)

    @classmethod
    def of_log(
        cls, log: Log, world: World, *, service: str, types: Sequence[ModuleType] = ()
    ) -> Self:
        """A bus on a log of a test, such as `gameai.testing.bus.MemoryLog`. `consume` gets the events of all services."""

        @contextlib.asynccontextmanager
        async def connected() -> AsyncIterator[tuple[Log, World]]:
            yield log, world

        return cls(connected, service, types)

    def message(self, event: Event) -> Message | None:
        """What an event says; None for a type that is not known here.

        Raises `DamagedEventError` and `LaterSchemaError`, which a handler passes on.
        """
        return self._types.message(event)

    def connection(self) -> contextlib.AbstractAsyncContextManager[tuple[Log, World]]:
        """A connection with what this pod may do, and the world as it is when it is opened; a bus that is away is waited for."""
        return self._connected()

    @contextlib.asynccontextmanager
    async def publisher(self, source: int) -> AsyncIterator[WorldPublisher]:
        """A publisher with the number of its source; a bus that is away is waited for. What waits is sent at the end."""
        async with self._connected() as (log, world):
            publisher = Publisher(log, self._types, self._service, source, metrics=of_process())
            async with publisher:
                yield WorldPublisher(publisher, world)

    async def consume(self, handler: Handler, *, handler_seconds: float = HANDLER_SECONDS) -> None:
        """Handle events of the services that `consumes` of the GameWorld names, until cancelled.

        A bus that is away is waited for, and so is the consumer, which the bus's controller creates for the world.
        """
        async with self._connected() as (log, world):
            group = WorldGroup(world=world, consumer=self._service)
            await Consumer(
                log, group, handler, metrics=of_process(), handler_seconds=handler_seconds
            ).run()


@contextlib.asynccontextmanager
async def _connected(
    file: Path, service: str, login: WorldToken | None
) -> AsyncIterator[tuple[Log, World]]:
    """A connection, once there is one."""
    async with contextlib.AsyncExitStack() as stack:
        while True:
            try:
                endpoint, world = _place(file)
                log = NatsLog(endpoint, name=service, login=login)
                await stack.enter_async_context(log)
                break
            except (BusError, ConfigError, OSError) as error:
                _LOG.warning(
                    "no connection to the bus, trying again in %g s: %s", _PAUSE_SECONDS, error
                )
                await asyncio.sleep(_PAUSE_SECONDS)
        yield log, world


def _by_hand() -> bool:
    """Whether no operator started this process: a person wrote its configuration, with what it needs alone."""
    return not os.environ.get(SETTINGS_HASH_ENVIRONMENT)


def _place(file: Path) -> tuple[str, World]:
    """Where the bus is, and the world's identity there. Raises `BusError` where the cluster has none, `ConfigError`, `OSError`."""
    config = parse(file.read_text(), by_hand=_by_hand())
    world = subjects.configured(config)
    if config.bus is None or world is None:
        raise BusError("the cluster has no event bus: set bus.mode of the operator's chart")
    return f"nats://{config.bus.endpoint}", world
