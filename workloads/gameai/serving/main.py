"""The life of a service: read its configuration, open what it needs, serve, drain on SIGTERM.

Order of the drain: not ready; callers go elsewhere; GOAWAY, and streams end; background tasks end; the service closes
what it opened; health and metrics end last.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from gameai_contract.catalogue import CATALOGUE
from gameai_contract.names import (
    CONFIG_ENVIRONMENT,
    CONFIG_FOLDER,
    CONFIG_KEY,
    GRPC_PORT,
    HEALTH_PORT,
    SETTINGS_HASH_ENVIRONMENT,
    listening,
)
from gameai_contract.world_config import ConfigError, WorldConfig
from grpc import aio

from gameai.serving import draining, flags, settings, telemetry
from gameai.serving.background import Background
from gameai.serving.grpc_health import GrpcHealth
from gameai.serving.health import serve as serve_health
from gameai.serving.interceptor import Interceptor
from gameai.serving.live import LiveWorld, follow, read
from gameai.serving.opening import PortError, opening
from gameai.serving.port_file import write_ports
from gameai.serving.readiness import Readiness, Stage
from gameai.serving.requests import Requests
from gameai.serving.service import GameService, Runtime

_LOG = logging.getLogger(__name__)
_SETTINGS_SECONDS = 120.0
_POLL_SECONDS = 0.5
# For calls that run, then for background tasks, then for closing what the service opened.
_STOP_SECONDS, _TASKS_SECONDS, _CLOSE_SECONDS = 13.0, 4.0, 3.0
# Until every connection has received its GOAWAY.
_GOAWAY_SECONDS = 0.2
# A caller that received GOAWAY up to 5 s ago may reconnect once to a pod that is not ready any more, for one connection's lifetime.
_DRAIN_SECONDS = 23.0
_OPTIONS = (
    ("grpc.max_connection_age_ms", int(draining.CONNECTION_SECONDS * 1000)),
    ("grpc.max_connection_age_grace_ms", 300_000),
    # Clients may ask an idle connection every 20 s whether it lives; gRPC's own limit is 5 minutes.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.so_reuseport", 0),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Where to listen and what to read."""

    config: Path
    settings_hash: str
    address: str
    port: int
    health_port: int
    port_file: Path | None
    drain_seconds: float

    @property
    def by_hand(self) -> bool:
        """No operator started this process."""
        return not self.settings_hash


def main(service: GameService, arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM; 0 then, 1 where the configuration cannot be read or a port cannot be opened."""
    options, level = _parse(service, arguments)
    telemetry.configure_logging(level)
    try:
        asyncio.run(_run(service, options))
    except (ConfigError, PortError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _parse(service: GameService, arguments: list[str] | None) -> tuple[Options, str]:
    parser = argparse.ArgumentParser(
        **_about(service),  # type: ignore[arg-type] # all of them are texts
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    config = os.environ.get(CONFIG_ENVIRONMENT, f"{CONFIG_FOLDER}/{CONFIG_KEY}")
    parser.add_argument(
        "--config", type=Path, default=Path(config), help="the world's configuration"
    )
    parser.add_argument(
        "--address",
        default="",
        help="address to listen on (default: every one of this pod, IPv4 and IPv6)",
    )
    parser.add_argument(
        "--port",
        type=flags.port,
        default=GRPC_PORT,
        help=f"port of gRPC (default {GRPC_PORT}); 0: a free one",
    )
    parser.add_argument(
        "--health-port",
        type=flags.port,
        default=HEALTH_PORT,
        help=f"port of /livez, /readyz, /metrics (default {HEALTH_PORT}); 0: a free one",
    )
    parser.add_argument(
        "--port-file",
        type=Path,
        help="file to write both ports to, as JSON, once they are open",
    )
    parser.add_argument(
        "--drain-seconds",
        type=flags.seconds,
        default=_DRAIN_SECONDS,
        help=f"longest time for callers to look elsewhere (default {_DRAIN_SECONDS:.0f})",
    )
    flags.add_log_level(parser)
    given = parser.parse_args(arguments)
    options = Options(
        config=given.config,
        settings_hash=os.environ.get(SETTINGS_HASH_ENVIRONMENT, ""),
        address=given.address,
        port=given.port,
        health_port=given.health_port,
        port_file=given.port_file,
        drain_seconds=given.drain_seconds,
    )
    return options, given.log_level


def _about(service: GameService) -> dict[str, str]:
    """What `--help` says of a service; the catalogue knows the built-in ones."""
    row = CATALOGUE.get(service.name)
    if row is None:
        return {"description": f"The service {service.name} of a world."}
    lines = [
        f"  {name}: {each.text} Default: {each.default}." for name, each in row.settings.items()
    ]
    epilog = "\n".join(["settings, from the world's configuration:", *lines])
    return {"prog": row.module, "description": row.text, "epilog": epilog}


async def _run(service: GameService, options: Options) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    config = await _first_config(service, options, stop)
    if config is None:
        return
    await serve(service, options, config, stop)


async def serve(
    service: GameService, options: Options, config: WorldConfig, stop: asyncio.Event
) -> None:
    """Serve until `stop`, then drain. Raises the error of a background task that ended, after the same drain."""
    world = LiveWorld(config, lambda: time.time_ns() // 1000)
    interceptor = Interceptor()
    server = aio.server(
        interceptors=[Requests(service.most_calls), interceptor],
        options=[
            *_OPTIONS,
            ("grpc.max_receive_message_length", service.most_request_bytes),
        ],
        maximum_concurrent_rpcs=service.most_calls,
    )
    row, given = CATALOGUE.get(service.name), config.services[service.name].settings
    runtime = Runtime(
        world=world,
        settings=row.with_defaults(given) if row else given,
        server=server,
        background=Background(),
        readiness=Readiness(),
    )
    async with contextlib.AsyncExitStack() as stack:
        with opening("--health-port", options.address, options.health_port):
            runner = await serve_health(
                runtime.readiness.fault, options.address, options.health_port
            )
        stack.push_async_callback(runner.cleanup)
        opened = contextlib.AsyncExitStack()
        stack.push_async_callback(_close, opened)
        # A lifespan that fails as it is entered may have started tasks.
        stack.push_async_callback(runtime.background.stop, _TASKS_SECONDS)
        if not await _opens(opened, service.lifespan(runtime), stop):
            return
        checks = GrpcHealth(server, service.wire_name)
        with opening("--port", options.address, options.port):
            port = server.add_insecure_port(listening(options.address, options.port))
        await server.start()
        stack.push_async_callback(_stop, server, world)
        runtime.background.start(
            "configuration", follow(options.config, world, by_hand=options.by_hand)
        )
        runtime.readiness.stage = Stage.SERVING
        await checks.say(serving=True)
        _LOG.info("serving %s on port %d, health on %s", service.name, port, runner.addresses)
        if options.port_file is not None:
            write_ports(options.port_file, {"grpc": port, "health": runner.addresses[0][1]})
        try:
            await _until(stop, runtime.background)
        finally:
            _LOG.info("draining")
            runtime.readiness.stage = Stage.DRAINING
            await checks.say(serving=False)
            began = time.monotonic()
            # A caller who has just been given its name may not have come yet.
            await draining.quiet(lambda: max(began, interceptor.heard), options.drain_seconds)


async def _opens(
    opened: contextlib.AsyncExitStack,
    lifespan: AbstractAsyncContextManager[None],
    stop: asyncio.Event,
) -> bool:
    """Enter the lifespan; False where a stop was requested before that was done."""

    async def expire(limit: asyncio.Timeout) -> None:
        await stop.wait()
        limit.reschedule(asyncio.get_running_loop().time())

    try:
        async with asyncio.timeout(None) as limit:
            # The lifespan is entered in this task: what it opens may belong to one.
            stopping = asyncio.create_task(expire(limit))
            try:
                await opened.enter_async_context(lifespan)
            finally:
                stopping.cancel()
    except TimeoutError:
        if not limit.expired():
            raise
        return False
    return True


async def _close(opened: contextlib.AsyncExitStack) -> None:
    """Leave the lifespan, within its time."""
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await opened.aclose()
    except TimeoutError:
        _LOG.error("the service did not close what it opened within %.1f s", _CLOSE_SECONDS)


async def _until(stop: asyncio.Event, background: Background) -> None:
    """Run until SIGTERM. Raises the error of a background task that ended, so that the service restarts."""
    stopping = asyncio.create_task(stop.wait())
    ending = asyncio.create_task(background.ended())
    try:
        await asyncio.wait({stopping, ending}, return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            ending.result()
    finally:
        stopping.cancel()
        ending.cancel()


async def _first_config(
    service: GameService, options: Options, stop: asyncio.Event
) -> WorldConfig | None:
    """The configuration, once it has the settings that this pod was started for; None on SIGTERM. Raises `ConfigError`.

    A pod may see the mounted file of a moment ago; it would then serve other settings than its siblings.
    """
    end = time.monotonic() + _SETTINGS_SECONDS
    while not stop.is_set():
        config = read(options.config, by_hand=options.by_hand)
        mine = config.services.get(service.name)
        if options.by_hand:
            # No other content will come: there is no need to wait.
            settings.check(options.config, config, service.name)
            return config
        if mine and options.settings_hash == mine.settings_hash:
            return config
        if time.monotonic() > end:
            raise ConfigError(
                f"{options.config} does not hold the settings that {service.name} was started for"
            )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_POLL_SECONDS):
                await stop.wait()
    return None


async def _stop(server: aio.Server, world: LiveWorld) -> None:
    """GOAWAY, then the streams end: a client that calls again must not use the same connection."""
    stopping = asyncio.create_task(server.stop(_STOP_SECONDS))
    await asyncio.sleep(_GOAWAY_SECONDS)
    world.drain()
    await stopping
