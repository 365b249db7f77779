"""EDGE: the operator: everything it is made of, made once."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from gameai_operator.authority import Authority
from gameai_operator.cluster.claims import LeaseClaims
from gameai_operator.cluster.client import Client
from gameai_operator.cluster.lease import Elector, WriteGate
from gameai_operator.cluster.token_keys import KnownKeys
from gameai_operator.controller.events import Recorder
from gameai_operator.controller.reconciler import Reconciler
from gameai_operator.controller.repairs import Repairs
from gameai_operator.controller.rollout_slots import RolloutSlots
from gameai_operator.controller.workers import Controller
from gameai_operator.controller.workqueue import Priority
from gameai_operator.kinds import MANAGED_SELECTOR, WATCHED, kinds
from gameai_operator.run.heartbeat import Heartbeat
from gameai_operator.run.leadership import Leadership
from gameai_operator.run.observer import Observer
from gameai_operator.run.process import Part, now, together
from gameai_operator.settings import Settings
from gameai_operator.world.objects import Authorities

_LOG = logging.getLogger(__name__)


class Operator:
    """What writes children and status, for as long as it leads; the observer beside it knows the cluster."""

    def __init__(self, settings: Settings, client: Client, gate: WriteGate) -> None:
        self._settings = settings
        self._gateway_ca = Authority(settings.gateway.ca_file)
        self._bus_ca = Authority(settings.bus_ca_file)
        self._token_keys = KnownKeys(client)
        self._kinds = kinds(
            settings,
            lambda: Authorities(gateway=self._gateway_ca.text, bus=self._bus_ca.text),
            lambda: self._token_keys.keys,
        )
        self._observer = Observer(
            settings,
            client,
            self._kinds,
            WATCHED,
            MANAGED_SELECTOR,
            on_optional=self._look_at_all,
        )
        elector = Elector(client, settings.lease, gate, self._may_lead)
        self._leadership = Leadership(elector, self._observer.filled)
        self._recorder = Recorder(client.create_event)
        self._reconciler = self._make_reconciler(client)
        self._controller = Controller(
            self._observer.queue, self._reconciler, workers=settings.workers
        )
        self._heartbeat = Heartbeat()

    def _make_reconciler(self, client: Client) -> Reconciler:
        lease = self._settings.lease
        own = f"{lease.namespace}/{lease.name}"
        return Reconciler(
            self._kinds,
            WATCHED,
            store=self._observer.cache,
            references=self._observer.references,
            slots={name: RolloutSlots(self._pace(name)) for name in self._kinds},
            event_handler=self._observer.event_handler,
            cluster=client,
            claims=LeaseClaims(client, own, time.monotonic),
            recorder=self._recorder,
            repairs=lambda: Repairs(self._settings.free_repairs),
            served=self._observer.writable,
            now=now,
            clock=time.monotonic,
        )

    def _may_lead(self) -> bool:
        """Under CRDs of an older release a status field would be lost, and every status write with it."""
        return not self._observer.outdated

    def _pace(self, kind: str) -> Callable[[], int]:
        """How many objects of a kind a roll-out may reach at once, by how many there are."""
        return lambda: self._settings.worlds_at_a_time.of(len(self._observer.cache.keys(kind)))

    def live_faults(self) -> list[str]:
        """What only a restart can cure: a loop that hangs, an election that ended. Never an API error."""
        return [*self._heartbeat.faults(), *self._leadership.faults()]

    def ready_faults(self) -> list[str]:
        """Why this process is not yet of use: kinds not served, or objects not yet known."""
        objects = sum(len(self._observer.cache.keys(each)) for each in self._kinds)
        all_foreign = len(self._reconciler.foreign) >= objects
        return [*self._observer.faults, *(self._stands_down() if all_foreign else [])]

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
        return [*self._observer.notes, *self._stands_down()]

    def _parts(self) -> Mapping[str, Part]:
        """What has to run, by name."""
        return {
            **self._observer.parts(),
            "events": self._recorder.run(),
            "lag": self._heartbeat.run(),
            "gateway authority": self._gateway_ca.follow(self._look_at_all),
            "bus authority": self._bus_ca.follow(self._look_at_all),
            "token keys": self._token_keys.follow(self._look_at_all),
        }

    async def run(self, stop: asyncio.Event) -> int:
        """Everything at once; the first part that ends ends the run."""
        election = self._leadership.run(self._lead)
        ended = await together({"election": election, **self._parts()}, stop)
        await self._leadership.release()
        return ended

    async def _lead(self) -> None:
        """Roots are listed once more before the first write: a standby's cache may have missed a deletion."""
        await self._observer.relist_roots()
        self._reconciler.begin_term()
        self._look_at_all()
        cache, queue = self._observer.cache, self._observer.queue
        for key in cache.keys("Pod"):
            entry = cache.get(key)
            if entry is not None:
                queue.add(entry.root, Priority.RESYNC)
        _LOG.info("the initial list is complete: %d objects", len(cache))
        try:
            await self._controller.run()
        finally:
            # A standby manages no objects.
            self._reconciler.foreign.clear()

    def _look_at_all(self) -> None:
        for kind in self._kinds:
            for key in self._observer.cache.keys(kind):
                self._observer.queue.add(key, Priority.RESYNC)
