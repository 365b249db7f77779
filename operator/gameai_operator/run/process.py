"""EDGE: what every process does: connect, serve health and metrics, run its parts, and stop on a signal."""

import asyncio
import contextlib
import datetime
import logging
import signal
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Protocol

from gameai_operator.cluster.client import Client
from gameai_operator.cluster.credentials import CredentialsError, configuration
from gameai_operator.cluster.lease import WriteGate
from gameai_operator.http.port_file import write_ports
from gameai_operator.http.server import application, serve
from gameai_operator.settings import Settings

_LOG = logging.getLogger(__name__)
_CREDENTIALS_SECONDS = 5.0

Part = Coroutine[None, None, None]


class Process(Protocol):
    """What a process is made of."""

    def live_faults(self) -> list[str]:
        """What only a restart can cure."""

    def ready_faults(self) -> list[str]:
        """Why it is not yet of use."""

    def notes(self) -> list[str]:
        """What does not hinder the rest."""

    async def run(self, stop: asyncio.Event) -> int:
        """Run until `stop`; 0 then, 1 when something that must run has ended."""


Make = Callable[[Settings, Client, WriteGate], Process]


async def run(settings: Settings, make: Make) -> int:
    """Run until SIGTERM or SIGINT; 0 then, 1 when something that must run has ended."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    gate = WriteGate()
    client = await _connect(settings, gate, stop)
    if client is None:
        return 0
    process = make(settings, client, gate)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(client.close)
        app = application(process.live_faults, process.ready_faults, process.notes)
        try:
            runner = await serve(app, settings.health_address, settings.health_port)
        except OSError as error:
            where = f"{settings.health_address or 'all interfaces'}, port {settings.health_port}"
            _LOG.error("--health-port: cannot listen on %s: %s", where, error.strerror or error)
            return 1
        stack.push_async_callback(runner.cleanup)
        _LOG.info("serving health and metrics on %s", runner.addresses)
        if settings.port_file:
            write_ports(Path(settings.port_file), {"health": runner.addresses[0][1]})
        return await process.run(stop)


def now() -> datetime.datetime:
    """The wall clock, which others are handed."""
    return datetime.datetime.now(datetime.UTC)  # noqa: TID251 - said above


async def together(parts: Mapping[str, Part], stop: asyncio.Event) -> int:
    """Everything at once; the first part that ends ends the run."""
    tasks = [asyncio.create_task(part, name=name) for name, part in parts.items()]
    stopping = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
    failed = [task for task in tasks if task.done()]
    for task in failed:
        _LOG.error("%s ended", task.get_name(), exc_info=task.exception())
    _LOG.info("stopping")
    for each in (stopping, *tasks):
        each.cancel()
    await asyncio.gather(stopping, *tasks, return_exceptions=True)
    return 1 if failed else 0


async def _connect(settings: Settings, gate: WriteGate, stop: asyncio.Event) -> Client | None:
    """A client, as soon as there are credentials; None if a stop was requested before."""
    while not stop.is_set():
        try:
            return Client(settings, await configuration(settings), gate)
        except CredentialsError as error:
            _LOG.error("%s; retrying", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _CREDENTIALS_SECONDS)
    return None
