"""EDGE: a tier's queue and replicas: who goes next, where to, and what became of it."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import Protocol

from gameai_contract.inference import LatencyClass

from gameai.gateway.engines import chat_completions
from gameai.gateway.engines.attempt import Attempt
from gameai.gateway.engines.chat_completions import Completion, CompletionParameters, Verdict
from gameai.gateway.engines.circuit_breaker import part
from gameai.gateway.engines.fair_queue import FairQueue
from gameai.gateway.engines.hash_ring import Ring, place
from gameai.gateway.engines.http1 import ConnectionPool
from gameai.gateway.engines.replica import Replica
from gameai.gateway.engines.service_time import Estimate, Pace
from gameai.gateway.inquiry import Inquiry, Reason
from gameai.gateway.memory import MemoryLedger
from gameai.gateway.metrics import Metrics
from gameai.gateway.pacing import DISPATCH, Pacer
from gameai.gateway.routing.snapshot import TierView
from gameai.inference.v1 import inference_pb2 as pb

MOST_QUEUED = 4096
# An engine needs a moment to notice that a connection is closed.
_CANCELLED_SECONDS = 0.1
# Of its time a question must have so much left to be tried a second time.
_RETRY_PART = 0.4
_SILENT_SECONDS = 10.0
# Then the others have their turns: an update of the view may free slots of many tiers at once.
_SLICE_SECONDS = 0.001
_LOG = logging.getLogger(__name__)


class Outcome(Protocol):
    """Receives the results of inquiries."""

    def answered(self, inquiry: Inquiry, completion: Completion, revision: str, now: float) -> None:
        """An engine answered it."""

    def failed(self, inquiry: Inquiry, reason: pb.DegradedReason.ValueType, now: float) -> None:
        """No engine will, in time."""

    def refused(self, inquiry: Inquiry, message: str) -> None:
        """An engine says that the question is wrong."""


class Scheduler:
    """One tier."""

    def __init__(
        self, tier: TierView, outcome: Outcome, metrics: Metrics, ledger: MemoryLedger, pacer: Pacer
    ) -> None:
        self.tier = tier
        self.ledger = ledger
        self.pacer = pacer
        self.queue: FairQueue[Inquiry] = FairQueue(MOST_QUEUED)
        self.replicas: dict[str, Replica] = {}
        self.estimate, self.pace = Estimate(), Pace()
        self._outcome = outcome
        self._metrics = metrics
        self._ring = Ring(())
        self._loop = asyncio.get_running_loop()
        self._had_replicas = False
        self._pumping = self._resting = False
        self._silent_until = 0.0
        # This gateway's share of all slots, and requests at engines.
        self.slots = self.in_flight = 0

    @property
    def callable(self) -> bool:
        """Whether any replica may be called, were there room."""
        return any(
            not each.leaving and each.breaker.opened is None for each in self.replicas.values()
        )

    @property
    def forgotten(self) -> bool:
        """Whether nothing is left of it."""
        return not self.replicas and not len(self.queue)

    def update(self, tier: TierView, gateways: int) -> None:
        """Replicas come and go. Those that went get nothing more, and end what they have."""
        now = monotonic()
        self.tier = tier
        wanted = {endpoint.address: endpoint for endpoint in tier.endpoints}
        for address, endpoint in wanted.items():
            replica = self.replicas.get(address)
            if replica is None:
                # The first ones that are ever seen are warm: it is the gateway that is new.
                since = now if self._had_replicas else -1e9
                connections = ConnectionPool(address, monotonic)
                replica = Replica(endpoint, connections, since, self.pump)
                self.replicas[address] = replica
            replica.endpoint = endpoint
            replica.slots = part(tier.slots, gateways)
        for address, replica in self.replicas.items():
            replica.leaving = address not in wanted
        self.slots = sum(self.replicas[address].slots for address in wanted)
        self.queue.slots = self.slots
        self._had_replicas = self._had_replicas or bool(wanted)
        if wanted.keys() != set(self._ring.addresses):
            self._ring = Ring(wanted)
        self.look()

    def empty(self) -> None:
        """The tier is gone: nothing new is sent to its replicas."""
        for replica in self.replicas.values():
            replica.leaving = True
        self._ring, self.slots, self.queue.slots = Ring(()), 0, 0
        self.look()

    def submit(self, inquiry: Inquiry, now: float) -> pb.DegradedReason.ValueType | None:
        """Queue an inquiry; why not, if it is shed at once."""
        if now >= inquiry.deadline:
            return Reason.DEGRADED_REASON_TOO_LATE
        # One inquiry of each namespace is tried nevertheless: otherwise a faster engine would not be noticed.
        if self.slots and self.queue.in_flight(inquiry):
            service = self.estimate.mean(inquiry.size, now)
            wait = service * self.queue.wait(inquiry, self.slots)
            if now + wait > self.latest(inquiry, now):
                return Reason.DEGRADED_REASON_TOO_LATE
        inquiry.queued, inquiry.waiting = now, True
        gone = self.queue.push(inquiry, now)
        if gone is inquiry:
            inquiry.waiting = False
            return Reason.DEGRADED_REASON_QUEUE_FULL
        if gone is not None:
            gone.waiting = False
            # Not at once: those who followed it come here, and each may put out another.
            self._loop.call_soon(self._put_out, gone)
        self.pump()
        return None

    def _put_out(self, inquiry: Inquiry) -> None:
        if not inquiry.over:
            self._outcome.failed(inquiry, Reason.DEGRADED_REASON_QUEUE_FULL, monotonic())

    def latest(self, inquiry: Inquiry, now: float) -> float:
        """When an inquiry must have started to be ready in time."""
        needed = self.estimate.needed(inquiry.size, inquiry.budget, now)
        return inquiry.deadline - inquiry.margin - needed

    def give_up(self, inquiry: Inquiry) -> None:
        """The answer of this inquiry is not wanted any more."""
        if inquiry.waiting:
            inquiry.waiting = False
            self.queue.forget()
        elif inquiry.attempt is not None:
            inquiry.attempt.cancel()

    def pump(self) -> None:
        """Send what may be sent. One that fails brings others here: they are sent by the same pass, not inside of it."""
        if self._pumping or self._resting:
            return
        self._pumping = True
        try:
            self._send()
        finally:
            self._pumping = False

    def _go_on(self) -> None:
        self._resting = False
        self.pump()

    def _send(self) -> None:
        began, queue = monotonic(), self.queue
        while len(queue) and self._room(now := monotonic()):
            if now - began > _SLICE_SECONDS:
                # A replica that comes has room for thousands.
                self._resting = True
                self.pacer.add(self._go_on, f"{DISPATCH}{self.tier.key}")
                return
            inquiry = queue.pop(now)
            if inquiry is None:
                return
            inquiry.waiting = False
            # It counts as in flight already.
            if now >= inquiry.deadline or (
                now > self.latest(inquiry, now) and queue.in_flight(inquiry) > 1
            ):
                self.queue.done(inquiry.flow)
                self._outcome.failed(inquiry, Reason.DEGRADED_REASON_TOO_LATE, now)
                continue
            self._dispatch(inquiry, now)

    def _room(self, now: float) -> bool:
        for replica in self.replicas.values():  # noqa: SIM110 - a generator costs more than what it asks
            if replica.room(now):
                return True
        return False

    def look(self) -> None:
        """Now and then: what waits for time to pass."""
        now = monotonic()
        for address, replica in list(self.replicas.items()):
            replica.look(now)
            if replica.leaving and not replica.in_flight:
                replica.close()
                del self.replicas[address]
        self.pump()

    def _dispatch(self, inquiry: Inquiry, now: float) -> None:
        replica = self._pick(inquiry, now)
        inquiry.started = now
        plan = inquiry.plan
        wanted = CompletionParameters(plan.actions, plan.tokens, plan.seed, streams=inquiry.streams)
        request = chat_completions.request(
            replica.address, plan.route.tier.model, inquiry.messages, wanted
        )
        attempt = Attempt(self, inquiry, replica)
        inquiry.attempt = attempt
        self.in_flight += 1
        world = self._metrics.world(plan.route.world.key)
        self._metrics.requests[world, self.tier.label] += 1
        most = chat_completions.most_bytes(plan.tokens, streams=inquiry.streams)
        replica.send(request, attempt, now, streams=inquiry.streams, most=most)

    def _pick(self, inquiry: Inquiry, now: float) -> Replica:
        if len(self.replicas) == 1:
            return next(iter(self.replicas.values()))

        def room(address: str) -> bool:
            return self.replicas[address].room(now) and address != inquiry.avoid

        def load(address: str) -> float:
            return self.replicas[address].load()

        where = place(inquiry.plan.affinity) if len(self._ring.addresses) > 1 else 0
        address = self._ring.pick(where, load, room)
        if address is None:
            # Only the one where it failed before has room.
            address = next(each for each, found in self.replicas.items() if found.room(now))
        return self.replicas[address]

    def _ended(self, attempt: Attempt, now: float) -> Inquiry:
        """An attempt ended by itself: its slot is free."""
        inquiry = attempt.inquiry
        inquiry.attempt = None
        self._release(attempt)
        self._metrics.engine_seconds[self.tier.label,].observe(attempt.seconds(now))
        return inquiry

    def cancelled(self, attempt: Attempt) -> None:
        """An attempt was given up: the engine is still at it for a moment."""
        inquiry, now = attempt.inquiry, monotonic()
        inquiry.attempt = None
        attempt.settle()
        passed = now - inquiry.started
        if passed > self.estimate.mean(inquiry.size, now):
            self.estimate.observe(inquiry.size, passed, now)
        self.pace.missed(inquiry.plan.tokens, inquiry.prompt_bytes, passed)
        self._loop.call_later(_CANCELLED_SECONDS, self._free, attempt)

    def _release(self, attempt: Attempt) -> None:
        """Its slot, and its flow's part of those in flight, are free."""
        attempt.settle()
        self.in_flight -= 1
        attempt.replica.free(monotonic())
        self.queue.done(attempt.flow)

    def _free(self, attempt: Attempt) -> None:
        self._release(attempt)
        self.pump()

    def succeeded(self, attempt: Attempt, completion: Completion) -> None:
        """An engine's answer. Only answers say how long one takes: refusals come fast, and say nothing of it."""
        now = monotonic()
        attempt.replica.breaker.succeeded()
        seconds = attempt.seconds(now)
        inquiry = self._ended(attempt, now)
        self.estimate.observe(inquiry.size, seconds, now)
        self.pace.wrote(completion.completion_tokens, inquiry.prompt_bytes, seconds)
        self._outcome.answered(inquiry, completion, attempt.replica.endpoint.revision, now)
        self.pump()

    def refused(self, attempt: Attempt, message: str) -> None:
        """The engine is well, the question is not."""
        attempt.replica.breaker.succeeded()
        self._outcome.refused(self._ended(attempt, monotonic()), message)
        self.pump()

    def broke(self, attempt: Attempt, how: str, verdict: Verdict) -> None:
        """An attempt failed, and what that speaks about; another replica is tried unless it is the question."""
        now = monotonic()
        self._metrics.engine_failures[self.tier.label, how] += 1
        breaker = attempt.replica.breaker
        if verdict is Verdict.REPLICA:
            breaker.failed(now)
        elif verdict is Verdict.BUSY:
            breaker.busy(now)
        inquiry = attempt.inquiry
        inquiry.attempt = None
        self._release(attempt)
        retry = verdict is not Verdict.QUESTION
        if retry and self._may_retry(inquiry, attempt.replica.address, now):
            inquiry.avoid = attempt.replica.address
            if self.submit(inquiry, now) is None:
                return
        # One that is full has not looked at the question: a job loses no attempt by it.
        reason = (
            Reason.DEGRADED_REASON_QUEUE_FULL
            if verdict is Verdict.BUSY
            else Reason.DEGRADED_REASON_ENGINE_FAILED
        )
        self._outcome.failed(inquiry, reason, now)
        self.pump()

    def tell(self, status: int, words: str) -> None:
        """Log an engine's words, now and then: a tier may refuse everything."""
        now = monotonic()
        if now >= self._silent_until:
            self._silent_until = now + _SILENT_SECONDS
            _LOG.warning("%s: an engine answered %d: %s", self.tier.key, status, words)

    def _may_retry(self, inquiry: Inquiry, failed: str, now: float) -> bool:
        """Once, on another replica, with time left; never for Gold, which has no time to lose."""
        return (
            self.tier.tier_class is not LatencyClass.GOLD
            and not inquiry.avoid
            and not inquiry.text_started
            and any(each != failed for each in self._ring.addresses)
            and inquiry.deadline - now >= _RETRY_PART * inquiry.budget
        )
