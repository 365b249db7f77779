"""EDGE: jobs on the event bus: a record of each, and the queues of their ids."""

import contextlib
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from gameai.bus.log import BusError, Delivery, DuplicateError, MovedError, Outgoing
from gameai.bus.queue import NatsQueue
from gameai.bus.streams import JOBS, WORK
from gameai.gateway.jobs import queues, records
from gameai.gateway.jobs.queues import Queue
from gameai.gateway.jobs.records import Record

# Consumers are declared again after this time: the broker forgets those that are not used.
_MOST_DECLARED = 4096


@dataclass(frozen=True, slots=True)
class Kept:
    """A record as it is on the bus, and the sequence by which a change is noticed; 0: it is not there."""

    record: Record
    sequence: int


class JobStore:
    """All jobs, over one connection."""

    def __init__(self, log: NatsQueue) -> None:
        self._log = log
        self._declared: set[str] = set()

    async def read(self, world: str, job_id: str) -> Kept | None:
        """A job; None where it is not kept. Raises `BusError`."""
        found = await self._log.last(JOBS, queues.job_subject(world, job_id))
        if found is None:
            return None
        try:
            return Kept(Record.FromString(found.payload), found.sequence)
        except DecodeError as error:
            raise BusError(f"job {job_id} of {world} cannot be read: {error}") from error

    async def replace(self, kept: Kept, record: Record, now_us: int) -> Kept:
        """Store a record in place of the one that was read. Raises `MovedError` where it was changed since, and `BusError`."""
        message = Outgoing(
            subject=queues.job_subject(record.job.world, record.job.id),
            payload=record.SerializeToString(),
            kept_seconds=records.kept_seconds(record, now_us),
        )
        return Kept(record, await self._log.store(message, after=kept.sequence))

    async def create(self, record: Record, now_us: int) -> Kept:
        """Store a new job, or return the one of the same id. Raises `BusError`, `StreamFullError` where there is no room."""
        try:
            return await self.replace(Kept(record, 0), record, now_us)
        except MovedError:
            found = await self.read(record.job.world, record.job.id)
            if found is None:
                # It was removed just now, at the end of its time.
                return await self.replace(Kept(record, 0), record, now_us)
            return found

    async def enqueue(self, record: Record) -> None:
        """Put a job in its queue, if it was not put there just before. Raises `BusError`, `StreamFullError` where there is no room."""
        message = Outgoing(
            subject=queues.queue_of(record).subject,
            payload=record.job.id.encode(),
            # A job that is submitted again after its record was removed is another one.
            message_id=f"{record.job.id}-{record.job.submit_time.ToMicroseconds()}",
        )
        with contextlib.suppress(DuplicateError):
            await self._log.store(message)

    async def waiting(self, tier: str) -> dict[Queue, int]:
        """How many jobs are in each queue of a tier, those that are being answered too. Raises `BusError`."""
        counts = await self._log.counts(WORK, queues.queues_of(tier))
        found = ((queues.parsed(subject), count) for subject, count in counts.items())
        return {queue: count for queue, count in found if queue is not None}

    async def kept_of(self, namespace: str) -> int:
        """How many jobs are kept for a namespace. Raises `BusError`."""
        return len(await self._log.counts(JOBS, queues.jobs_of(namespace)))

    async def take(self, queue: Queue) -> Delivery | None:
        """The next id of a queue; None where all are taken. Raises `BusError`."""
        durable = queue.durable()
        if durable.name not in self._declared:
            if len(self._declared) >= _MOST_DECLARED:
                self._declared.clear()
            await self._log.open(durable)
            self._declared.add(durable.name)
        try:
            return await self._log.take(durable)
        except LookupError:
            # It is declared with the next request.
            self._declared.discard(durable.name)
            return None
