"""EDGE: jobs: questions that a Bronze tier answers in minutes or hours, also while this program does not run."""

import asyncio
import contextlib
import datetime
import json
import logging
import secrets  # noqa: TID251 - ids that no other program chooses
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import grpc
from grpc import aio

from gameai.client.asked import CacheUse, check, clean, question_of
from gameai.client.reply import (
    AskError,
    NoAnswerError,
    QuestionError,
    Reply,
    call_error,
    error_of,
    from_answer,
)
from gameai.client.stream import Access
from gameai.jobs.v1 import jobs_pb2, jobs_pb2_grpc

_LOG = logging.getLogger(__name__)
_MOST_SECONDS = 86_400
# Of one try, and of all tries of a call while no gateway answers.
_TRY_SECONDS, _CALL_SECONDS = 10.0, 60.0
_PAUSE_SECONDS, _MOST_PAUSE_SECONDS = 0.2, 5.0
_AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
# Further calls wait: a gateway takes 64 of a namespace. And 128 watches; one that finds no place tries again.
_MOST_CALLS = 32
_WATCH_AGAIN = (*_AGAIN, grpc.StatusCode.RESOURCE_EXHAUSTED)
# Calls are repeated here, at another address where there is one.
_CONFIG = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
Priority = Literal["low", "normal", "high"]
_PRIORITIES: Mapping[Priority, jobs_pb2.JobPriority.ValueType] = MappingProxyType(
    {
        "low": jobs_pb2.JOB_PRIORITY_LOW,
        "normal": jobs_pb2.JOB_PRIORITY_NORMAL,
        "high": jobs_pb2.JOB_PRIORITY_HIGH,
    }
)
State = Literal["waiting", "running", "succeeded", "failed", "cancelled", "expired", "unknown"]
_STATES: Mapping[int, State] = MappingProxyType(
    {
        jobs_pb2.JOB_STATE_WAITING: "waiting",
        jobs_pb2.JOB_STATE_RUNNING: "running",
        jobs_pb2.JOB_STATE_SUCCEEDED: "succeeded",
        jobs_pb2.JOB_STATE_FAILED: "failed",
        jobs_pb2.JOB_STATE_CANCELLED: "cancelled",
        jobs_pb2.JOB_STATE_EXPIRED: "expired",
    }
)
_NAMES: Mapping[int, str] = MappingProxyType({value: name for name, value in _PRIORITIES.items()})
_ENDED = frozenset({"succeeded", "failed", "cancelled", "expired"})


@dataclass(frozen=True, kw_only=True, slots=True)
class JobStatus:
    """A job at some moment. `waiting_reason` says why its last attempt gave no answer, while it waits for the next one.

    `reply` is that of one that succeeded; `error` says why another one has ended without.
    """

    id: str
    role: str
    priority: str
    state: State
    attempts: int
    submitted: datetime.datetime
    expires: datetime.datetime
    # When an engine was first asked, and when the job ended.
    started: datetime.datetime | None = None
    ended_at: datetime.datetime | None = None
    waiting_reason: str = ""
    reply: Reply | None = None
    error: AskError | None = None

    @property
    def ended(self) -> bool:
        """Whether it changes no more."""
        return self.state in _ENDED


class Job:
    """A job that was submitted, by this program or another."""

    def __init__(self, calls: "JobCalls", job_id: str) -> None:
        self._calls = calls
        self.id = job_id

    async def status(self) -> JobStatus:
        """The job now. Raises `AccessError` where it is no longer kept, `NoAnswerError` where no gateway answers."""
        response = await self._calls.call(
            "GetJob", jobs_pb2.GetJobRequest(world=self._calls.world, id=self.id)
        )
        return _status(response.job)

    async def cancel(self) -> JobStatus:
        """Give the job up; one that has ended stays as it is. Raises what `status` raises."""
        response = await self._calls.call(
            "CancelJob", jobs_pb2.CancelJobRequest(world=self._calls.world, id=self.id)
        )
        return _status(response.job)

    async def result(self, timeout_seconds: float | None = None) -> Reply:
        """Wait for the end of the job. Raises `NoAnswerError` where it failed, was cancelled or has expired, or the time is over.

        Without a time it waits while gateways and the bus come and go. Raises `AccessError` where the job is no longer kept.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._ended()
        except TimeoutError as error:
            why = self._calls.why or "it was not given up"
            message = f"job {self.id} has no answer within {timeout_seconds:g} s: {why}"
            raise NoAnswerError(grpc.StatusCode.DEADLINE_EXCEEDED, message) from error

    async def watch(self) -> AsyncGenerator[JobStatus, None]:
        """The job now, and whenever it changes, until it has ended. Raises `AccessError` where it is no longer kept."""
        request = jobs_pb2.WatchJobRequest(world=self._calls.world, id=self.id)
        async with contextlib.aclosing(self._calls.watch(request)) as responses:
            async for response in responses:
                yield _status(response.job)

    async def _ended(self) -> Reply:
        async with contextlib.aclosing(self.watch()) as changes:
            async for found in changes:
                if found.reply is not None:
                    return found.reply
                if found.error is not None:
                    raise found.error
        message = (
            f"job {self.id} has ended in a way that this client does not know: use a newer one"
        )
        raise NoAnswerError(grpc.StatusCode.UNKNOWN, message)


class Jobs:
    """The jobs of a world: `Gateway.jobs`."""

    def __init__(self, targets: Sequence[str], access: Access) -> None:
        self._calls = JobCalls(targets, access)

    async def submit(  # noqa: PLR0913 - fields of a job, each with a default
        self,
        *,
        role: str,
        request_id: str = "",
        npc: str = "",
        archetype: str = "",
        prompt: str | Sequence[str] = "",
        messages: Sequence[tuple[str, str]] = (),
        actions: Sequence[str] = (),
        fields: Mapping[str, object] | None = None,
        max_tokens: int = 0,
        cache: CacheUse = "declared",
        priority: Priority = "normal",
        expire_seconds: int = 0,
        keep_seconds: int = 0,
    ) -> Job:
        """Submit a job; it is stored when this returns. The same `request_id` is the same job, however often it is submitted.

        Without a `request_id` each call is another job. It ends without an answer after `expire_seconds`, and is kept for
        `keep_seconds` after its end (0: an hour, at most a day). Raises `QuestionError` for an invalid job or a role without a Bronze tier,
        also where the id was used for another job, and `NoAnswerError` where no gateway takes it within a minute.
        """
        question = question_of(
            0,
            texts=(role, archetype, npc),
            prompt=prompt,
            messages=messages,
            actions=actions,
            fields=fields or {},
            numbers=(0, max_tokens),
            cache=cache,
        )
        check(
            expire_seconds=(expire_seconds, _MOST_SECONDS),
            keep_seconds=(keep_seconds, _MOST_SECONDS),
        )
        if priority not in _PRIORITIES:
            raise QuestionError(f"priority is one of {', '.join(_PRIORITIES)}: {priority!r}")
        request = jobs_pb2.SubmitJobRequest(
            world=self._calls.world,
            request_id=clean(request_id) or secrets.token_hex(16),
            question=question,
            priority=_PRIORITIES[priority],
            expire_seconds=expire_seconds,
            keep_seconds=keep_seconds,
        )
        response = await self._calls.call("SubmitJob", request)
        return Job(self._calls, response.job.id)

    async def list(self) -> AsyncGenerator[JobStatus, None]:
        """All jobs of the world that are kept, in order of their ids. Raises what `Job.status` raises."""
        token = ""
        while True:
            request = jobs_pb2.ListJobsRequest(world=self._calls.world, page_token=token)
            response = await self._calls.call("ListJobs", request)
            for job in response.jobs:
                yield _status(job)
            token = response.next_page_token
            if not token:
                return

    def job(self, job_id: str) -> Job:
        """A job by the id that `submit` gave it, here or in another program."""
        return Job(self._calls, job_id)

    async def close(self) -> None:
        """End its connections. Jobs stay as they are."""
        await self._calls.close()


class JobCalls:
    """Calls to whichever gateway answers. All of them may be repeated."""

    def __init__(self, targets: Sequence[str], access: Access) -> None:
        self.world = access.world
        self._targets, self._at = tuple(targets), 0
        self._access = access
        self._channels: dict[str, aio.Channel] = {}
        self._places = asyncio.Semaphore(_MOST_CALLS)
        # Why the last call was not answered; empty where it was.
        self.why = ""

    async def call(self, method: str, request: Any) -> Any:
        """The response. Raises the kinds of `AskError`."""
        loop = asyncio.get_running_loop()
        end, pause = loop.time() + _CALL_SECONDS, _PAUSE_SECONDS
        while True:
            at = self._at
            try:
                async with self._places:
                    response = await getattr(self._stub(), method)(
                        request, timeout=_TRY_SECONDS, metadata=self._metadata()
                    )
            except aio.AioRpcError as error:
                self._note(error)
                if error.code() not in _AGAIN or loop.time() + pause > end:
                    raise call_error(error) from error
            else:
                self.why = ""
                return response
            pause = await self._elsewhere(at, pause)

    async def watch(
        self, request: jobs_pb2.WatchJobRequest
    ) -> AsyncGenerator[jobs_pb2.WatchJobResponse, None]:
        """What a watch says, from one gateway after the other. Raises the kinds of `AskError`."""
        pause = _PAUSE_SECONDS
        while True:
            at = self._at
            call = self._stub().WatchJob(request, metadata=self._metadata())
            try:
                # A gateway sends the first message at once, and later ones as they come.
                response = await asyncio.wait_for(call.read(), _TRY_SECONDS)
                while response is not aio.EOF:
                    pause, self.why = _PAUSE_SECONDS, ""
                    yield response
                    response = await call.read()
            except TimeoutError:
                self.why = f"{self._targets[at]} does not answer"
            except aio.AioRpcError as error:
                self._note(error)
                if error.code() not in _WATCH_AGAIN:
                    raise call_error(error) from error
            else:
                return
            finally:
                call.cancel()
            pause = await self._elsewhere(at, pause)

    async def close(self) -> None:
        """End all connections."""
        former, self._channels = tuple(self._channels.values()), {}
        for each in former:
            await each.close()

    async def _elsewhere(self, at: int, pause: float) -> float:
        """Wait, and leave this one of several addresses; the next pause. gRPC follows a name with several addresses itself."""
        if self._at == at:
            # Calls that fail together leave it once.
            self._at = (at + 1) % len(self._targets)
        await asyncio.sleep(pause)
        return min(_MOST_PAUSE_SECONDS, 2 * pause)

    def _note(self, error: aio.AioRpcError) -> None:
        """The first of several equal reasons is logged."""
        why = error.details() or error.code().name
        if error.code() in _AGAIN and why != self.why:
            _LOG.info("%s is asked again about jobs: %s", self._targets[self._at], why)
        self.why = why

    def _metadata(self) -> list[tuple[str, str]]:
        try:
            return self._access.metadata()
        except OSError as error:
            raise NoAnswerError(grpc.StatusCode.UNAVAILABLE, str(error)) from error

    def _stub(self) -> Any:
        target = self._targets[self._at]
        if target not in self._channels:
            options = (("grpc.service_config", _CONFIG),)
            self._channels[target] = self._access.channel(target, options)
        # Asynchronous stubs have no types of their own at run time.
        return jobs_pb2_grpc.JobServiceStub(self._channels[target])


def _status(job: jobs_pb2.Job) -> JobStatus:
    state = _STATES.get(job.state, "unknown")
    return JobStatus(
        id=job.id,
        role=job.role,
        priority=_NAMES.get(job.priority, "unknown"),
        state=state,
        attempts=job.attempts,
        submitted=job.submit_time.ToDatetime(datetime.UTC),
        expires=job.expire_time.ToDatetime(datetime.UTC),
        started=job.start_time.ToDatetime(datetime.UTC) if job.HasField("start_time") else None,
        ended_at=job.end_time.ToDatetime(datetime.UTC) if job.HasField("end_time") else None,
        waiting_reason=job.waiting_reason,
        reply=from_answer(job.answer, _seconds(job)) if state == "succeeded" else None,
        error=_error(job, state),
    )


def _seconds(job: jobs_pb2.Job) -> float:
    """From the submission to the end."""
    return (job.end_time.ToMicroseconds() - job.submit_time.ToMicroseconds()) / 1_000_000


def _error(job: jobs_pb2.Job, state: State) -> AskError | None:
    match state:
        case "failed":
            return error_of(job.answer.error)
        case "expired":
            message = f"job {job.id} had no answer when it expired"
            return NoAnswerError(grpc.StatusCode.DEADLINE_EXCEEDED, message, "EXPIRED")
        case "cancelled":
            message = f"job {job.id} was cancelled"
            return NoAnswerError(grpc.StatusCode.CANCELLED, message, "CANCELLED")
        case _:
            return None
