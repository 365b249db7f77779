"""What a consumer reads off a delivery, and how it gives one back."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from gameai.bus import subjects
from gameai.bus.batches import DamagedBatchError, parsed
from gameai.bus.log import BusError, Delivery, Stored
from gameai.bus.subjects import Address
from gameai.bus.v1.bus_pb2 import EventBatch

_LOG = logging.getLogger(__name__)
# What a consumer that ends still has for saying so.
_LAST_SECONDS = 1.0


async def address_of(given: Delivery) -> Address | None:
    """What the subject of a message says; one that says nothing is passed over (None)."""
    try:
        return subjects.parsed(given.message.subject)
    except ValueError:
        _LOG.exception("a message is none of the bus, and is passed over")
        await given.done()
        return None


def batch_of(address: Address, message: Stored) -> EventBatch:
    """The batch of a message. Raises `DamagedBatchError`, also for one that says that it is of another world."""
    found = parsed(message.payload)
    if found.world != address.number:
        raise DamagedBatchError(
            f"the batch is of world {found.world:016x}, and its subject is of {address.number:016x}"
        )
    return found


@contextlib.asynccontextmanager
async def released(given: Delivery) -> AsyncIterator[None]:
    """Where the block is cancelled, another replica gets the message at once, and not when the broker misses its end."""
    try:
        yield
    except asyncio.CancelledError:
        with contextlib.suppress(BusError, TimeoutError):
            await asyncio.wait_for(given.again(0.0), _LAST_SECONDS)
        raise
