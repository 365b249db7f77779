"""A service that turns deaths into rumours: it consumes events of game servers, and publishes nothing.

Its image needs this project's Python package with the extra `workloads`. In the GameWorld: `probe: None`, since it serves no
gRPC, and `consumes: [game-server]`.
"""

import asyncio
import logging
import signal

from gameai.bus.group import PoisonError, Received, RetryError
from gameai.client import Bus
from gameai.events.v1 import events_pb2

# Event types of your own: Bus.of_world(types=[guild_pb2]).
BUS = Bus.of_world()


async def handle(received: Received) -> None:
    """A batch of events of one service. Raise `RetryError` while something that you need is away, `PoisonError` to give up at once."""
    batch = received.batch
    for place, event in enumerate(batch.events):
        # The same batch may come again. A service with a database stores the last number of (world, source, epoch)
        # with its change, and passes over what is not above it.
        number = batch.first_sequence + place
        match BUS.message(event):
            case events_pb2.EntityKilled() as kill:
                await tell(number, kill)
            case _:
                # Another type; None for one that this program does not know. The batch counts as handled.
                pass


async def tell(number: int, kill: events_pb2.EntityKilled) -> None:
    """What this service does with a death."""
    if not kill.victim:
        raise PoisonError(f"event {number} has no victim")
    try:
        print(f"rumour {number}: {kill.victim:016x} is dead", flush=True)
    except OSError as error:
        raise RetryError("the output is full") from error


async def main() -> None:
    """Consume until SIGTERM; a batch that is not finished goes to another replica."""
    consuming = asyncio.create_task(BUS.consume(handle))
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, consuming.cancel)
    await asyncio.gather(consuming, return_exceptions=True)


logging.basicConfig(level=logging.INFO)
asyncio.run(main())
