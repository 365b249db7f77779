"""EDGE: one connection to the brokers, on which streams and consumers of worlds are declared, and dead letters are given out."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from time import monotonic

from gameai.bus import subjects
from gameai.bus.admin import NatsAdmin
from gameai.bus.log import BusError
from gameai.bus.login import Password
from gameai.bus.streams import LOG, ORDERS, ConsumerUse, Durable, Stream
from gameai.bus_controller.consumers import Changes, changes, wanted
from gameai.bus_controller.grants import Grant
from gameai.bus_controller.letters import Letters
from gameai.bus_controller.metrics import ControllerMetrics

_LOG = logging.getLogger(__name__)
# The user of the servers' own configuration that may do everything.
STREAMS_USER = "streams"
_QUEUE = "gameai-bus-controller"
_RETRY_SECONDS = 1.0
# Between two comparisons with what is declared; worlds are looked at more often.
_COMPARE_SECONDS, _LOOK_SECONDS = 10.0, 0.2
# A consumer that no world wants is removed after this time, with its position.
UNWANTED_SECONDS = 600.0

# Whether a world still has a service that uses a consumer of this name, as the API server says now. Raises an error where
# it does not say.
IsUsed = Callable[[str, str], Awaitable[bool]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """What is declared: the streams, and so many copies of each. `is_used` confirms that a consumer is not wanted."""

    url: str
    streams: tuple[Stream, ...]
    replicas: int
    granted: Callable[[], Iterable[Grant]]
    is_used: IsUsed
    unwanted_seconds: float = UNWANTED_SECONDS


@dataclass(slots=True)
class _Seen:
    """The consumers of worlds as the brokers had them; `granted` is what was last declared."""

    present: list[ConsumerUse] = field(default_factory=list)
    granted: Iterable[Grant] | None = None
    unwanted: dict[str, float] = field(default_factory=dict)


class Declaring:
    """Declares, and compares with what is declared from time to time. `fault` says what is not as declared."""

    def __init__(self, declared: Declared, metrics: ControllerMetrics) -> None:
        self._declared, self._metrics = declared, metrics
        self._seen = _Seen()
        self.fault = "the streams were not declared yet"

    async def run(self, password: str) -> None:
        """Until cancelled."""
        login = Password(user=STREAMS_USER, password=password)
        while True:
            try:
                async with NatsAdmin(self._declared.url, name="gameai-streams", login=login) as log:
                    await log.serve(f"{subjects.LETTERS}.>", _QUEUE, Letters(log).answer)
                    await self._compare(log)
            except BusError as error:
                self.fault = str(error)
                _LOG.warning("streams and consumers are not as declared: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _compare(self, log: NatsAdmin) -> None:
        while True:
            await self._declare_streams(log)
            self._seen.present = [
                each
                for stream in (LOG, ORDERS)
                for each in await log.consumers(stream)
                if each.world
            ]
            self._seen.granted = None
            end = monotonic() + _COMPARE_SECONDS
            while monotonic() < end:
                await self._declare_consumers(log)
                self.fault = ""
                await asyncio.sleep(_LOOK_SECONDS)

    async def _declare_streams(self, log: NatsAdmin) -> None:
        used = await log.declare(self._declared.streams, replicas=self._declared.replicas)
        for each in used:
            self._metrics.bytes.labels(each.name).set(each.bytes)
            self._metrics.most_bytes.labels(each.name).set(each.most_bytes)
            self._metrics.messages.labels(each.name).set(each.messages)
            self._metrics.consumers.labels(each.name).set(each.consumers)

    async def _declare_consumers(self, log: NatsAdmin) -> None:
        """Create and change those of new and changed worlds at once, and remove those that were unwanted for a while."""
        granted = self._declared.granted()
        if granted is self._seen.granted:
            return
        groups = wanted(granted)
        found = changes(groups, self._seen.present)
        for new, durables in ((True, found.create), (False, found.change)):
            for each in durables:
                await log.declare_consumer(each, new=new)
                self._declare(each)
        await self._remove(log, found)
        self._seen.granted = granted
        self._report(found)

    def _declare(self, durable: Durable) -> None:
        """Remember a consumer that was just declared."""
        key = (durable.stream.name, durable.name)
        rest = [each for each in self._seen.present if (each.stream, each.name) != key]
        self._seen.present = [
            *rest,
            ConsumerUse(
                name=durable.name,
                stream=durable.stream.name,
                filters=tuple(sorted(durable.filters)),
                world=durable.world,
                pending=0,
            ),
        ]

    async def _remove(self, log: NatsAdmin, found: Changes) -> None:
        """What no world has wanted for a while, if the API server says so too: a watch may be late."""
        now, before = monotonic(), self._seen.unwanted
        self._seen.unwanted = {each.name: before.get(each.name, now) for each in found.unwanted}
        for each in found.unwanted:
            if now - self._seen.unwanted[each.name] < self._declared.unwanted_seconds:
                continue
            if await self._declared.is_used(each.world, each.name):
                continue
            await log.remove_consumer(each)
            self._seen.present.remove(each)
            _LOG.info("removed the consumer %s of world %s", each.name, each.world)

    def _report(self, found: Changes) -> None:
        for each in found.refused:
            _LOG.warning(
                "the consumer of service %s in world %s/%s exceeds a limit and is not created",
                *(each.consumer, each.world.namespace, each.world.name),
            )
        self._metrics.refused_consumers.set(len(found.refused))
        self._metrics.pending.clear()
        for use in self._seen.present:
            if use.stream == LOG.name:
                namespace, _, world = use.world.partition("/")
                service = use.name.rpartition("_")[2]
                self._metrics.pending.labels(namespace, world, service).set(use.pending)
