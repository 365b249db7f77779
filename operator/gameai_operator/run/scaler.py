"""EDGE: the scaler: it observes tiers and worlds, reads gateways, and owns the scaling part of a tier's status."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gameai_operator.cluster.client import Client
from gameai_operator.cluster.lease import Elector, WriteGate
from gameai_operator.controller.events import Recorder
from gameai_operator.controller.kind import Kind
from gameai_operator.controller.manifest import Key
from gameai_operator.keda.server import serve
from gameai_operator.kinds import MANAGED_SELECTOR, WATCHED, kinds
from gameai_operator.run.heartbeat import Heartbeat
from gameai_operator.run.leadership import Leadership
from gameai_operator.run.observer import Observer
from gameai_operator.run.process import now, together
from gameai_operator.scaling.agents import FAMILY, SERIES
from gameai_operator.scaling.collector import Collector, Source, measure
from gameai_operator.scaling.estimates import Estimates
from gameai_operator.scaling.exposition import GATEWAY, GATEWAY_FAMILY, reader
from gameai_operator.scaling.gpus import UTILISATION, Gpus
from gameai_operator.scaling.player_gauges import PlayerGauges
from gameai_operator.scaling.recommendations import Recommendations
from gameai_operator.scaling.scaler import Scaler as Decider
from gameai_operator.scaling.tier_agents import TierAgents
from gameai_operator.settings import ScalerSettings, Settings


class Scaler:
    """What decides on numbers of replicas, for as long as it leads."""

    def __init__(self, settings: Settings, client: Client, gate: WriteGate) -> None:
        known = kinds(settings)
        roots = {each: _alone(known[each]) for each in ("ModelTier", "GameWorld")}
        watched = {
            **{each: WATCHED[each] for each in ("ScaledObject", "Namespace", "Pod")},
        }
        self._observer = Observer(
            settings, client, roots, watched, MANAGED_SELECTOR, shows_objects=False
        )
        self._settings = settings
        self._recommendations = Recommendations()
        elector = Elector(client, settings.lease, gate, lambda: not self._observer.outdated)
        self._leadership = Leadership(elector, self._observer.filled)
        self._recorder = Recorder(client.create_event)
        self._heartbeat = Heartbeat()
        estimates = Estimates()
        gpus = Gpus()
        gauges = PlayerGauges(self._observer.cache)
        agents = TierAgents(self._observer.cache, settings.scaler.agent_port, measure)
        self._collector = Collector(
            _sources(settings.scaler, estimates, gpus, agents, gauges),
            clock=time.monotonic,
            seconds=settings.scaler.seconds,
        )
        self._decider = Decider(
            roots["ModelTier"].resource,
            self._observer.cache,
            estimates,
            gpus,
            agents,
            gauges,
            recommendations=self._recommendations,
            absence=self._observer.absence,
            labels=self._labels,
            cluster=client,
            recorder=self._recorder,
            now=now,
            clock=time.monotonic,
            seconds=settings.scaler.seconds,
        )

    def live_faults(self) -> list[str]:
        """What only a restart can cure."""
        return [*self._heartbeat.faults(), *self._leadership.faults()]

    def ready_faults(self) -> list[str]:
        """Why it is not yet of use."""
        return self._observer.faults

    def notes(self) -> list[str]:
        """What may not be read."""
        return self._observer.notes

    async def run(self, stop: asyncio.Event) -> int:
        """Everything at once; the first part that ends ends the run. A standby scrapes too, so that it knows at once."""
        parts = {
            "election": self._leadership.run(self._lead),
            **self._observer.parts(),
            "scrapes": self._collector.run(),
            "decisions": self._decide(),
            "KEDA": serve(self._settings, self._recommendations, time.monotonic),
            "events": self._recorder.run(),
            "lag": self._heartbeat.run(),
        }
        ended = await together(parts, stop)
        await self._leadership.release()
        return ended

    def _labels(self, namespace: str) -> Mapping[str, str] | None:
        """The labels of a namespace; None where they may not be read."""
        found: Mapping[str, str] | None = self._observer.references.shown(
            Key("Namespace", "", namespace)
        )
        return found

    async def _decide(self) -> None:
        await self._observer.filled.wait()
        await self._decider.run()

    async def _lead(self) -> None:
        await self._observer.relist_roots()
        await self._decider.lead()


def _sources(
    settings: ScalerSettings,
    estimates: Estimates,
    gpus: Gpus,
    agents: TierAgents,
    gauges: PlayerGauges,
) -> tuple[Source, ...]:
    gateways = Source(
        name="gateway",
        targets=lambda: settings.gateways,
        read=reader(GATEWAY, GATEWAY_FAMILY),
        listed=estimates.gateways,
        take=estimates.take,
    )
    exporters = Source(
        name="GPU exporter",
        targets=lambda: settings.gpu_metrics,
        # A node without GPUs has no such metric.
        read=reader((UTILISATION,)),
        listed=gpus.listed,
        take=gpus.take,
    )
    sidecars = Source(
        name="tier agent",
        targets=agents.targets,
        read=reader(SERIES, FAMILY),
        listed=agents.store.listed,
        take=agents.store.take,
        # Pods of tenants serve them.
        most_bytes=64 << 10,
        at_once=128,
        of_tenants=True,
    )
    counters = Source(
        name="player gauge",
        targets=gauges.targets,
        read=gauges.read,
        listed=gauges.listed,
        take=gauges.take,
        most_bytes=256 << 10,
        at_once=64,
        of_tenants=True,
        # A count is stale after a minute: a page is tried again before that.
        most_doublings=3,
        sized=False,
    )
    return gateways, exporters, sidecars, counters


def _alone(kind: Kind) -> Kind:
    """A kind as far as its objects go: what they refer to is read by the operator."""
    return replace(kind, refers=_nothing)


def _nothing(_: Mapping[str, Any]) -> tuple[Key, ...]:
    return ()
