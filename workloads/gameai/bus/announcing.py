"""EDGE: the events that a service computes from its world: published by every replica, and kept once.

The configuration of the world says whether there is a bus. It may come and go while the service runs; the service answers
its calls in either case.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from gameai_contract.names import BUS_CA_KEY, BUS_TOKEN_ENVIRONMENT, CONFIG_ENVIRONMENT
from gameai_contract.world_config import BusConfig
from google.protobuf.message import Message

from gameai.bus import subjects
from gameai.bus.log import BusError
from gameai.bus.login import WorldToken
from gameai.bus.metrics import of_process
from gameai.bus.nats import NatsLog
from gameai.bus.publisher import Publisher
from gameai.bus.types import Types
from gameai.errors import DrainingError
from gameai.events.v1 import events_pb2
from gameai.serving import LiveWorld

_LOG = logging.getLogger(__name__)
# Before a bus that is away is tried again.
_PAUSE_SECONDS = 5.0
# A clock that runs very fast has more events than this lets through; the last of each kind counts.
_LEAST_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Announcement:
    """An event at a time of the world (µs). `sequence` rises over all events of the service, and is the same at every replica."""

    message: Message
    world_us: int
    sequence: int


# The events that are due, in order, and the wall clock (µs) at which to look again; None: when the configuration changes.
Due = Callable[[], tuple[list[Announcement], int | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Announcer:
    """What a service publishes: its name, the number of its source, and what is due now."""

    service: str
    source: int
    due: Due

    async def run(self, world: LiveWorld) -> None:
        """Until cancelled, while there is a bus. A bus that is away is waited for."""
        with contextlib.suppress(DrainingError):
            while True:
                await self._with_bus(world)
        # The process drains, and cancels this.
        await asyncio.Event().wait()

    async def _with_bus(self, world: LiveWorld) -> None:
        """Publish until the bus of the configuration is another one, or fails."""
        bus = world.config.bus
        if bus is None:
            await world.wait_for_change(None)
            return
        try:
            async with self._publisher(world, bus) as publish:
                await self._announce(world, bus, publish)
        except (BusError, ValueError) as error:
            _LOG.warning("no events are published, for %d s: %s", _PAUSE_SECONDS, error)
            await asyncio.sleep(_PAUSE_SECONDS)

    @contextlib.asynccontextmanager
    async def _publisher(self, world: LiveWorld, bus: BusConfig) -> AsyncIterator["Publish"]:
        config = world.config
        named = subjects.world(config.namespace, config.world, bus.world, bus.knowledge_base)
        file = os.environ.get(BUS_TOKEN_ENVIRONMENT)
        login = None
        if file:
            authority = Path(os.environ.get(CONFIG_ENVIRONMENT, "")).with_name(BUS_CA_KEY)
            login = WorldToken(file=Path(file), authority=authority, insecure=True)
        async with (
            NatsLog(f"nats://{bus.endpoint}", name=self.service, login=login) as log,
            Publisher(log, TYPES, self.service, self.source, metrics=of_process()) as publisher,
        ):

            async def publish(given: Announcement) -> None:
                await publisher.publish(
                    named, given.message, world_us=given.world_us, sequence=given.sequence
                )

            yield publish

    async def _announce(self, world: LiveWorld, bus: BusConfig, publish: "Publish") -> None:
        """Until the bus is another one."""
        last = 0
        while world.config.bus == bus:
            found, until = self.due()
            for each in found:
                if each.sequence > last:
                    await publish(each)
                    last = each.sequence
            await asyncio.sleep(_LEAST_SECONDS)
            await world.wait_for_change(until)


Publish = Callable[[Announcement], Awaitable[None]]
TYPES = Types([events_pb2])
