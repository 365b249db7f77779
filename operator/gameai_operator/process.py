"""EDGE: one run of the operator: everything is made here once, started in order, and stopped on a signal."""

import asyncio
import contextlib
import datetime
import logging
import signal
import time
from collections.abc import Callable

from gameai_operator import telemetry
from gameai_operator.api import crd
from gameai_operator.authority import Authority
from gameai_operator.cluster.claims import LeaseClaims
from gameai_operator.cluster.client import Client, CredentialsError, configuration, credentials
from gameai_operator.cluster.lease import Elector, WriteGate
from gameai_operator.cluster.probe import Probe
from gameai_operator.cluster.sync import Discovery, Lists, jittered, patiently
from gameai_operator.cluster.watch import Watch
from gameai_operator.controller.cache import Cache
from gameai_operator.controller.errors import ApiError
from gameai_operator.controller.event_handler import EventHandler
from gameai_operator.controller.events import Recorder
from gameai_operator.controller.foreign_reads import ForeignReads
from gameai_operator.controller.manifest import Resource
from gameai_operator.controller.object_metrics import ObjectMetrics
from gameai_operator.controller.reconciler import Reconciler
from gameai_operator.controller.references import References
from gameai_operator.controller.repairs import Repairs
from gameai_operator.controller.rollout_slots import RolloutSlots
from gameai_operator.controller.workers import Controller
from gameai_operator.controller.workqueue import Priority, Workqueue
from gameai_operator.http.server import application, serve
from gameai_operator.kinds import MANAGED_SELECTOR, WATCHED, kinds
from gameai_operator.settings import Settings

_LOG = logging.getLogger(__name__)
_CREDENTIALS_SECONDS = 5.0
_LAG_SECONDS = 0.5
_SETTLE_SECONDS = 3.0
_MOST_LAG_SECONDS = 10.0


async def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; 0 then, 1 when something that must run has ended."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    gate = WriteGate()
    client = await _connect(settings, gate, stop)
    if client is None:
        return 0
    process = Process(settings, client, gate)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(client.close)
        app = application(process.live_faults, process.ready_faults, process.notes)
        runner = await serve(app, settings.health_address, settings.health_port)
        stack.push_async_callback(runner.cleanup)
        _LOG.info("serving health and metrics on %s", runner.addresses)
        return await process.run(stop)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)  # noqa: TID251 - the clock that others are handed


async def _connect(settings: Settings, gate: WriteGate, stop: asyncio.Event) -> Client | None:
    """A client, as soon as there are credentials; None if a stop was requested before."""
    while not stop.is_set():
        try:
            return Client(settings, await configuration(settings), gate)
        except CredentialsError as error:
            _LOG.error("%s; trying on", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _CREDENTIALS_SECONDS)
    return None


class Process:
    """The parts of a run and how they hang together."""

    def __init__(self, settings: Settings, client: Client, gate: WriteGate) -> None:
        self._settings = settings
        self._authority = Authority(settings.gateway.ca_file)
        self._kinds = kinds(settings, lambda: self._authority.text)
        roots = [kind.resource for kind in self._kinds.values()]
        self._resources = (*roots, *(each.resource for each in WATCHED.values()))
        self._roots = tuple(roots)
        self._store = Cache()
        self._references = References()
        self._queue = Workqueue(time.monotonic)
        self._metrics = ObjectMetrics()
        telemetry.show_objects(self._metrics)
        self._readings = ForeignReads(
            WATCHED, references=self._references, queue=self._queue, fetch=client.get
        )
        self._event_handler = EventHandler(
            self._kinds,
            WATCHED,
            store=self._store,
            references=self._references,
            readings=self._readings,
            queue=self._queue,
            metrics=self._metrics,
            clock=time.monotonic,
        )
        self._discovery = Discovery(client, self._resources, crd.DEFINITIONS)
        self._lists = Lists(
            client,
            store=self._store,
            event_handler=self._event_handler,
            namespaces=settings.namespaces,
            selector=MANAGED_SELECTOR,
            rewound=self._begin_again,
        )
        self._probe = Probe(
            client, self._store, namespaces=settings.namespaces, selector=MANAGED_SELECTOR
        )
        self._elector = Elector(client, settings.lease, gate, self._may_lead)
        self._recorder = Recorder(client.create_event)
        self._reconciler = self._make_reconciler(client)
        self._controller = Controller(self._queue, self._reconciler, workers=settings.workers)
        self._watch = Watch(
            lambda: credentials(settings),
            namespaces=settings.namespaces,
            selector=MANAGED_SELECTOR,
            see=self._event_handler.on_upsert,
            lose=self._event_handler.on_delete,
            relisted=self._compare_soon,
        )
        # The watch has connections of its own, under the authorities of its start.
        client.on_new_trust = self._watch.restart
        self._filled = asyncio.Event()
        self._due = asyncio.Event()
        self._electing: asyncio.Task[None] | None = None
        self._beat = time.monotonic()

    def _make_reconciler(self, client: Client) -> Reconciler:
        lease = self._settings.lease
        own = f"{lease.namespace}/{lease.name}"
        return Reconciler(
            self._kinds,
            WATCHED,
            store=self._store,
            references=self._references,
            slots={name: RolloutSlots(self._pace(name)) for name in self._kinds},
            event_handler=self._event_handler,
            cluster=client,
            claims=LeaseClaims(client, own, time.monotonic),
            recorder=self._recorder,
            repairs=lambda: Repairs(self._settings.free_repairs),
            now=_now,
            clock=time.monotonic,
        )

    def _may_lead(self) -> bool:
        """Under CRDs of an older release a status field would be lost, and every status write with it."""
        return not self._discovery.outdated

    def _begin_again(self) -> None:
        """The watch waits for versions that will not come for a long time; other kinds are to be compared too."""
        self._watch.restart()
        self._due.set()

    def _compare_soon(self) -> None:
        self._due.set()

    def _pace(self, kind: str) -> Callable[[], int]:
        """How many objects of a kind a roll-out may reach at once, by how many there are."""
        return lambda: self._settings.worlds_at_a_time.of(len(self._store.keys(kind)))

    def live_faults(self) -> list[str]:
        """What only a restart can cure: a loop that hangs, an election that ended. Never an API error."""
        late = time.monotonic() - self._beat - _LAG_SECONDS
        faults = (
            [f"the event loop is blocked since {late:.0f} s"] if late > _MOST_LAG_SECONDS else []
        )
        ended = self._electing is not None and self._electing.done()
        return [*faults, *(["leader election ended"] if ended else [])]

    def ready_faults(self) -> list[str]:
        """Why this process is not yet of use: kinds not served, or objects not yet known."""
        objects = sum(len(self._store.keys(each)) for each in self._kinds)
        all_foreign = len(self._reconciler.foreign) >= objects
        faults = [*self._discovery.faults, *(self._stands_down() if all_foreign else [])]
        return (
            faults if self._filled.is_set() else [*faults, "the initial list is not complete yet"]
        )

    def _stands_down(self) -> list[str]:
        """Objects of another operator are left alone; this is logged until it ends."""
        foreign = self._reconciler.foreign
        if not foreign:
            return []
        key, claim = min(foreign.items())
        fault = (
            f"{len(foreign)} objects are managed by another operator and ignored, for example {key} "
            f"(Lease {claim}): uninstall one of the two, or give them different namespaces"
        )
        return [fault]

    def notes(self) -> list[str]:
        """What does not hinder the rest: namespaces that may not be read, some objects of another operator."""
        return [*self._lists.faults, *self._stands_down()]

    async def run(self, stop: asyncio.Event) -> int:
        """Everything at once; the first part that ends ends the run."""
        electing = asyncio.create_task(self._elect(), name="election")
        self._electing = electing
        tasks: list[asyncio.Task[None]] = [
            electing,
            asyncio.create_task(self._follow(), name="watch"),
            asyncio.create_task(self._compare(), name="resync"),
            asyncio.create_task(self._look_for_gaps(), name="probe"),
            asyncio.create_task(self._readings.run(), name="readings"),
            asyncio.create_task(self._recorder.run(), name="events"),
            asyncio.create_task(self._measure_lag(), name="lag"),
            asyncio.create_task(self._authority.follow(self._look_at_all), name="authority"),
        ]
        stopping = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        failed = [task for task in tasks if task.done()]
        for task in failed:
            _LOG.error("%s ended", task.get_name(), exc_info=task.exception())
        _LOG.info("stopping")
        for each in (stopping, *tasks):
            each.cancel()
        await asyncio.gather(stopping, *tasks, return_exceptions=True)
        await self._elector.release()
        return 1 if failed else 0

    async def _follow(self) -> None:
        """Find out what is served, list it, watch it; take up kinds that come later."""
        await self._look()
        await patiently("listing", self._prefill, seconds=1.0)
        self._filled.set()
        watching = asyncio.create_task(self._watch.run(self._served, self._due.set))
        try:
            while not watching.done():
                await asyncio.sleep(self._settings.discovery_seconds)
                if not self._discovery.complete:
                    await self._look()
                    self._rewatch()
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
        await patiently("discovery", self._discovery.look, seconds=1.0)

    async def _prefill(self) -> None:
        await self._lists.prefill(self._discovery.served)

    async def _compare(self) -> None:
        """Compare with a LIST at intervals, and soon after each start of the watch, whose own LIST drops no ghosts."""
        await self._filled.wait()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(jittered(self._settings.resync_seconds)):
                    await self._due.wait()
                    await asyncio.sleep(_SETTLE_SECONDS)
            self._due.clear()
            try:
                await self._discovery.look()
                await self._lists.resync(self._discovery.served)
            except ApiError as error:
                _LOG.warning("the comparison with a LIST failed: %s", error)
            self._rewatch()

    async def _look_for_gaps(self) -> None:
        """Have everything compared as soon as a cheap look finds that events were missed."""
        await self._filled.wait()
        while True:
            await asyncio.sleep(jittered(self._settings.probe_seconds))
            reason = await self._probe.missed(self._discovery.served)
            if reason:
                _LOG.warning("events were missed (%s): comparing all objects", reason)
                self._due.set()

    async def _elect(self) -> None:
        await self._filled.wait()
        await self._elector.run(self._lead)

    async def _lead(self) -> None:
        """Roots are listed once more before the first write: a standby's store may have missed a deletion."""
        await patiently("listing", self._relist_roots, seconds=1.0)
        self._reconciler.begin_term()
        self._look_at_all()
        for key in self._store.keys("Pod"):
            entry = self._store.get(key)
            if entry is not None:
                self._queue.add(entry.root, Priority.RESYNC)
        _LOG.info("the initial list is complete: %d objects", len(self._store))
        try:
            await self._controller.run()
        finally:
            # A standby manages no objects.
            self._reconciler.foreign.clear()

    def _look_at_all(self) -> None:
        for kind in self._kinds:
            for key in self._store.keys(kind):
                self._queue.add(key, Priority.RESYNC)

    async def _relist_roots(self) -> None:
        served = [each for each in self._roots if each in self._discovery.served]
        await self._lists.resync(served)

    async def _measure_lag(self) -> None:
        while True:
            await asyncio.sleep(_LAG_SECONDS)
            now = time.monotonic()
            telemetry.LOOP_LAG.set(max(0.0, now - self._beat - _LAG_SECONDS))
            self._beat = now
