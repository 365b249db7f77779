"""EDGE: one run of the gateway: where its view and its keys come from, serving, draining."""

import asyncio
import functools
import gc
import json
import logging
import signal
import sys
from collections import defaultdict
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any

from gameai_contract import names
from grpc import aio
from prometheus_client import REGISTRY
from prometheus_client.core import Metric

from gameai.bus.login import Login
from gameai.cluster.api import Server
from gameai.cluster.keys import BAD_KEYS, follow_key_file, follow_keys
from gameai.gateway.dispatch.dispatcher import Dispatcher
from gameai.gateway.jobs.connection import JobConnection
from gameai.gateway.metrics import Metrics, gauge
from gameai.gateway.routing.snapshot import View
from gameai.gateway.rpc.callers import Callers
from gameai.gateway.rpc.job_service import JobService
from gameai.gateway.rpc.players import Players
from gameai.gateway.rpc.server import new_server
from gameai.gateway.rpc.service import NAME, InferenceService
from gameai.gateway.sources.cluster import Discovery, Scope
from gameai.gateway.sources.manifests import Endpoints
from gameai.gateway.sources.view_file import ViewError, parse
from gameai.serving import draining, following
from gameai.serving.grpc_health import GrpcHealth
from gameai.serving.health import serve as serve_health
from gameai.serving.identity import AUDIENCE, MOST_HOURS, Anybody, Identity, Tokens
from gameai.serving.opening import opening

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 1.0
_LOOK_SECONDS = 0.05


class StartError(Exception):
    """It cannot start; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listening:
    """Where to listen. Port 0 takes a free one."""

    address: str
    port: int
    health_port: int
    certificate: Path | None
    key: Path | None
    drain_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Bus:
    """The address of the event bus, `nats://host:port`, and the login there; None: without one, for laptops."""

    url: str
    login: Login | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """Where tiers, worlds and keys come from: a file, or a cluster's API (`server`). Given keys stand before its own."""

    view: Path | None
    server: Server | None
    scope: Scope
    keys: Path | None
    issuer: str
    identity: bool
    audience: str = AUDIENCE
    token_hours: float = MOST_HOURS
    # Addresses of engines by tier, for a view of manifests.
    endpoints: Endpoints = field(default_factory=dict)
    # Where jobs are kept; None: no jobs are taken.
    bus: Bus | None = None


async def run(listening: Listening, sources: Sources) -> None:
    """Serve until SIGTERM. Raises `StartError`, `ViewError` and `PortError`."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    app = App(sources)
    server, port = _server(listening, app)
    checks = GrpcHealth(server, NAME, streams=False)

    def ready() -> str:
        return "draining" if stop.is_set() else app.fault

    with opening("--health-port", listening.address, listening.health_port):
        runner = await serve_health(ready, listening.address, listening.health_port)
    await server.start()
    _LOG.info("serving on port %d, health on %s", port, runner.addresses)
    sys.stdout.write(f"listening on {port} {runner.addresses[0][1]}\n")
    sys.stdout.flush()
    # What is there now stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    # Often enough that the cycles of ended streams do not add up; a look at all takes some milliseconds with a full cache.
    gc.set_threshold(50_000, 10, 5)
    stopping = loop.create_task(stop.wait())
    tasks = [loop.create_task(each) for each in (*app.parts(), _say_ready(checks, app))]
    try:
        done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        _raise(done - {stopping})
        await _drain(server, app, checks, listening.drain_seconds)
    finally:
        for task in (stopping, *tasks):
            task.cancel()
        await asyncio.gather(stopping, *tasks, return_exceptions=True)
        REGISTRY.unregister(app.metrics)
        await runner.cleanup()


def _raise(ended: set[asyncio.Task[Any]]) -> None:
    """A part that ended can only have failed: without it the gateway would go blind in silence."""
    for task in ended:
        error = task.exception()
        _LOG.error("a part of the gateway ended; this is a bug", exc_info=error)
        raise StartError(f"a part of the gateway ended: {error!r}") from error


class App:
    """The parts of a run."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self.metrics, self._players = Metrics(), Players()
        view = View() if sources.view is None else read_view(sources.view, sources.endpoints)
        self._dispatcher = Dispatcher(view, self.metrics)
        for key in sorted(key for key, tier in view.tiers.items() if not tier.endpoints):
            _LOG.warning("%s has no engine: give --endpoint %s=HOST:PORT", key, key)
        self._discovery = None
        if sources.server is not None:
            self._discovery = Discovery(
                sources.server,
                sources.scope,
                self.metrics,
                functools.partial(_take, self._dispatcher),
            )
        self._identity = _identity(sources)
        callers = Callers(self._identity, lambda: self._dispatcher.view, lambda: self.fault)
        self.service = InferenceService(self._dispatcher, callers, self._players)
        self._jobs: JobConnection | None = None
        if sources.bus is not None:
            self._jobs = JobConnection(sources.bus.url, sources.bus.login, self._dispatcher)
        self.job_service = JobService(self._dispatcher, callers, self._jobs)
        self._register()

    @property
    def fault(self) -> str:
        """Why the gateway is not ready; empty if it is."""
        if self._discovery is not None and self._discovery.blind:
            return self._discovery.blind
        if isinstance(self._identity, Tokens) and not self._identity.ready:
            return "the keys of ServiceAccount tokens are not known yet"
        return ""

    @property
    def busy(self) -> bool:
        """Whether streams are open, or jobs are being answered."""
        return self.service.streams > 0 or (self._jobs is not None and self._jobs.runner.busy)

    def drain(self) -> None:
        """Ask all streams to leave, and take no more jobs."""
        self.service.drain()
        self.job_service.drain()
        if self._jobs is not None:
            self._jobs.runner.drain()

    def parts(self) -> list[Coroutine[Any, Any, None]]:
        """What runs forever beside the server."""
        sources = self._sources
        found: list[Coroutine[Any, Any, None]] = [self._dispatcher.schedulers.look()]
        if self._discovery is not None:
            found.append(self._discovery.run())
        if sources.view is not None:
            found.append(follow_view(sources.view, self._dispatcher, sources.endpoints))
        if self._jobs is not None:
            found.append(self._jobs.run())
        if isinstance(self._identity, Tokens):
            if sources.keys is not None:
                found.append(follow_key_file(sources.keys, sources.issuer, self._identity))
            elif sources.server is not None:
                found.append(follow_keys(sources.server, self._identity))
        return found

    def _register(self) -> None:
        """Metrics and present values to /metrics."""
        inner, jobs = self.metrics.gauges, self._jobs

        def gauges() -> list[Metric]:
            return [
                *inner(),
                *(jobs.metrics.collect() if jobs else ()),
                stream_gauge(self.service.streams),
                player_gauge(self._players.worlds(monotonic()), self.metrics),
                *(self._discovery.gauges() if self._discovery else ()),
            ]

        self.metrics.gauges = gauges
        REGISTRY.register(self.metrics)


def stream_gauge(streams: int) -> Metric:
    """Open streams."""
    text = "Open streams of game servers."
    return gauge("gameai_gateway_streams", text, (), [((), float(streams))])


def player_gauge(worlds: Mapping[str, tuple[int, int]], metrics: Metrics) -> Metric:
    """Players online and in lobbies; worlds that have no label of their own are summed."""
    players: dict[tuple[str, str], float] = defaultdict(float)
    for key, pair in worlds.items():
        for state, count in zip(("online", "lobby"), pair, strict=True):
            players[metrics.world(key), state] += count
    text = "Players by the reports of the last 60 s."
    return gauge("gameai_gateway_players", text, ("world", "state"), players.items())


def _take(dispatcher: Dispatcher, found: View) -> None:
    if found != dispatcher.view:
        dispatcher.metrics.count_event("view taken")
        _LOG.info("a new view was taken up")
        dispatcher.take(found)


async def follow_view(
    path: Path, dispatcher: Dispatcher, endpoints: Endpoints = MappingProxyType({})
) -> None:
    """Take up every new content of the file and its archetypes, forever; a bad one leaves what was there."""

    def refused(error: Exception) -> None:
        dispatcher.metrics.count_event("view refused")
        _LOG.error("the view stays as it was: %s", error)

    await following.follow(
        lambda: read_view(path, endpoints),
        functools.partial(_take, dispatcher),
        refused,
        errors=(ViewError,),
        seconds=_POLL_SECONDS,
    )


async def _say_ready(checks: GrpcHealth, app: App) -> None:
    """Say so once it serves, then wait forever."""
    while app.fault:  # noqa: ASYNC110 - many things together make it so
        await asyncio.sleep(_LOOK_SECONDS)
    await checks.say(serving=True)
    await asyncio.Event().wait()


async def _drain(server: aio.Server, app: App, checks: GrpcHealth, seconds: float) -> None:
    """Ask all streams to leave. Open streams are served until their clients close them."""
    _LOG.info("draining")
    await checks.say(serving=False)
    app.drain()
    end = monotonic() + seconds
    await draining.quiet(lambda: app.service.heard, seconds, busy=lambda: app.busy)
    await server.stop(max(0.0, end - monotonic()))


def read_view(path: Path, endpoints: Endpoints = MappingProxyType({})) -> View:
    """The view of a file. Raises `ViewError`."""
    try:
        return parse(path.read_text(), lambda name: (path.parent / name).read_text(), endpoints)
    except (OSError, UnicodeError) as error:
        raise ViewError(f"{path}: {error}") from error


def _identity(sources: Sources) -> Identity:
    if not sources.identity:
        _LOG.warning(
            "IDENTITY IS SWITCHED OFF: any client that reaches this port may send requests for all worlds"
        )
        return Anybody()
    tokens = Tokens(sources.audience, sources.token_hours)
    if sources.keys is not None:
        try:
            tokens.take(sources.issuer, json.loads(sources.keys.read_text()))
        except BAD_KEYS as error:
            raise StartError(f"{sources.keys} is not a valid JSON Web Key Set: {error}") from error
    return tokens


def _server(listening: Listening, app: App) -> tuple[aio.Server, int]:
    address = names.listening(listening.address, listening.port)
    certificate, key = listening.certificate, listening.key
    pair = None if certificate is None or key is None else (certificate, key)
    try:
        return new_server((app.service, app.job_service), address, pair)
    except OSError as error:
        raise StartError(f"{error.filename}: {error.strerror}") from error
