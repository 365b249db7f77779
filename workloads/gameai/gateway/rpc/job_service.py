"""EDGE: JobService over gRPC."""

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from time import monotonic
from typing import Any

import grpc
from gameai_contract.inference import LatencyClass
from grpc import aio

from gameai.bus.log import BusError, MovedError, StreamFullError
from gameai.bus.streams import WORK
from gameai.errors import (
    DrainingError,
    ExhaustedError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from gameai.gateway.dispatch.dispatcher import Dispatcher
from gameai.gateway.jobs import records
from gameai.gateway.jobs.connection import JobConnection
from gameai.gateway.jobs.store import NO_USE, JobStore, Kept, Usage
from gameai.gateway.memory import namespace
from gameai.gateway.metrics import Metrics
from gameai.gateway.routing.snapshot import WorldView
from gameai.gateway.rpc.call_status import CallStatus, Context
from gameai.gateway.rpc.callers import Callers, only_message, within
from gameai.gateway.rpc.garbage import Garbage
from gameai.gateway.rpc.sinks import send
from gameai.jobs.v1 import jobs_pb2 as pb
from gameai.serving.requests import Arrivals

NAME = "gameai.jobs.v1.JobService"
# Of the accounts of one namespace at one gateway; and single calls of all namespaces that wait for their request.
MOST_CALLS, MOST_WATCHES = 64, 128
_MOST_ARRIVING = 200
# Jobs that are kept for a namespace, and the part of the stream from which on no new ones are taken.
MOST_KEPT, _FULL = 5000, 0.85
# For how long a gateway goes by its last count, and for how many namespaces.
_COUNT_SECONDS, _MOST_SPACES = 2.0, 1000
# Between two looks at a job that is watched: the first ones, and later ones.
_FIRST_LOOK_SECONDS, _MOST_LOOK_SECONDS, _SLOWER = 0.25, 2.0, 1.2
_WATCH_SECONDS = 300.0
_MOST_PAGE_BYTES = 1 << 20
_MOST_TRIES = 5


class JobService:
    """Accepts jobs of everyone who may speak for a world, and says what became of them."""

    def __init__(
        self, dispatcher: Dispatcher, callers: Callers, connection: JobConnection | None
    ) -> None:
        """Without a `connection` the cluster has no bus, and every call is refused with the remedy."""
        self._dispatcher, self._callers, self._connection = dispatcher, callers, connection
        self._metrics: Metrics = dispatcher.metrics
        self._garbage = Garbage()
        self._arrivals = Arrivals(_MOST_ARRIVING)
        self._calls_of: Counter[str] = Counter()
        self._watches_of: Counter[str] = Counter()
        # When a namespace was last counted, and what there was.
        self._usage: dict[str, tuple[float, Usage]] = {}
        self._draining = False

    def add_to(self, server: aio.Server) -> None:
        """Serve its methods."""
        handlers: dict[str, Any] = {
            name: grpc.stream_unary_rpc_method_handler(
                getattr(self, name),
                request_deserializer=getattr(pb, f"{name}Request").FromString,
                response_serializer=getattr(pb, f"{name}Response").SerializeToString,
            )
            for name in ("SubmitJob", "GetJob", "ListJobs", "CancelJob")
        }
        handlers["WatchJob"] = grpc.stream_stream_rpc_method_handler(
            self.WatchJob,
            request_deserializer=pb.WatchJobRequest.FromString,
            response_serializer=pb.WatchJobResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))

    def drain(self) -> None:
        """Ask watchers to open another call."""
        self._draining = True

    async def SubmitJob(
        self, request_iterator: AsyncIterator[pb.SubmitJobRequest], context: Context
    ) -> pb.SubmitJobResponse:
        """Store a job, then queue it."""
        with CallStatus(self._metrics, self._garbage) as mapped:
            request, world = await self._request(request_iterator, context)
            return pb.SubmitJobResponse(job=await self._submit(world, request))
        await mapped.end(context)
        return pb.SubmitJobResponse()

    async def GetJob(
        self, request_iterator: AsyncIterator[pb.GetJobRequest], context: Context
    ) -> pb.GetJobResponse:
        """The job as it is."""
        with CallStatus(self._metrics, self._garbage) as mapped:
            request, world = await self._request(request_iterator, context)
            return pb.GetJobResponse(job=(await self._found(world, request.id)).record.job)
        await mapped.end(context)
        return pb.GetJobResponse()

    async def ListJobs(
        self, request_iterator: AsyncIterator[pb.ListJobsRequest], context: Context
    ) -> pb.ListJobsResponse:
        """A page of a world's jobs."""
        with CallStatus(self._metrics, self._garbage) as mapped:
            request, world = await self._request(request_iterator, context)
            return await self._page(world, request)
        await mapped.end(context)
        return pb.ListJobsResponse()

    async def CancelJob(
        self, request_iterator: AsyncIterator[pb.CancelJobRequest], context: Context
    ) -> pb.CancelJobResponse:
        """End a job that has not ended."""
        with CallStatus(self._metrics, self._garbage) as mapped:
            request, world = await self._request(request_iterator, context)
            return pb.CancelJobResponse(job=await self._cancel(world, request.id))
        await mapped.end(context)
        return pb.CancelJobResponse()

    async def WatchJob(
        self, request_iterator: AsyncIterator[pb.WatchJobRequest], context: Context
    ) -> None:
        """The job whenever it changes."""
        with CallStatus(self._metrics, self._garbage) as mapped:
            caller = self._callers.of(context)
            within(self._watches_of, caller, MOST_WATCHES, "watches of jobs", context)
            request = await only_message(self._arrivals, request_iterator)
            world = self._callers.world(caller, request.world)
            await self._watch(world, request.id, context)
        await mapped.end(context)

    async def _request(
        self, messages: AsyncIterator[Any], context: Context
    ) -> tuple[Any, WorldView]:
        """The request of a call, and its world."""
        caller = self._callers.of(context)
        within(self._calls_of, caller, MOST_CALLS, "calls about jobs", context)
        request = await only_message(self._arrivals, messages)
        return request, self._callers.world(caller, request.world)

    async def _submit(self, world: WorldView, request: pb.SubmitJobRequest) -> pb.Job:
        records.check(request)
        with _of_the_question():
            tier = self._dispatcher.check(world, request.question).route.tier
        if tier.tier_class is not LatencyClass.BRONZE:
            raise InvalidArgumentError(
                f"role {request.question.role!r} has the {tier.tier_class} tier {tier.key}: a job needs a role of a Bronze tier",
                field="question.role",
            )
        store, now = self._store(), _now_us()
        record = records.submitted(world, tier.key, request, now)
        try:
            kept = await store.read(world.key, record.job.id)
            if kept is None:
                await self._check_room(store, namespace(world.key), record.ByteSize())
                kept = await store.submit(record, now)
                self._count_submitted(tier.key)
        except StreamFullError as error:
            raise ExhaustedError(
                f"{WORK.most_per_subject} jobs of {world.key} and this priority wait for {tier.key}, and no more are taken: submit it again later ({error})"
            ) from error
        except BusError as error:
            raise _unavailable(error) from error
        if not records.is_same(kept.record, request):
            raise InvalidArgumentError(
                f"request_id {request.request_id!r} was used for job {record.job.id} with another question, priority, "
                "expire_seconds or keep_seconds: submit it with the same ones, or use another request_id",
                field="request_id",
            )
        return records.shown(kept.record, now).job

    def _count_submitted(self, tier: str) -> None:
        if self._connection is not None:
            self._connection.metrics.count_submitted(tier)

    async def _check_room(self, store: JobStore, space: str, size: int) -> None:
        """Count one more job of a namespace, with so many bytes. Raises `ExhaustedError` where no more may be kept; `BusError`."""
        at, _ = self._usage.get(space, (-math.inf, None))
        if monotonic() - at >= _COUNT_SECONDS:
            if len(self._usage) >= _MOST_SPACES:
                self._usage.clear()
            # Calls that come meanwhile go by the last count.
            self._usage[space] = (monotonic(), self._usage.get(space, (0.0, NO_USE))[1])
            self._usage[space] = (monotonic(), await store.usage(space))
        at, found = self._usage[space]
        if found.jobs >= MOST_KEPT:
            raise ExhaustedError(
                f"namespace {space} has {found.jobs} jobs, and at most {MOST_KEPT} are kept, ended ones too: use a lower keep_seconds"
            )
        if found.part >= _FULL:
            # What is left is for the answers of those that were accepted.
            raise ExhaustedError(
                f"the bus has {100 * found.part:.0f} % of the bytes that jobs may take: submit it again later"
            )
        # Other gateways may accept as many meanwhile.
        more = size * self._dispatcher.view.gateways
        self._usage[space] = (at, replace(found, jobs=found.jobs + 1, bytes=found.bytes + more))

    async def _page(self, world: WorldView, request: pb.ListJobsRequest) -> pb.ListJobsResponse:
        """Jobs after that of the token; the next token is the id of the last one."""
        size, after = records.page(request)
        response, bytes_left = pb.ListJobsResponse(), _MOST_PAGE_BYTES
        try:
            ids = [each for each in await self._store().ids(world.key) if each > after]
            for job_id in ids:
                kept = await self._store().read(world.key, job_id)
                if kept is None or not records.is_of(kept.record, world):
                    continue
                job = records.shown(kept.record, _now_us()).job
                bytes_left -= job.ByteSize()
                if response.jobs and (len(response.jobs) == size or bytes_left < 0):
                    response.next_page_token = response.jobs[-1].id
                    break
                response.jobs.append(job)
        except BusError as error:
            raise _unavailable(error) from error
        return response

    async def _cancel(self, world: WorldView, job_id: str) -> pb.Job:
        for _ in range(_MOST_TRIES):
            kept, now = await self._found(world, job_id), _now_us()
            if kept.record.job.state in records.ENDED:
                return kept.record.job
            try:
                ended = await self._store().end(kept, records.cancelled(kept.record, now), now)
            except MovedError:
                continue
            except BusError as error:
                raise _unavailable(error) from error
            if self._connection is not None:
                self._connection.metrics.count_ended(ended.record.tier, "cancelled")
            return ended.record.job
        raise UnavailableError(f"job {job_id} is being changed: try again")

    async def _watch(self, world: WorldView, job_id: str, context: Context) -> None:
        """Send the job until it has ended."""
        before, end, pause = pb.Job(), monotonic() + _WATCH_SECONDS, _FIRST_LOOK_SECONDS
        while monotonic() < end and not self._draining:
            job = (await self._found(world, job_id)).record.job
            if job != before:
                await send(context, pb.WatchJobResponse(job=job))
                before = job
            if job.state in records.ENDED:
                return
            await asyncio.sleep(pause)
            pause = min(_MOST_LOOK_SECONDS, pause * _SLOWER)
        raise DrainingError(
            "a watch ends after five minutes, or with its gateway: watch the job again"
        )

    async def _found(self, world: WorldView, job_id: str) -> Kept:
        """A job as of now. Raises `NotFoundError`, `UnavailableError`."""
        try:
            kept = await self._store().read(world.key, records.checked_id(job_id))
        except BusError as error:
            raise _unavailable(error) from error
        if kept is None or not records.is_of(kept.record, world):
            raise NotFoundError(
                f"job {job_id} of {world.key} does not exist, or is no longer kept", field="id"
            )
        return Kept(records.shown(kept.record, _now_us()), kept.sequence)

    def _store(self) -> JobStore:
        if self._connection is None:
            raise FailedPreconditionError(
                "this gateway has no event bus, which keeps jobs: set bus.mode of the operator's chart to Managed, "
                "or start it with --bus on a laptop"
            )
        if self._connection.store is None:
            raise UnavailableError("the gateway has no connection to the event bus now")
        return self._connection.store


@contextlib.contextmanager
def _of_the_question() -> Iterator[None]:
    """What is wrong is a field of the request's question."""
    try:
        yield
    except (InvalidArgumentError, NotFoundError) as error:
        raise type(error)(str(error), field=f"question.{error.field}") from error


def _unavailable(error: BusError) -> UnavailableError:
    return UnavailableError(f"the event bus did not answer: {error}")


def _now_us() -> int:
    return time.time_ns() // 1000
