"""EDGE: stores the batches of one world behind each other in the stream of the bus."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from gameai.bus import subjects
from gameai.bus.batches import message_id
from gameai.bus.log import BusError, DuplicateError, Log, MovedError, Outgoing
from gameai.bus.streams import LOG
from gameai.bus.subjects import World
from gameai.bus.v1.bus_pb2 import EventBatch

# Another message of the subject is just being stored.
_IN_FLIGHT_TRIES, _IN_FLIGHT_SECONDS = 20, 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A batch that is not stored, with what is known of its world's subject. The broker has lost it `losses` times."""

    id: int
    world: str
    payload: bytes
    losses: int
    subject: str
    last_stored: int


@dataclass(slots=True, kw_only=True)
class Sent:
    """What became of the batches of a world: ids and sequences of those that were stored, and whether the broker had lost some."""

    world: str
    subject: str = ""
    last: int = 0
    stored: list[tuple[int, int]] = field(default_factory=list)
    events: int = 0
    lost_behind: int | None = None
    fault: BusError | None = None


class Sender:
    """Sends for a relay. `require_lock` raises where the relay has lost its lock."""

    def __init__(self, log: Log, service: str, require_lock: Callable[[], Awaitable[None]]) -> None:
        self._log, self._service, self._require_lock = log, service, require_lock

    async def send(self, world: str, place: World, waiting: list[Waiting], until: float) -> Sent:
        """Send the batches of one world in order, up to the first that is not stored, or until a time of the loop."""
        now = asyncio.get_running_loop().time
        sent = Sent(world=world, subject=subjects.log(place, self._service))
        try:
            # A world that got another knowledge base has another subject.
            same = waiting[0].subject == sent.subject
            sent.last = waiting[0].last_stored if same else await self._last(sent.subject)
            for each in waiting:
                if now() > until:
                    break
                batch = EventBatch.FromString(each.payload)
                batch.world = place.number
                # The broker still knows the ids of batches that it has lost.
                number = f"{message_id(batch)}{f'.{each.losses}' if each.losses else ''}"
                message = Outgoing(
                    subject=sent.subject, payload=batch.SerializeToString(), message_id=number
                )
                if not await self._stored(sent, message):
                    break
                sent.stored.append((each.id, sent.last))
                sent.events += len(batch.events)
        except BusError as error:
            sent.fault = error
        return sent

    async def verify(self, world: str, place: World, subject: str, last_stored: int) -> Sent:
        """Look whether the broker still has the last batch of a world."""
        sent = Sent(world=world, subject=subject)
        # Of another subject nothing can be said: the world has moved.
        if subjects.log(place, self._service) != subject:
            return sent
        try:
            last = await self._last(subject)
        except BusError as error:
            sent.fault = error
        else:
            sent.lost_behind = last if last < last_stored else None
        return sent

    async def _last(self, subject: str) -> int:
        return await self._log.last_sequence(LOG, subject)

    async def _stored(self, sent: Sent, message: Outgoing) -> bool:
        """Store a batch behind the last one of its world; False: the broker has lost that one. Raises `BusError`, psycopg.Error."""
        for _ in range(_IN_FLIGHT_TRIES):
            try:
                sent.last = await self._log.store(message, after=sent.last)
                return True
            except DuplicateError as error:
                # Stored without an answer; or stored and lost, while the broker still knows the id.
                last = await self._last(sent.subject)
                if last >= error.sequence:
                    sent.last = last
                    return True
                message = replace(message, message_id="")
            except MovedError as error:
                if error.last is None:
                    await asyncio.sleep(_IN_FLIGHT_SECONDS)
                elif error.last < sent.last:
                    sent.lost_behind = error.last
                    return False
                else:
                    # Stored without an answer: the broker then knows the id. Or by a publisher without an outbox. Or by
                    # another relay, which has the lock that this one has lost.
                    await self._require_lock()
                    sent.last = error.last
        raise BusError(f"{sent.subject}: others publish there all the time")
