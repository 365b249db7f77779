"""EDGE: jobs on the event bus: a record of each, and the queues of their ids."""

import contextlib
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from gameai.bus.log import BusError, Delivery, MovedError, Outgoing, StreamFullError
from gameai.bus.queue import NatsQueue
from gameai.bus.streams import JOBS, WORK
from gameai.gateway.jobs import queues, records
from gameai.gateway.jobs.queues import Queue
from gameai.gateway.jobs.records import Record

# Consumers that are known to be declared.
_MOST_DECLARED = 4096


@dataclass(frozen=True, slots=True)
class Kept:
    """A record as it is on the bus, and the sequence by which a change is noticed; 0: it is not there."""

    record: Record
    sequence: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Jobs that are kept of a namespace, and the bytes of all jobs, of so many that they may have."""

    jobs: int
    bytes: int
    most_bytes: int

    @property
    def part(self) -> float:
        """The part of the bytes that is taken; 0 where it is not known."""
        return self.bytes / self.most_bytes if self.most_bytes else 0.0


NO_USE = Usage(0, 0, 0)


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
        """Store a record in place of the one that was read. Raises `MovedError` where it was changed since, and `BusError`.

        It may be repeated: what a lost answer did not say is found out.
        """
        message = Outgoing(
            subject=queues.job_subject(record.job.world, record.job.id),
            payload=record.SerializeToString(),
            kept_seconds=records.kept_seconds(record, now_us),
        )
        try:
            return Kept(record, await self._log.store(message, after=kept.sequence))
        except MovedError:
            found = await self.read(record.job.world, record.job.id)
            if found is None or found.record != record:
                raise
            return found

    async def submit(self, record: Record, now_us: int) -> Kept:
        """Queue a new job and store it; or return the one that was stored meanwhile. Raises `BusError`, `StreamFullError`.

        Its message comes first, so that a queue without room leaves no record. A message without a record is dropped by the
        gateway that takes it.
        """
        sequence = await self._enqueue(record, record.tier, now_us)
        queued = records.queued(record, record.tier, sequence)
        try:
            return await self.replace(Kept(queued, 0), queued, now_us)
        except (MovedError, StreamFullError) as error:
            await self._unqueue(queued)
            found = await self.read(record.job.world, record.job.id)
            if found is None:
                raise error from None
            return found

    async def move(self, kept: Kept, tier: str, now_us: int) -> Kept:
        """Put a job into the queue of another tier. Raises as `replace` does, and `StreamFullError`."""
        sequence = await self._enqueue(kept.record, tier, now_us)
        moved = records.queued(kept.record, tier, sequence)
        try:
            return await self.replace(kept, moved, now_us)
        except MovedError:
            await self._unqueue(moved)
            raise

    async def end(self, kept: Kept, record: Record, now_us: int) -> Kept:
        """Store the end of a job, and take it from its queue. Raises as `replace` does."""
        ended = await self.replace(kept, record, now_us)
        await self._unqueue(ended.record)
        return ended

    async def waiting(self, tier: str) -> dict[Queue, int]:
        """How many jobs are in each queue of a tier, those that are being answered too. Raises `BusError`."""
        counts = await self._log.counts(WORK, queues.queues_of(tier))
        found = ((queues.parsed(subject), count) for subject, count in counts.items())
        return {queue: count for queue, count in found if queue is not None}

    async def usage(self, namespace: str) -> Usage:
        """How much is kept. Raises `BusError`."""
        found = await self._log.use(JOBS, queues.jobs_of(namespace))
        return Usage(len(found.subjects), found.bytes, found.most_bytes)

    async def ids(self, world: str) -> list[str]:
        """The ids of all jobs of a world, in order. Raises `BusError`."""
        counts = await self._log.counts(JOBS, queues.jobs_of_world(world))
        return sorted(subject.rpartition(".")[2] for subject in counts)

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

    async def _enqueue(self, record: Record, tier: str, now_us: int) -> int:
        queue = Queue(tier=tier, world=record.job.world, priority=record.job.priority)
        message = Outgoing(
            subject=queue.subject,
            payload=record.job.id.encode(),
            kept_seconds=records.queued_seconds(record, now_us),
        )
        return await self._log.store(message)

    async def _unqueue(self, record: Record) -> None:
        """A message that stays is noticed as left over by the gateway that takes it."""
        with contextlib.suppress(BusError):
            await self._log.remove(WORK, queues.queue_of(record).subject, record.queue_sequence)
