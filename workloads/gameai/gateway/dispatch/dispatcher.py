"""EDGE: takes questions, finds their answers down the fallback chain, and gives each exactly one that is final."""

from __future__ import annotations

import asyncio
import math
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
from gameai.gateway.inquiry import Inquiry, Reason, Sink
from gameai.gateway.memory import QUESTION_BYTES, MemoryLedger, namespace
from gameai.gateway.metrics import Metrics
from gameai.gateway.pacing import Pacer
from gameai.gateway.routing.resolve import Plan, Planner, messages
from gameai.gateway.routing.snapshot import ABSENT, View, WorldView
from gameai.inference.v1 import inference_pb2 as pb

# What the loop's clock is rounded to.
_TICK_SECONDS = 0.001


def _answered_by(inquiry: Inquiry) -> float:
    """When an answer must leave to be in time."""
    return inquiry.deadline - inquiry.margin


class Dispatcher:
    """All schedulers and the cache behind one counter. Belongs to one loop."""

    def __init__(self, view: View, metrics: Metrics) -> None:
        self.metrics = metrics
        self.cache = Cache()
        self._fallback = FallbackChain(self.cache)
        self.open = 0
        self.ledger, self.pacer = MemoryLedger(), Pacer()
        self.schedulers = Schedulers(self, metrics, self.ledger, self.pacer)
        self._flights: Flights[Inquiry] = Flights()
        self._loop = asyncio.get_running_loop()
        self._responses = Responses(metrics)
        metrics.gauges = lambda: dispatcher_gauges(
            self.schedulers, self.cache, self.ledger, self.open
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
    ) -> Inquiry | None:
        """Take a question, which came now or had `arrived` before; its answers come to the sink.

        Its deadline is over `within` so many seconds, if not sooner. The inquiry, if there is something to wait for.
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
        inquiry = Inquiry(question.id, plan, sink, now if arrived is None else arrived, left)
        inquiry.streams = streams
        inquiry.prompt_bytes = prompt_bytes
        inquiry.held = prompt_bytes + QUESTION_BYTES
        inquiry.size = size_of(plan.tokens, prompt_bytes)
        full = self._hold(inquiry)
        inquiry.messages = messages(question)
        if full:
            self._fall(inquiry, Reason.DEGRADED_REASON_QUEUE_FULL, now)
            return None
        self._start(inquiry, now)
        return inquiry

    def _hold(self, inquiry: Inquiry) -> bool:
        """Whether its world then holds more than it may."""
        self.open += 1
        return self.ledger.hold(inquiry.world, inquiry.held)

    def _release(self, inquiry: Inquiry) -> None:
        self.open -= 1
        self.ledger.hold(inquiry.world, -inquiry.held)

    def refuse(self, question: pb.Question, sink: Sink, fault: ServiceFault) -> None:
        """Say why a question is not taken."""
        self._responses.fault(sink, question.id, Fault(status=status_of(fault)))

    def abandon(self, inquiry: Inquiry) -> None:
        """The client of this inquiry is gone."""
        for each in (inquiry, inquiry.later):
            if each is not None:
                self._finish(each)

    def answered(self, inquiry: Inquiry, completion: Completion, revision: str, now: float) -> None:
        """An engine answered: all equal questions get the answer too."""
        plan = inquiry.plan
        self._responses.tokens(inquiry, completion)
        # The text of a streamed answer is not kept, and a truncated answer must not be given to others.
        whole = (
            not inquiry.streams and not completion.truncated and len(completion.text) <= MOST_TEXT
        )
        if plan.key is not None and plan.rules is not None and whole:
            kept = (completion.text, plan.route.tier.key, now)
            self.cache.put(namespace(inquiry.world), plan.keyed(revision), kept)
        followers = self._flights.disband(inquiry)
        form = Form(truncated=True) if completion.truncated else ENGINES
        self._answer(inquiry, pb.SOURCE_ENGINE, completion.text, form)
        for follower in followers:
            self._answer(follower, pb.SOURCE_FRESH_CACHE, completion.text, form)

    def failed(self, inquiry: Inquiry, reason: pb.DegradedReason.ValueType, now: float) -> None:
        """No engine will answer it in time: it goes down its fallback chain, and who asked the same may try."""
        flight = self._flights.leave(inquiry)
        self._fall(inquiry, reason, now)
        self._next(flight, now)

    def refused(self, inquiry: Inquiry, message: str) -> None:
        """An engine says that the question is wrong. Others of the same state may have worded theirs better."""
        flight = self._flights.leave(inquiry)
        self._end(
            inquiry, Fault(status=status(code_pb2.INVALID_ARGUMENT, message, "PROMPT_TOO_LONG"))
        )
        self._next(flight, monotonic())

    def _start(self, inquiry: Inquiry, now: float) -> None:
        """Queue an inquiry, or let it wait for one that asks the same."""
        if inquiry.timer is None:
            self._wake(inquiry, _answered_by(inquiry), now)
        if now >= inquiry.deadline:
            self._fall(inquiry, Reason.DEGRADED_REASON_TOO_LATE, now)
            return
        key = inquiry.plan.key
        joined, overtaken = Join.LEADS, None
        if key is not None and inquiry.plan.shares and not inquiry.streams:
            joined, overtaken = self._flights.join(key, inquiry)
        if overtaken is not None:
            self.schedulers.of(overtaken.plan.route.tier).give_up(overtaken)
        if joined is Join.FULL:
            self._fall(inquiry, Reason.DEGRADED_REASON_QUEUE_FULL, now)
        elif joined is not Join.FOLLOWS:
            self._submit(inquiry, now)

    def _submit(self, inquiry: Inquiry, now: float) -> None:
        """Queue an inquiry that leads, or asks for itself alone."""
        scheduler = self.schedulers.of(inquiry.plan.route.tier)
        reason = scheduler.submit(inquiry, now)
        if reason is not None:
            self.failed(inquiry, reason, now)
        elif inquiry.waiting and scheduler.callable:
            # An inquiry without a slot by then fails immediately, so that its caller does not wait for nothing.
            self._wake(inquiry, scheduler.latest(inquiry, now), now)

    def _wake(self, inquiry: Inquiry, at: float, now: float) -> None:
        """Look at an inquiry then, and not before."""
        if inquiry.timer is not None:
            inquiry.timer.cancel()
        inquiry.timer = self._loop.call_later(max(0.0, at - now), self._expire, inquiry)

    def _expire(self, inquiry: Inquiry) -> None:
        """Its time is over, wherever it is; for one that waits for a slot it is over sooner."""
        if inquiry.over:
            return
        now, end = monotonic(), _answered_by(inquiry)
        if inquiry.waiting and not inquiry.follows:
            scheduler = self.schedulers.of(inquiry.plan.route.tier)
            # What is known of the engine may have changed, or it may be gone: then it is waited for.
            end = min(end, scheduler.latest(inquiry, now)) if scheduler.callable else end
        if now < end - _TICK_SECONDS:
            self._wake(inquiry, end, now)
            return
        if inquiry.follows and inquiry.flight is not None:
            inquiry.flight.unfollow(inquiry)
            self._fall(inquiry, Reason.DEGRADED_REASON_DEADLINE, now)
            return
        scheduler = self.schedulers.of(inquiry.plan.route.tier)
        waited = inquiry.waiting or inquiry.attempt is None
        if waited:
            late = Reason.DEGRADED_REASON_TOO_LATE
            reason = late if scheduler.callable else Reason.DEGRADED_REASON_NO_REPLICA
        else:
            reason = Reason.DEGRADED_REASON_DEADLINE
            self._hand_over(inquiry, now)
        scheduler.give_up(inquiry)
        self.failed(inquiry, reason, now)

    def _hand_over(self, inquiry: Inquiry, now: float) -> None:
        """A call that runs goes to the follower with the earliest deadline of those who still await its answer."""
        flight = inquiry.flight
        if flight is None or inquiry.attempt is None:
            return
        while (heir := flight.first()) is not None:
            if heir.sink.closed:
                self._finish(heir)
            elif heir.deadline > now:
                inquiry.attempt.hand_to(heir)
                flight.lead(heir)
                return
            else:
                # Its timer is due in this very pass of the loop.
                self._fall(heir, Reason.DEGRADED_REASON_DEADLINE, now)

    def _next(self, flight: Flight[Inquiry] | None, now: float) -> None:
        """After the leader failed, the follower with the earliest deadline becomes the leader and calls an engine."""
        if flight is None:
            return
        while (inquiry := flight.first()) is not None:
            if inquiry.sink.closed:
                self._finish(inquiry)
            elif now >= inquiry.deadline:
                self._fall(inquiry, Reason.DEGRADED_REASON_TOO_LATE, now)
            else:
                flight.promote(inquiry)
                # Not inside of this one's failure: a thousand that fail at once would be a thousand calls deep.
                self._loop.call_soon(self._lead, inquiry)
                return
        self._flights.close(flight)

    def _lead(self, inquiry: Inquiry) -> None:
        if not inquiry.over and inquiry.flight is not None and inquiry.flight.leader is inquiry:
            self._submit(inquiry, monotonic())

    def _fall(self, inquiry: Inquiry, reason: pb.DegradedReason.ValueType, now: float) -> None:
        """Down the fallback chain: the first step that has an answer gives it."""
        if inquiry.text_started:
            self._answer(inquiry, pb.SOURCE_ENGINE, "", Form(reason=reason, truncated=True))
            return
        found = None if inquiry.second else self._fallback.best(inquiry.plan, now)
        if found is None:
            tier = inquiry.plan.route.tier.label
            self._end(
                inquiry, Fault(status=why_none(inquiry, reason), tier=tier, second=inquiry.second)
            )
            return
        source, text, tier = found
        second = self._second(inquiry, now)
        form = Form(tier=tier, reason=reason, provisional=second is not None)
        inquiry.later = second
        self._answer(inquiry, source, text, form)
        if second is not None:
            self._hold(second)
            self._start(second, now)

    def _second(self, inquiry: Inquiry, now: float) -> Inquiry | None:
        """The same question to the role that gives deferred answers, if there is one."""
        route = inquiry.plan.route
        name = route.role.deferred_to
        if (
            not name
            or not inquiry.sink.defers
            or inquiry.sink.closed
            or self.ledger.full(inquiry.world)
        ):
            return None
        try:
            later = self._planner.route(route.world, name)
        except ServiceFault:
            return None
        plan = inquiry.plan.moved(later)
        second = Inquiry(inquiry.question, plan, inquiry.sink, now, plan.deadline_ms / 1000)
        second.messages, second.second = inquiry.messages, True
        second.prompt_bytes, second.held, second.size = (
            inquiry.prompt_bytes,
            inquiry.held,
            inquiry.size,
        )
        return second

    def _answer(
        self, inquiry: Inquiry, source: pb.Source.ValueType, text: str, form: Form = ENGINES
    ) -> None:
        self._finish(inquiry)
        self._responses.answer(inquiry, source, text, form, monotonic())

    def _end(self, inquiry: Inquiry, fault: Fault) -> None:
        self._finish(inquiry)
        self._responses.fault(inquiry.sink, inquiry.question, fault)

    def _finish(self, inquiry: Inquiry) -> None:
        """Nothing more will be done for it."""
        if inquiry.over:
            return
        inquiry.over = True
        self._release(inquiry)
        # The queue may remember an inquiry for longer than its prompt should be.
        inquiry.messages = []
        if inquiry.timer is not None:
            inquiry.timer.cancel()
        if inquiry.follows and inquiry.flight is not None:
            inquiry.flight.unfollow(inquiry)
            return
        now = monotonic()
        self._hand_over(inquiry, now)
        self.schedulers.of(inquiry.plan.route.tier).give_up(inquiry)
        self._next(self._flights.leave(inquiry), now)
