"""EDGE: declares streams and consumers of worlds at the brokers."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic

from gameai.bus import subjects
from gameai.bus.admin import NatsAdmin
from gameai.bus.group import WorldGroup
from gameai.bus.log import BusError
from gameai.bus.login import Login
from gameai.bus.streams import DEAD_LETTERS, LOG, ORDERS, ConsumerUse, Durable, Stream, StreamUse
from gameai.bus_controller.consumers import (
    Changes,
    ConsumerKey,
    again,
    changes,
    own_letters,
    wanted,
)
from gameai.bus_controller.grants import Grant
from gameai.bus_controller.metrics import ControllerMetrics
from gameai.bus_controller.parked import Parked, WorldKey, observed

_LOG = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0
# Between two comparisons with what is declared; worlds are looked at more often.
_COMPARE_SECONDS, _LOOK_SECONDS = 10.0, 0.2
# Worlds with dead letters of a consumer that metrics show.
_MOST_PARKED = 1000
# After so many that cannot be declared the rest waits for the next comparison.
_MOST_FAILURES = 5
# A consumer that no world wants is removed after this time, with its position.
UNWANTED_SECONDS = 600.0

# The consumers that a world wants, by name, as the API server says now; None where it does not say.
Current = Callable[[str], Awaitable[Mapping[str, WorldGroup] | None]]
# Says in the cluster which services of each world have parked events.
Report = Callable[[Mapping[WorldKey, tuple[Parked, ...]]], Awaitable[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """What is declared: the streams, and so many copies of each. `current` confirms what a watch has seen, which may be late."""

    url: str
    streams: tuple[Stream, ...]
    replicas: int
    granted: Callable[[], Iterable[Grant]]
    current: Current
    report: Report
    unwanted_seconds: float = UNWANTED_SECONDS


@dataclass(slots=True)
class _Seen:
    """The consumers of worlds as the brokers had them; `granted` is what was last declared.

    `unwanted` says since when, `failed` and `refused` which are not declared and why they are not tried first, or at all.
    """

    present: dict[ConsumerKey, ConsumerUse] = field(default_factory=dict)
    granted: Iterable[Grant] | None = None
    unwanted: dict[str, float] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)


class Declaring:
    """Declares, and compares with what is declared from time to time. `fault` says what is not as declared."""

    def __init__(self, declared: Declared, metrics: ControllerMetrics) -> None:
        self._declared, self._metrics = declared, metrics
        self._seen = _Seen()
        self.fault = "the streams were not declared yet"

    async def run(self, login: Login) -> None:
        """Until cancelled."""
        while True:
            try:
                async with NatsAdmin(self._declared.url, name="gameai-streams", login=login) as log:
                    await self._compare(log)
            except BusError as error:
                self.fault = str(error)
                _LOG.warning("streams and consumers are not as declared: %s", error)
                self._metrics.pending.clear()
                self._metrics.dead_letters.clear()
                await asyncio.sleep(_RETRY_SECONDS)

    async def _compare(self, log: NatsAdmin) -> None:
        while True:
            fault = await self._declare_streams(log)
            self._seen.present = {
                (each.stream, each.name): each
                for stream in (LOG, ORDERS)
                for each in await log.consumers(stream)
            }
            self._seen.granted = None
            groups = wanted(self._declared.granted())
            await self._count_letters(log, groups)
            self._count_pending(groups)
            end = monotonic() + _COMPARE_SECONDS
            while monotonic() < end:
                await self._declare_consumers(log)
                self.fault = fault
                await asyncio.sleep(_LOOK_SECONDS)

    async def _declare_streams(self, log: NatsAdmin) -> str:
        """Declare all streams, and say which are not as declared: a stream whose servers are away keeps no other from it.

        Raises `BusError` if none is.
        """
        replicas = self._declared.replicas
        # Together: each that does not answer takes the whole time of a request.
        found = await asyncio.gather(
            *(log.declare_stream(each, replicas=replicas) for each in self._declared.streams),
            return_exceptions=True,
        )
        used = [each for each in found if isinstance(each, StreamUse)]
        faults = [each for each in found if isinstance(each, BaseException)]
        for fault in faults:
            if not (used and isinstance(fault, BusError)):
                raise fault
            _LOG.warning("a stream is not as declared: %s", fault)
        self._measure(used)
        return "; ".join(map(str, faults))

    def _measure(self, used: Iterable[StreamUse]) -> None:
        """What a stream that does not answer holds is not known."""
        for gauge in self._metrics.of_streams:
            gauge.clear()
        for each in used:
            self._metrics.bytes.labels(each.name).set(each.bytes)
            self._metrics.most_bytes.labels(each.name).set(each.most_bytes)
            self._metrics.messages.labels(each.name).set(each.messages)
            self._metrics.consumers.labels(each.name).set(each.consumers)

    async def _count_letters(self, log: NatsAdmin, groups: Mapping[str, WorldGroup]) -> None:
        """Count dead letters, and say which worlds have some."""
        counts = await log.counts(DEAD_LETTERS)
        self._metrics.dead_letters.clear()
        for subject in sorted(counts)[:_MOST_PARKED]:
            with contextlib.suppress(ValueError):
                of = subjects.parsed(subject)
                labels = self._metrics.dead_letters.labels(of.namespace, of.world, of.service)
                labels.inc(counts[subject])
        await self._declared.report(await observed(log, groups.values(), counts))

    async def _declare_consumers(self, log: NatsAdmin) -> None:
        """Declare those of new and changed worlds at once, and remove those that were unwanted for a while.

        One that cannot be declared keeps no other from it, and is tried again with the next comparison.
        """
        granted = self._declared.granted()
        if granted is self._seen.granted:
            return
        found = changes(wanted(granted), tuple(self._seen.present.values()))
        failures = 0
        for each in sorted(
            (*found.create, *found.change), key=lambda one: one.name in self._seen.failed
        ):
            try:
                await self._declare(log, each)
            except BusError as error:
                _LOG.warning("a consumer is not as declared: %s", error)
                self._seen.failed.add(each.name)
                failures += 1
                if failures == _MOST_FAILURES:
                    break
            else:
                self._seen.failed.discard(each.name)
        await self._remove(log, found)
        self._seen.granted = granted
        self._report(found)

    async def _declare(self, log: NatsAdmin, durable: Durable) -> None:
        """Declare a consumer, and remember it. Raises `BusError`."""
        key = (durable.stream.name, durable.name)
        before = self._seen.present.get(key)
        if before is not None:
            # What a late watch has seen would take events from a consumer that another controller has changed.
            current = await self._declared.current(durable.world)
            found = again(current or {}, before)
            if found is None:
                return
            durable = found
        if not await log.declare_consumer(durable, new=before is None):
            return
        self._seen.present[key] = ConsumerUse(
            name=durable.name,
            stream=durable.stream.name,
            world=durable.world,
            digest=durable.digest,
            pending=before.pending if before else 0,
        )

    async def _remove(self, log: NatsAdmin, found: Changes) -> None:
        """What no world has wanted for a while, if the API server says so too."""
        now, before = monotonic(), self._seen.unwanted
        self._seen.unwanted = {each.name: before.get(each.name, now) for each in found.unwanted}
        due = [
            each
            for each in found.unwanted
            if now - self._seen.unwanted[each.name] >= self._declared.unwanted_seconds
        ]
        for each in due:
            current = await self._declared.current(each.world)
            if current is None or each.name in current:
                self._seen.unwanted[each.name] = now
                continue
            await log.remove_consumer(each)
            del self._seen.present[each.stream, each.name]
            # Nothing can handle them any more, and they would keep their room.
            purged = await log.purge(DEAD_LETTERS, own_letters(each.name))
            _LOG.info(
                "removed the consumer %s of world %s, and %d dead letters",
                *(each.name, each.world, purged),
            )

    def _report(self, found: Changes) -> None:
        for each in found.refused:
            if each.name not in self._seen.refused:
                _LOG.warning(
                    "the consumer of service %s in world %s/%s exceeds a limit and is not created",
                    *(each.consumer, each.world.namespace, each.world.name),
                )
        self._seen.refused = {each.name for each in found.refused}
        self._metrics.refused_consumers.set(len(found.refused))

    def _count_pending(self, groups: Mapping[str, WorldGroup]) -> None:
        self._metrics.pending.clear()
        for each in self._seen.present.values():
            if each.stream == LOG.name and (group := groups.get(each.name)):
                of = group.world
                labels = self._metrics.pending.labels(of.namespace, of.name, group.consumer)
                labels.set(each.pending)
