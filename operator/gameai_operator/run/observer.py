"""asyncio: what a process knows of the cluster: it discovers, lists, watches and compares, and writes nothing.

A process constructs exactly one: metrics and the client's trust are registered by it. What the process does with the
keys in `queue` is its own affair.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Mapping

from gameai_operator import telemetry
from gameai_operator.api import crd
from gameai_operator.cluster.client import Client
from gameai_operator.cluster.credentials import credentials
from gameai_operator.cluster.probe import Probe
from gameai_operator.cluster.sync import Discovery, Lists, jittered, patiently
from gameai_operator.cluster.watch import Watch
from gameai_operator.controller.cache import Cache
from gameai_operator.controller.errors import ApiError
from gameai_operator.controller.event_handler import EventHandler
from gameai_operator.controller.foreign_reads import ForeignReads
from gameai_operator.controller.kind import Absence, Kind, Watched
from gameai_operator.controller.manifest import Resource
from gameai_operator.controller.object_metrics import ObjectMetrics
from gameai_operator.controller.references import References
from gameai_operator.controller.workqueue import Workqueue
from gameai_operator.settings import Settings

_LOG = logging.getLogger(__name__)
_SETTLE_SECONDS = 3.0
# How soon another project is noticed that was installed later.
_OPTIONAL_SECONDS = 15.0


def _nothing() -> None:
    """The default of `on_optional`."""


class Observer:
    """Keeps `cache` equal to the cluster, and enqueues the roots of what changed.

    `filled` is set once everything was listed. `kinds` are the roots to observe, `watched` what belongs to them. One
    of several processes has metrics of each object (`shows_objects`). `on_optional` is called when a kind of another project
    was installed or removed.
    """

    def __init__(
        self,
        settings: Settings,
        client: Client,
        kinds: Mapping[str, Kind],
        watched: Mapping[str, Watched],
        selector: str,
        *,
        shows_objects: bool = True,
        on_optional: Callable[[], None] = _nothing,
    ) -> None:
        self._settings = settings
        self._on_optional = on_optional
        self._roots = tuple(kind.resource for kind in kinds.values())
        self.cache = Cache()
        self.references = References()
        self.queue = Workqueue(time.monotonic)
        self.filled = asyncio.Event()
        self._due = asyncio.Event()
        metrics = ObjectMetrics()
        if shows_objects:
            telemetry.show_objects(metrics)
        self._readings = ForeignReads(
            watched, references=self.references, queue=self.queue, fetch=client.get
        )
        self.event_handler = EventHandler(
            kinds,
            watched,
            store=self.cache,
            references=self.references,
            readings=self._readings,
            queue=self.queue,
            metrics=metrics,
            clock=time.monotonic,
        )
        self._discovery = _discovery(client, settings, self._roots, watched, selector)
        self._lists = Lists(
            client,
            store=self.cache,
            event_handler=self.event_handler,
            namespaces=settings.namespaces,
            selector=selector,
            rewound=self._begin_again,
        )
        self._probe = Probe(client, self.cache, namespaces=settings.namespaces, selector=selector)
        self._watch = Watch(
            lambda: credentials(settings),
            namespaces=settings.namespaces,
            selector=selector,
            see=self.event_handler.on_upsert,
            lose=self.event_handler.on_delete,
            relisted=self._due.set,
        )
        # The watch has connections of its own, under the authorities of its start.
        client.on_new_trust = self._watch.restart

    @property
    def outdated(self) -> bool:
        """Whether the cluster's CRDs are of an older release than this process."""
        return bool(self._discovery.outdated)

    def writable(self, kind: str) -> bool:
        """Whether objects of a kind can be written: those of another project only where it is installed."""
        return kind not in self._discovery.absent

    def absence(self, kind: str) -> Absence | None:
        """Why a kind of another project is not used; None where it is."""
        return self._discovery.absent.get(kind)

    @property
    def faults(self) -> list[str]:
        """Why what is known is not complete: kinds not served, or objects not listed yet."""
        listed = [] if self.filled.is_set() else ["the initial list is not complete yet"]
        return [*self._discovery.faults, *listed]

    @property
    def notes(self) -> list[str]:
        """What may not be read, and does not hinder the rest."""
        return list(self._lists.faults)

    def parts(self) -> Mapping[str, Coroutine[None, None, None]]:
        """What has to run until the process ends, by name."""
        return {
            "watch": self._follow(),
            "resync": self._compare(),
            "probe": self._look_for_gaps(),
            "readings": self._readings.run(),
        }

    async def relist_roots(self) -> None:
        """List the roots once more: the watch may not have delivered a deletion yet."""
        await patiently("listing", self._list_roots, seconds=1.0)

    async def _list_roots(self) -> None:
        # What is served may change between two tries.
        await self._lists.resync([each for each in self._roots if each in self._discovery.served])

    def _begin_again(self) -> None:
        """The watch waits for versions that will not come for a long time; other kinds are to be compared too."""
        self._watch.restart()
        self._due.set()

    async def _follow(self) -> None:
        """Find out what is served, list it, watch it; take up kinds that come later."""
        await self._look()
        await patiently("listing", self._prefill, seconds=1.0)
        self.filled.set()
        watching = asyncio.create_task(self._watch.run(self._served, self._due.set))
        looked = time.monotonic()
        try:
            while not watching.done():
                await asyncio.wait({watching}, timeout=self._settings.discovery_seconds)
                due = time.monotonic() - looked > _OPTIONAL_SECONDS
                looked = time.monotonic() if due else looked
                if not self._discovery.complete or (due and await self._appeared()):
                    await self._look()
                    self._rewatch()
            watching.result()
        finally:
            watching.cancel()

    def _rewatch(self) -> None:
        """Restart the watch if it does not watch what is served now."""
        if set(self._watch.watching) != set(self._discovery.served):
            self._watch.restart()

    async def _served(self) -> tuple[Resource, ...]:
        """What is served now; called before each start of the watch, which would never see the other kinds."""
        await self._look()
        return self._discovery.served

    async def _look(self) -> None:
        await patiently("discovery", self._discover, seconds=1.0)

    async def _discover(self) -> None:
        before = dict(self._discovery.absent)
        await self._discovery.look()
        if before != self._discovery.absent:
            self._on_optional()

    async def _appeared(self) -> bool:
        try:
            return await self._discovery.appeared()
        except ApiError:
            return False

    async def _prefill(self) -> None:
        try:
            await self._list_all()
        except ApiError:
            # What is served may have changed: a kind that is gone cannot be listed.
            await self._discover()
            raise

    async def _list_all(self) -> None:
        """List every kind that is served; one of another project is not waited for."""
        served, optional = self._discovery.served, self._discovery.optional
        await self._lists.prefill([each for each in served if each not in optional])
        for resource in served:
            if resource in optional:
                try:
                    await self._lists.prefill([resource])
                except ApiError as error:
                    _LOG.warning("%s were not listed yet: %s", resource.plural, error)
                    self._due.set()

    async def _compare(self) -> None:
        """Compare with a LIST at intervals, and soon after each start of the watch, whose own LIST drops no ghosts."""
        await self.filled.wait()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(jittered(self._settings.resync_seconds)):
                    await self._due.wait()
                    await asyncio.sleep(_SETTLE_SECONDS)
            self._due.clear()
            try:
                await self._discover()
                await self._lists.resync(self._discovery.served)
            except ApiError as error:
                _LOG.warning("the comparison with a LIST failed: %s", error)
            self._rewatch()

    async def _look_for_gaps(self) -> None:
        """Have everything compared as soon as a cheap look finds that events were missed."""
        await self.filled.wait()
        while True:
            await asyncio.sleep(jittered(self._settings.probe_seconds))
            reason = await self._probe.missed(self._discovery.served)
            if reason:
                _LOG.warning("events were missed (%s): comparing all objects", reason)
                self._due.set()


def _discovery(
    client: Client,
    settings: Settings,
    roots: tuple[Resource, ...],
    watched: Mapping[str, Watched],
    selector: str,
) -> Discovery:
    return Discovery(
        client,
        (*roots, *(each.resource for each in watched.values())),
        crd.DEFINITIONS,
        optional={e.resource: e.supported for e in watched.values() if e.supported is not None},
        namespaces=settings.namespaces,
        selector=selector,
    )
