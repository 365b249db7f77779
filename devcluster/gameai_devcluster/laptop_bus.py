"""EDGE: an event bus on this machine, without Kubernetes and without identities, and what is published on it."""

import asyncio
import contextlib
import importlib
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType

from gameai.bus import subjects
from gameai.bus.admin import NatsAdmin
from gameai.bus.batches import DamagedBatchError, parsed
from gameai.bus.log import BusError, Start, Stored
from gameai.bus.streams import LOG
from gameai.bus.types import DamagedEventError, LaterSchemaError, Types
from gameai.bus.v1.bus_pb2 import Event
from gameai.events.v1 import events_pb2
from google.protobuf import text_format
from google.protobuf.message import Message

from gameai_devcluster.broker import SMALL, Broker

_START_SECONDS = 20.0
_RETRY_SECONDS = 1.0
_MINUTE_US, _HOUR_US, _DAY_US = 60_000_000, 3_600_000_000, 86_400_000_000


@contextlib.contextmanager
def running(folder: Path, port: int = 0) -> Iterator[Broker]:
    """A server with the streams of the bus; its data stays in the folder. Raises TimeoutError with the place of its log."""
    folder.mkdir(parents=True, exist_ok=True)
    server = Broker(folder, port=port)
    server.start()
    try:
        try:
            asyncio.run(_declared(server))
        except (TimeoutError, BusError) as error:
            raise TimeoutError(
                f"the server of the bus does not start: is port {server.port} in use? Its log is {folder / 'nats.log'}"
            ) from error
        yield server
    finally:
        server.kill()


async def _declared(server: Broker) -> None:
    async with asyncio.timeout(_START_SECONDS):
        await server.answers()
        async with NatsAdmin(server.url) as admin:
            await admin.declare(SMALL)


async def printed(url: str, types: Types, say: Callable[[str], None]) -> None:
    """Print every event from now on, until cancelled; a server that is away is waited for."""
    following = Start()

    def show(message: Stored) -> None:
        nonlocal following
        following = Start(sequence=message.sequence + 1)
        say("\n".join(lines(message, types)))

    while True:
        with contextlib.suppress(BusError):
            async with NatsAdmin(url) as log:
                await _shown(log, following, show)
        await asyncio.sleep(_RETRY_SECONDS)


async def _shown(log: NatsAdmin, start: Start, show: Callable[[Stored], None]) -> None:
    async with contextlib.aclosing(log.replay(LOG, "log.>", start)) as messages:
        async for message in messages:
            show(message)


async def printed_until_stopped(url: str, types: Types, say: Callable[[str], None]) -> None:
    """As `printed`, until SIGINT or SIGTERM."""
    printing = asyncio.create_task(printed(url, types, say))
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, printing.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await printing


def types_of(modules: Iterable[str]) -> Types:
    """The built-in event types, and those of generated modules by their names. Raises ImportError, ValueError."""
    found: list[ModuleType] = [importlib.import_module(each) for each in modules]
    return Types([events_pb2, *found])


def lines(message: Stored, types: Types) -> list[str]:
    """What a message of the bus says, a line for each event."""
    try:
        address, batch = subjects.parsed(message.subject), parsed(message.payload)
    except (ValueError, DamagedBatchError) as error:
        return [f"{message.subject}: {error}"]
    where = f"{world_time(batch.world_us)}  {address.namespace}/{address.world}  {address.service}"
    return [f"{where}  {said(each, types)}" for each in batch.events]


def said(event: Event, types: Types) -> str:
    """An event as its type and fields; of a type that is not known its number."""
    try:
        message = types.message(event)
    except (DamagedEventError, LaterSchemaError) as error:
        return str(error)
    if message is None:
        return f"type {event.type} with {len(event.body)} bytes: give its module by --types"
    return f"{message.DESCRIPTOR.name} {_fields(message)}".rstrip()


def _fields(message: Message) -> str:
    return text_format.MessageToString(message, as_one_line=True)


def world_time(us: int) -> str:
    """A time of a world: its day, from 1, hour and minute."""
    day, rest = divmod(us, _DAY_US)
    return f"day {day + 1} {rest // _HOUR_US:02}:{rest % _HOUR_US // _MINUTE_US:02}"
