"""EDGE: one run of the gateway: where its view and its keys come from, serving, draining."""

import asyncio
import contextlib
import functools
import gc
import json
import logging
import signal
import sys
from collections import defaultdict
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
from gameai_contract import names
from grpc import aio
from jwt import PyJWTError
from prometheus_client import REGISTRY
from prometheus_client.core import Metric

from gameai.gateway.counts import Counts, gauge
from gameai.gateway.desk import Desk
from gameai.gateway.discovery import Discovery, Scope, follow_keys
from gameai.gateway.identity import AUDIENCE, MOST_HOURS, Anybody, Identity, Tokens
from gameai.gateway.laptop import ViewError, parse
from gameai.gateway.players import Players
from gameai.gateway.service import NAME, InferenceService
from gameai.gateway.view import View
from gameai.gateway.watch import Server
from gameai.serving import draining, following
from gameai.serving.grpc_health import GrpcHealth
from gameai.serving.health import serve as serve_health

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 1.0
_LOOK_SECONDS = 0.05
# A question has at most 65,536 characters and 64 fields: 0.4 MiB. What waits for its end is held by gRPC, not counted here.
_MOST_FRAME_BYTES = 1 << 20
_OPTIONS = (
    ("grpc.max_receive_message_length", _MOST_FRAME_BYTES),
    # Streams go on after their connection's GOAWAY: no stream lives longer than the grace.
    ("grpc.max_connection_age_ms", int(draining.CONNECTION_SECONDS * 1000)),
    ("grpc.max_connection_age_grace_ms", 400_000),
    ("grpc.max_concurrent_streams", 400),
    # Clients ask an idle connection every 20 s whether it lives; gRPC's own limit is 5 minutes.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.so_reuseport", 0),
    # What gRPC holds of a stream before the gateway asks for it: without these it grows to megabytes, for each stream.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 64 << 10),
)
_MOST_CALLS = 2000
_BAD_KEYS = (OSError, ValueError, TypeError, AttributeError, PyJWTError)


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


async def run(listening: Listening, sources: Sources) -> None:
    """Serve until SIGTERM. Raises `StartError` and `ViewError`."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    process = Process(sources)
    server, port = _server(listening, process.service)
    checks = GrpcHealth(server, NAME, streams=False)

    def ready() -> str:
        return "draining" if stop.is_set() else process.fault

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
    tasks = [loop.create_task(each) for each in (*process.parts(), _say_ready(checks, process))]
    try:
        done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        _raise(done - {stopping})
        await _drain(server, process.service, checks, listening.drain_seconds)
    finally:
        for task in (stopping, *tasks):
            task.cancel()
        await asyncio.gather(stopping, *tasks, return_exceptions=True)
        REGISTRY.unregister(process.counts)
        await runner.cleanup()


def _raise(ended: set[asyncio.Task[Any]]) -> None:
    """A part that ended can only have failed: without it the gateway would go blind in silence."""
    for task in ended:
        error = task.exception()
        _LOG.error("a part of the gateway ended; this is a bug", exc_info=error)
        raise StartError(f"a part of the gateway ended: {error!r}") from error


class Process:
    """The parts of a run."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self.counts, self._players = Counts(), Players()
        view = View() if sources.view is None else read_view(sources.view)
        self._desk = Desk(view, self.counts)
        self._discovery = None
        if sources.server is not None:
            self._discovery = Discovery(
                sources.server, sources.scope, self.counts, functools.partial(_take, self._desk)
            )
        self._identity = _identity(sources)
        self.service = InferenceService(
            self._desk, self._identity, self._players, lambda: self.fault
        )
        self._register()

    @property
    def fault(self) -> str:
        """Why nobody should call yet; empty once all is known."""
        if self._discovery is not None and self._discovery.blind:
            return self._discovery.blind
        if isinstance(self._identity, Tokens) and not self._identity.ready:
            return "the keys of ServiceAccount tokens are not known yet"
        return ""

    def parts(self) -> list[Coroutine[Any, Any, None]]:
        """What runs for ever beside the server."""
        sources = self._sources
        found: list[Coroutine[Any, Any, None]] = [self._desk.look()]
        if self._discovery is not None:
            found.append(self._discovery.run())
        if sources.view is not None:
            found.append(follow_view(sources.view, self._desk))
        if isinstance(self._identity, Tokens):
            if sources.keys is not None:
                found.append(follow_key_file(sources.keys, sources.issuer, self._identity))
            elif sources.server is not None:
                found.append(follow_keys(sources.server, self._identity))
        return found

    def _register(self) -> None:
        """Counts and present values to /metrics."""
        inner = self.counts.gauges

        def gauges() -> list[Metric]:
            streams = [((), float(self.service.streams))]
            return [
                *inner(),
                gauge("gameai_gateway_streams", "Streams of game servers.", (), streams),
                player_gauge(self._players.worlds(monotonic()), self.counts),
                *(self._discovery.gauges() if self._discovery else ()),
            ]

        self.counts.gauges = gauges
        REGISTRY.register(self.counts)


def player_gauge(worlds: Mapping[str, tuple[int, int]], counts: Counts) -> Metric:
    """Players online and in lobbies; worlds that have no label of their own are summed."""
    told: dict[tuple[str, str], float] = defaultdict(float)
    for key, pair in worlds.items():
        for state, count in zip(("online", "lobby"), pair, strict=True):
            told[counts.world(key), state] += count
    text = "Players, where a fresh report tells of them."
    return gauge("gameai_gateway_players", text, ("world", "state"), told.items())


def _take(desk: Desk, found: View) -> None:
    if found != desk.view:
        desk.counts.events["view taken",] += 1
        _LOG.info("a new view was taken up")
        desk.take(found)


async def follow_view(path: Path, desk: Desk) -> None:
    """Take up every new content of the file and its archetypes, for ever; a bad one leaves what was there."""

    def refused(error: Exception) -> None:
        desk.counts.events["view refused",] += 1
        _LOG.error("the view stays as it was: %s", error)

    await following.follow(
        lambda: read_view(path),
        functools.partial(_take, desk),
        refused,
        errors=(ViewError,),
        seconds=_POLL_SECONDS,
    )


async def _say_ready(checks: GrpcHealth, process: Process) -> None:
    """Say so once it serves, then wait for ever."""
    while process.fault:  # noqa: ASYNC110 - many things together make it so
        await asyncio.sleep(_LOOK_SECONDS)
    await checks.say(serving=True)
    await asyncio.Event().wait()


async def _drain(
    server: aio.Server, service: InferenceService, checks: GrpcHealth, seconds: float
) -> None:
    """Every stream is told; those that are there keep being answered until their clients close them."""
    _LOG.info("draining")
    await checks.say(serving=False)
    service.drain()
    end = monotonic() + seconds
    await draining.quiet(lambda: service.heard, seconds, busy=lambda: service.streams > 0)
    await server.stop(max(0.0, end - monotonic()))


def read_view(path: Path) -> View:
    """The view of a file. Raises `ViewError`."""
    try:
        return parse(path.read_text(), lambda name: (path.parent / name).read_text())
    except (OSError, UnicodeError) as error:
        raise ViewError(f"{path}: {error}") from error


async def follow_key_file(path: Path, issuer: str, tokens: Tokens) -> None:
    """Take up every new content of the file of keys, for ever; a bad one leaves those that were there."""
    seen = ""

    def take(text: str) -> None:
        nonlocal seen
        if text != seen:
            tokens.take(issuer, json.loads(text))
            seen = text

    def refused(error: Exception) -> None:
        _LOG.error("the keys stay as they were: %s: %s", path, error)

    await following.follow(path.read_text, take, refused, errors=_BAD_KEYS, seconds=_POLL_SECONDS)


def _identity(sources: Sources) -> Identity:
    if not sources.identity:
        _LOG.warning("IDENTITY IS SWITCHED OFF: whoever reaches this port speaks for every world")
        return Anybody()
    tokens = Tokens(sources.audience, sources.token_hours)
    if sources.keys is not None:
        try:
            tokens.take(sources.issuer, json.loads(sources.keys.read_text()))
        except _BAD_KEYS as error:
            raise StartError(f"{sources.keys} is no JSON Web Key Set: {error}") from error
    return tokens


def _server(listening: Listening, service: InferenceService) -> tuple[aio.Server, int]:
    server = aio.server(options=_OPTIONS, maximum_concurrent_rpcs=_MOST_CALLS)
    service.add_to(server)
    address = names.listening(listening.address, listening.port)
    if listening.certificate is None or listening.key is None:
        return server, server.add_insecure_port(address)
    pair = _Pair(listening.certificate, listening.key)
    try:
        first = pair.read()
    except OSError as error:
        raise StartError(f"{error.filename}: {error.strerror}") from error
    credentials = grpc.dynamic_ssl_server_credentials(first, pair.renewed)
    return server, server.add_secure_port(address, credentials)


class _Pair:
    """A certificate and its key, which are replaced while the gateway runs."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate, self._key = certificate, key
        self._seen: tuple[bytes, bytes] = (b"", b"")

    def read(self) -> grpc.ServerCertificateConfiguration:
        """What the files hold. Raises `OSError`."""
        self._seen = self._key.read_bytes(), self._certificate.read_bytes()
        return grpc.ssl_server_certificate_configuration([self._seen])

    def renewed(self) -> Any:
        """Asked at each new connection: what the files hold, if it is new; else None."""
        before = self._seen
        with contextlib.suppress(OSError):
            found = self.read()
            return None if self._seen == before else found
        return None
