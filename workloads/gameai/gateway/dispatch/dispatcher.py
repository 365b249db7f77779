"""EDGE: takes questions, finds their answers down the fallback chain, and gives each exactly one that is final."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from time import monotonic

from google.rpc import code_pb2

from gameai.errors import InvalidArgumentError, ServiceFault, status, status_of
from gameai.gateway.coalescing import Flight, Flights, Join
from gameai.gateway.dispatch.fallback import FallbackChain
from gameai.gateway.dispatch.gauges import dispatcher_gauges
from gameai.gateway.dispatch.response_cache import MOST_TEXT, Cache
from gameai.gateway.dispatch.responses import (
    ENGINES,
    Fault,
    Form,
    Responses,
    why_none,
)
from gameai.gateway.engines.chat_completions import Completion
from gameai.gateway.engines.schedulers import Schedulers
from gameai.gateway.engines.service_time import size_of
from gameai.gateway.job import Job, Reason, Sink
from gameai.gateway.memory import QUESTION_BYTES, MemoryLedger, namespace
from gameai.gateway.metrics import Metrics
from gameai.gateway.pacing import Pacer
from gameai.gateway.routing.resolve import Plan, Planner, messages
from gameai.gateway.routing.snapshot import ABSENT, View, WorldView
from gameai.inference.v1 import inference_pb2 as pb

# What the loop's clock is rounded to.
_TICK_SECONDS = 0.001


def _answered_by(job: Job) -> float:
    """When an answer must leave to be in time."""
    return job.deadline - job.margin


class Dispatcher:
    """All schedulers and the cache behind one counter. Belongs to one loop."""

    def __init__(self, view: View, metrics: Metrics) -> None:
        self.metrics = metrics
        self.cache = Cache()
        self._fallback = FallbackChain(self.cache)
        self.open = 0
        self.ledger, self.pacer = MemoryLedger(), Pacer()
        self.schedulers = Schedulers(self, metrics, self.ledger, self.pacer)
        self._flights: Flights[Job] = Flights()
        self._loop = asyncio.get_running_loop()
        self._responses = Responses(metrics)
        # Questions that wait elsewhere, by tier, and count as queued here: this gateway's part of the jobs.
        self.backlog: Callable[[], Mapping[str, int]] = dict
        metrics.gauges = lambda: dispatcher_gauges(
            self.schedulers, self.backlog(), self.cache, self.ledger, self.open
        )
        self.take(view)

    @property
    def view(self) -> View:
        """What is known of tiers and worlds."""
        return self._planner.view

    def take(self, view: View) -> None:
        """From now on this is the view."""
        self._planner = Planner(view)
        self.metrics.forget(view.worlds, {*view.tiers, ABSENT})
        self.schedulers.take(view)

    def check(self, world: WorldView, question: pb.Question) -> Plan:
        """What a question would amount to. Raises `NotFoundError` and `InvalidArgumentError`."""
        return self._planner.plan(world, question)

    def ask(
        self,
        world: WorldView,
        question: pb.Question,
        sink: Sink,
        *,
        streams: bool = False,
        arrived: float | None = None,
        within: float = math.inf,
    ) -> Job | None:
        """Take a question, which came now or had `arrived` before; its answers come to the sink.

        Its deadline is over `within` so many seconds, if not sooner. The job, if there is something to wait for.
        """
        now = monotonic()
        try:
            plan = self._planner.plan(world, question)
            if streams and plan.actions:
                raise InvalidArgumentError(
                    "GenerateText gives free text: ask for actions by GenerateAnswer or StreamAnswers",
                    field="question.actions",
                )
        except ServiceFault as fault:
            self.refuse(question, sink, fault)
            return None
        left = min(within, plan.deadline_ms / 1000 - question.elapsed_us / 1_000_000)
        if plan.shares and question.cache != pb.CACHE_USE_REFRESH:
            kept = self._fallback.fresh(plan, now)
            if kept is not None:
                waited = 0.0 if arrived is None else now - arrived
                self._responses.at_once(question, plan, sink, kept, (waited, left))
                return None
        prompt_bytes = question.ByteSize()
        if not plan.actions and not question.max_tokens:
            pace = self.schedulers.of(plan.route.tier).pace
            plan = plan._replace(tokens=pace.fitting(plan.tokens, prompt_bytes, left))
        job = Job(question.id, plan, sink, now if arrived is None else arrived, left)
        job.streams = streams
        job.prompt_bytes = prompt_bytes
        job.held = prompt_bytes + QUESTION_BYTES
        job.size = size_of(plan.tokens, prompt_bytes)
        full = self._hold(job)
        job.messages = messages(question)
        if full:
            self._fall(job, Reason.DEGRADED_REASON_QUEUE_FULL, now)
            return None
        self._start(job, now)
        return job

    def _hold(self, job: Job) -> bool:
        """Whether its world then holds more than it may."""
        self.open += 1
        return self.ledger.hold(job.world, job.held)

    def _release(self, job: Job) -> None:
        self.open -= 1
        self.ledger.hold(job.world, -job.held)

    def refuse(self, question: pb.Question, sink: Sink, fault: ServiceFault) -> None:
        """Say why a question is not taken."""
        self._responses.fault(sink, question.id, Fault(status=status_of(fault)))

    def abandon(self, job: Job) -> None:
        """The client of this job is gone."""
        for each in (job, job.later):
            if each is not None:
                self._finish(each)

    def answered(self, job: Job, completion: Completion, revision: str, now: float) -> None:
        """An engine answered: all equal questions get the answer too."""
        plan = job.plan
        self._responses.tokens(job, completion)
        # The text of a streamed answer is not kept, and a truncated answer must not be given to others.
        whole = not job.streams and not completion.truncated and len(completion.text) <= MOST_TEXT
        if plan.key is not None and plan.rules is not None and whole:
            kept = (completion.text, plan.route.tier.key, now)
            self.cache.put(namespace(job.world), plan.keyed(revision), kept)
        followers = self._flights.disband(job)
        form = Form(truncated=True) if completion.truncated else ENGINES
        self._answer(job, pb.SOURCE_ENGINE, completion.text, form)
        for follower in followers:
            self._answer(follower, pb.SOURCE_FRESH_CACHE, completion.text, form)

    def failed(self, job: Job, reason: pb.DegradedReason.ValueType, now: float) -> None:
        """No engine will answer it in time: it goes down its fallback chain, and who asked the same may try."""
        flight = self._flights.leave(job)
        self._fall(job, reason, now)
        self._next(flight, now)

    def refused(self, job: Job, message: str) -> None:
        """An engine says that the question is wrong. Others of the same state may have worded theirs better."""
        flight = self._flights.leave(job)
        self._end(job, Fault(status=status(code_pb2.INVALID_ARGUMENT, message, "PROMPT_TOO_LONG")))
        self._next(flight, monotonic())

    def _start(self, job: Job, now: float) -> None:
        """Queue a job, or let it wait for one that asks the same."""
        if job.timer is None:
            self._wake(job, _answered_by(job), now)
        if now >= job.deadline:
            self._fall(job, Reason.DEGRADED_REASON_TOO_LATE, now)
            return
        key = job.plan.key
        joined, overtaken = Join.LEADS, None
        if key is not None and job.plan.shares and not job.streams:
            joined, overtaken = self._flights.join(key, job)
        if overtaken is not None:
            self.schedulers.of(overtaken.plan.route.tier).give_up(overtaken)
        if joined is Join.FULL:
            self._fall(job, Reason.DEGRADED_REASON_QUEUE_FULL, now)
        elif joined is not Join.FOLLOWS:
            self._submit(job, now)

    def _submit(self, job: Job, now: float) -> None:
        """Queue a job that leads, or asks for itself alone."""
        scheduler = self.schedulers.of(job.plan.route.tier)
        reason = scheduler.submit(job, now)
        if reason is not None:
            self.failed(job, reason, now)
        elif job.waiting and scheduler.callable:
            # A job without a slot by then fails immediately, so that its caller does not wait for nothing.
            self._wake(job, scheduler.latest(job, now), now)

    def _wake(self, job: Job, at: float, now: float) -> None:
        """Look at a job then, and not before."""
        if job.timer is not None:
            job.timer.cancel()
        job.timer = self._loop.call_later(max(0.0, at - now), self._expire, job)

    def _expire(self, job: Job) -> None:
        """Its time is over, wherever it is; for one that waits for a slot it is over sooner."""
        if job.over:
            return
        now, end = monotonic(), _answered_by(job)
        if job.waiting and not job.follows:
            scheduler = self.schedulers.of(job.plan.route.tier)
            # What is known of the engine may have changed, or it may be gone: then it is waited for.
            end = min(end, scheduler.latest(job, now)) if scheduler.callable else end
        if now < end - _TICK_SECONDS:
            self._wake(job, end, now)
            return
        if job.follows and job.flight is not None:
            job.flight.unfollow(job)
            self._fall(job, Reason.DEGRADED_REASON_DEADLINE, now)
            return
        scheduler = self.schedulers.of(job.plan.route.tier)
        waited = job.waiting or job.attempt is None
        if waited:
            late = Reason.DEGRADED_REASON_TOO_LATE
            reason = late if scheduler.callable else Reason.DEGRADED_REASON_NO_REPLICA
        else:
            reason = Reason.DEGRADED_REASON_DEADLINE
            self._hand_over(job, now)
        scheduler.give_up(job)
        self.failed(job, reason, now)

    def _hand_over(self, job: Job, now: float) -> None:
        """A call that runs goes to the follower with the earliest deadline of those who still await its answer."""
        flight = job.flight
        if flight is None or job.attempt is None:
            return
        while (heir := flight.first()) is not None:
            if heir.sink.closed:
                self._finish(heir)
            elif heir.deadline > now:
                job.attempt.hand_to(heir)
                flight.lead(heir)
                return
            else:
                # Its timer is due in this very pass of the loop.
                self._fall(heir, Reason.DEGRADED_REASON_DEADLINE, now)

    def _next(self, flight: Flight[Job] | None, now: float) -> None:
        """After the leader failed, the follower with the earliest deadline becomes the leader and calls an engine."""
        if flight is None:
            return
        while (job := flight.first()) is not None:
            if job.sink.closed:
                self._finish(job)
            elif now >= job.deadline:
                self._fall(job, Reason.DEGRADED_REASON_TOO_LATE, now)
            else:
                flight.promote(job)
                # Not inside of this one's failure: a thousand that fail at once would be a thousand calls deep.
                self._loop.call_soon(self._lead, job)
                return
        self._flights.close(flight)

    def _lead(self, job: Job) -> None:
        if not job.over and job.flight is not None and job.flight.leader is job:
            self._submit(job, monotonic())

    def _fall(self, job: Job, reason: pb.DegradedReason.ValueType, now: float) -> None:
        """Down the fallback chain: the first step that has an answer gives it."""
        if job.text_started:
            self._answer(job, pb.SOURCE_ENGINE, "", Form(reason=reason, truncated=True))
            return
        found = None if job.second else self._fallback.best(job.plan, now)
        if found is None:
            tier = job.plan.route.tier.label
            self._end(job, Fault(status=why_none(job, reason), tier=tier, second=job.second))
            return
        source, text, tier = found
        second = self._second(job, now)
        form = Form(tier=tier, reason=reason, provisional=second is not None)
        job.later = second
        self._answer(job, source, text, form)
        if second is not None:
            self._hold(second)
            self._start(second, now)

    def _second(self, job: Job, now: float) -> Job | None:
        """The same question to the role that gives deferred answers, if there is one."""
        route = job.plan.route
        name = route.role.deferred_to
        if not name or not job.sink.defers or job.sink.closed or self.ledger.full(job.world):
            return None
        try:
            later = self._planner.route(route.world, name)
        except ServiceFault:
            return None
        plan = job.plan.moved(later)
        second = Job(job.question, plan, job.sink, now, plan.deadline_ms / 1000)
        second.messages, second.second = job.messages, True
        second.prompt_bytes, second.held, second.size = job.prompt_bytes, job.held, job.size
        return second

    def _answer(
        self, job: Job, source: pb.Source.ValueType, text: str, form: Form = ENGINES
    ) -> None:
        self._finish(job)
        self._responses.answer(job, source, text, form, monotonic())

    def _end(self, job: Job, fault: Fault) -> None:
        self._finish(job)
        self._responses.fault(job.sink, job.question, fault)

    def _finish(self, job: Job) -> None:
        """Nothing more will be done for it."""
        if job.over:
            return
        job.over = True
        self._release(job)
        # The queue may remember a job for longer than its prompt should be.
        job.messages = []
        if job.timer is not None:
            job.timer.cancel()
        if job.follows and job.flight is not None:
            job.flight.unfollow(job)
            return
        now = monotonic()
        self._hand_over(job, now)
        self.schedulers.of(job.plan.route.tier).give_up(job)
        self._next(self._flights.leave(job), now)
