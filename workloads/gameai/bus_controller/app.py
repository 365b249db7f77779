"""EDGE: one run of the bus's controller: keys, worlds and the Secret from the cluster; callouts and streams at the brokers."""

import asyncio
import itertools
import logging
import signal
import sys
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from gameai_contract.names import BUS_AUDIENCE
from nats.aio.client import Client
from nats.errors import Error as NatsError

from gameai.bus.group import WorldGroup
from gameai.bus.login import encryption
from gameai.bus.nats import close
from gameai.bus.streams import Stream
from gameai.bus_controller import letters, reloading
from gameai.bus_controller.callout import Callout
from gameai.bus_controller.consumers import wanted
from gameai.bus_controller.declaring import UNWANTED_SECONDS, Declared, Declaring
from gameai.bus_controller.grants import UNREADABLE, Directory, grants
from gameai.bus_controller.metrics import ControllerMetrics
from gameai.bus_controller.parked import Parked, WorldKey, reported, seen
from gameai.bus_controller.secret import Credentials, SecretError, SecretName, credentials
from gameai.cluster.api import ApiError, Server
from gameai.cluster.keys import follow_keys
from gameai.cluster.watch import OUR_GROUP, Watched, places
from gameai.serving.background import Background
from gameai.serving.health import serve as serve_health
from gameai.serving.identity import Tokens
from gameai.serving.opening import opening

_LOG = logging.getLogger(__name__)
_CONNECT_SECONDS, _PING_SECONDS = 5, 5
_RETRY_SECONDS = 1.0
_LOOK_SECONDS = 0.1
_STOP_SECONDS = 5.0
# The user of the servers' own configuration that answers callouts.
CALLOUT_USER = "callout"
_FORBIDDEN, _NOT_FOUND = 403, 404
# A namespace that may not be read for so long is gone.
_FORBIDDEN_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Where cluster and brokers are, and what is declared to them. Port 0 takes a free one."""

    server: Server
    namespaces: tuple[str, ...]
    secret: SecretName
    url: str
    streams: tuple[Stream, ...]
    replicas: int
    token_hours: float
    address: str
    health_port: int
    unwanted_seconds: float = UNWANTED_SECONDS
    # The account of the gateways, `<namespace>/<name>`.
    gateways: str = ""
    # The certificates of the servers' authority, and the servers' own, which may be renewed; None: connections are not encrypted.
    ca_file: Path | None = None
    certificate: Path | None = None


async def run(options: Options) -> None:
    """Serve until SIGTERM. Raises `PortError`, and what ends a part of it."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    app = App(options)
    with opening("--health-port", options.address, options.health_port):
        runner = await serve_health(lambda: app.fault, options.address, options.health_port)
    _LOG.info("health on %s", runner.addresses)
    sys.stdout.write(f"listening on {runner.addresses[0][1]}\n")
    sys.stdout.flush()
    background = Background()
    for name, part in app.parts():
        background.start(name, part)
    waits = [loop.create_task(each) for each in (stop.wait(), background.ended())]
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()
    finally:
        for each in waits:
            each.cancel()
        await background.stop(_STOP_SECONDS)
        await asyncio.gather(*waits, return_exceptions=True)
        await runner.cleanup()


class App:
    """The parts of a run."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._metrics = ControllerMetrics()
        self._tokens = Tokens(BUS_AUDIENCE, options.token_hours)
        self._worlds = [
            Watched(options.server, f"{each}/worldviews", "", seen, self._changed)
            for each in places(options.namespaces)
        ]
        self._directory: Directory | None = None
        self._credentials: Credentials | None = None
        self._connected = False
        # Since when a namespace may not be read.
        self._forbidden: dict[str, float] = {}
        self._declaring = Declaring(
            Declared(
                url=options.url,
                streams=options.streams,
                replicas=options.replicas,
                granted=lambda: self._found().all,
                current=self._current,
                report=self._report,
                unwanted_seconds=options.unwanted_seconds,
            ),
            self._metrics,
        )

    @property
    def fault(self) -> str:
        """Why it is not ready; empty if it is."""
        if self._credentials is None:
            return "the Secret with the servers' credentials was not read yet"
        if not self._tokens.ready:
            return "the keys of ServiceAccount tokens are not known yet"
        if self._unlisted():
            return "the worlds were not listed yet"
        return self._declaring.fault if self._connected else "no connection to the bus"

    def parts(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        """What runs until the end."""
        watches = [("worlds", each.run(self._metrics.count_event)) for each in self._worlds]
        return [
            ("keys", follow_keys(self._options.server, self._tokens)),
            *watches,
            ("brokers", self._brokers()),
        ]

    def _changed(self) -> None:
        self._directory = None

    def _unlisted(self) -> bool:
        """A namespace that may not be listed, because it is gone, holds up no other."""
        return any(not each.synced and not each.refused for each in self._worlds)

    def _found(self) -> Directory:
        if self._directory is None:
            # What is known of a namespace that may no longer be listed is no longer true.
            listed = [each for each in self._worlds if not each.refused]
            held = itertools.chain.from_iterable(each.objects.values() for each in listed)
            self._directory = Directory(each.grants for each in held)
        return self._directory

    async def _brokers(self) -> None:
        held = self._credentials = await self._read_credentials()
        # Who is not known yet must not be refused.
        while not self._tokens.ready or self._unlisted():  # noqa: ASYNC110 - several things together
            await asyncio.sleep(_LOOK_SECONDS)
        callout = Callout(
            *(held.issuer, self._tokens, self._found, self._metrics, time.time),
            gateways=self._options.gateways,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(self._callouts(callout, held))
            login = held.login(self._options.ca_file)
            group.create_task(self._declaring.run(login))
            group.create_task(letters.serve(self._options.url, login))
            if self._options.certificate is not None:
                system = held.system_login(self._options.ca_file)
                group.create_task(
                    reloading.run(self._options.url, system, self._options.certificate)
                )

    async def _read_credentials(self) -> Credentials:
        options = self._options
        while True:
            try:
                return await credentials(options.server, options.secret)
            except (ApiError, SecretError, aiohttp.ClientError, OSError, TimeoutError) as error:
                _LOG.warning("%s", error or type(error))
                await asyncio.sleep(_RETRY_SECONDS)

    async def _callouts(self, callout: Callout, held: Credentials) -> None:
        """Answer while there is a connection, and open another one when it ends."""
        while True:
            client, closed = Client(), asyncio.Event()
            try:
                await self._answering(client, callout, held, closed)
            except (NatsError, OSError, TimeoutError) as error:
                _LOG.warning(
                    "no connection to the bus at %s: %s", self._options.url, error or type(error)
                )
            finally:
                self._connected = False
                await close(client)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _answering(
        self, client: Client, callout: Callout, held: Credentials, closed: asyncio.Event
    ) -> None:
        async def on_closed() -> None:
            closed.set()

        async def on_error(error: Exception) -> None:
            _LOG.warning("bus: %s", error or type(error))

        await client.connect(
            self._options.url,
            name="gameai-bus-controller",
            user=CALLOUT_USER,
            password=held.callout,
            **encryption(self._options.ca_file),
            connect_timeout=_CONNECT_SECONDS,
            allow_reconnect=False,
            # A server that is gone without a word must not keep callouts that others could answer.
            ping_interval=_PING_SECONDS,
            max_outstanding_pings=1,
            closed_cb=on_closed,
            disconnected_cb=on_closed,
            error_cb=on_error,
        )
        serving = asyncio.create_task(callout.serve(client))
        self._connected = True
        try:
            await closed.wait()
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    async def _report(self, parked: Mapping[WorldKey, tuple[Parked, ...]]) -> None:
        worlds = {key: world for each in self._worlds for key, world in each.objects.items()}
        await reported(self._options.server, worlds, parked)

    async def _current(self, world: str) -> Mapping[str, WorldGroup] | None:
        """The consumers that a world wants, as the API server says now; None where it does not say."""
        namespace, _, name = world.partition("/")
        if self._options.namespaces and namespace not in self._options.namespaces:
            return {}
        path = f"{OUR_GROUP}/namespaces/{namespace}/worldviews/{name}"
        try:
            async with self._options.server.session() as session:
                document = await self._options.server.document(session, path)
            found = wanted(grants(document) or ())
        except ApiError as error:
            _LOG.warning("%s", error)
            return self._without(namespace, error.status)
        except (aiohttp.ClientError, OSError, TimeoutError, *UNREADABLE) as error:
            _LOG.warning("%s: %r", path, error)
            return None
        self._forbidden.pop(namespace, None)
        return found

    def _without(self, namespace: str, status: int) -> Mapping[str, WorldGroup] | None:
        """What an answer without a WorldView says. The rights in a namespace go with it."""
        if status == _NOT_FOUND:
            return {}
        if status != _FORBIDDEN:
            return None
        since = self._forbidden.setdefault(namespace, time.monotonic())
        return {} if time.monotonic() - since > _FORBIDDEN_SECONDS else None
