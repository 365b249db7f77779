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
from gameai.gateway.job import Job, Reason
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
    """Receives the results of jobs."""

    def answered(self, job: Job, completion: Completion, revision: str, now: float) -> None:
        """An engine answered it."""

    def failed(self, job: Job, reason: pb.DegradedReason.ValueType, now: float) -> None:
        """No engine will, in time."""

    def refused(self, job: Job, message: str) -> None:
        """An engine says that the question is wrong."""


class Scheduler:
    """One tier."""

    def __init__(
        self, tier: TierView, outcome: Outcome, metrics: Metrics, ledger: MemoryLedger, pacer: Pacer
    ) -> None:
        self.tier = tier
        self.ledger = ledger
        self.pacer = pacer
        self.queue: FairQueue[Job] = FairQueue(MOST_QUEUED)
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

    def submit(self, job: Job, now: float) -> pb.DegradedReason.ValueType | None:
        """Queue a job; why not, if it is shed at once."""
        if now >= job.deadline:
            return Reason.DEGRADED_REASON_TOO_LATE
        # One job of each namespace is tried nevertheless: otherwise a faster engine would not be noticed.
        if self.slots and self.queue.in_flight(job):
            service = self.estimate.mean(job.size, now)
            wait = service * self.queue.wait(job, self.slots)
            if now + wait > self.latest(job, now):
                return Reason.DEGRADED_REASON_TOO_LATE
        job.queued, job.waiting = now, True
        gone = self.queue.push(job, now)
        if gone is job:
            job.waiting = False
            return Reason.DEGRADED_REASON_QUEUE_FULL
        if gone is not None:
            gone.waiting = False
            # Not at once: those who followed it come here, and each may put out another.
            self._loop.call_soon(self._put_out, gone)
        self.pump()
        return None

    def _put_out(self, job: Job) -> None:
        if not job.over:
            self._outcome.failed(job, Reason.DEGRADED_REASON_QUEUE_FULL, monotonic())

    def latest(self, job: Job, now: float) -> float:
        """When a job must have begun to be ready in time."""
        needed = self.estimate.needed(job.size, job.budget, now)
        return job.deadline - job.margin - needed

    def give_up(self, job: Job) -> None:
        """The answer of this job is not wanted any more."""
        if job.waiting:
            job.waiting = False
            self.queue.forget()
        elif job.attempt is not None:
            job.attempt.cancel()

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
            job = queue.pop(now)
            if job is None:
                return
            job.waiting = False
            # It counts as in flight already.
            if now >= job.deadline or (now > self.latest(job, now) and queue.in_flight(job) > 1):
                self.queue.done(job.flow)
                self._outcome.failed(job, Reason.DEGRADED_REASON_TOO_LATE, now)
                continue
            self._dispatch(job, now)

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

    def _dispatch(self, job: Job, now: float) -> None:
        replica = self._pick(job, now)
        job.started = now
        plan = job.plan
        wanted = CompletionParameters(plan.actions, plan.tokens, plan.seed, streams=job.streams)
        request = chat_completions.request(
            replica.address, plan.route.tier.model, job.messages, wanted
        )
        attempt = Attempt(self, job, replica)
        job.attempt = attempt
        self.in_flight += 1
        world = self._metrics.world(plan.route.world.key)
        self._metrics.requests[world, self.tier.label] += 1
        most = chat_completions.most_bytes(plan.tokens, streams=job.streams)
        replica.send(request, attempt, now, streams=job.streams, most=most)

    def _pick(self, job: Job, now: float) -> Replica:
        if len(self.replicas) == 1:
            return next(iter(self.replicas.values()))

        def room(address: str) -> bool:
            return self.replicas[address].room(now) and address != job.avoid

        def load(address: str) -> float:
            return self.replicas[address].load()

        where = place(job.plan.affinity) if len(self._ring.addresses) > 1 else 0
        address = self._ring.pick(where, load, room)
        if address is None:
            # Only the one where it failed before has room.
            address = next(each for each, found in self.replicas.items() if found.room(now))
        return self.replicas[address]

    def _ended(self, attempt: Attempt, now: float) -> Job:
        """An attempt ended by itself: its slot is free."""
        job = attempt.job
        job.attempt = None
        self._release(attempt)
        self._metrics.engine_seconds[self.tier.label,].observe(attempt.seconds(now))
        return job

    def cancelled(self, attempt: Attempt) -> None:
        """An attempt was given up: the engine is still at it for a moment."""
        job, now = attempt.job, monotonic()
        job.attempt = None
        attempt.settle()
        passed = now - job.started
        if passed > self.estimate.mean(job.size, now):
            self.estimate.observe(job.size, passed, now)
        self.pace.missed(job.plan.tokens, job.prompt_bytes, passed)
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
        job = self._ended(attempt, now)
        self.estimate.observe(job.size, seconds, now)
        self.pace.wrote(completion.completion_tokens, job.prompt_bytes, seconds)
        self._outcome.answered(job, completion, attempt.replica.endpoint.revision, now)
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
        job = attempt.job
        job.attempt = None
        self._release(attempt)
        retry = verdict is not Verdict.QUESTION
        if retry and self._may_retry(job, attempt.replica.address, now):
            job.avoid = attempt.replica.address
            if self.submit(job, now) is None:
                return
        self._outcome.failed(job, Reason.DEGRADED_REASON_ENGINE_FAILED, now)
        self.pump()

    def tell(self, status: int, words: str) -> None:
        """Log an engine's words, now and then: a tier may refuse everything."""
        now = monotonic()
        if now >= self._silent_until:
            self._silent_until = now + _SILENT_SECONDS
            _LOG.warning("%s: an engine answered %d: %s", self.tier.key, status, words)

    def _may_retry(self, job: Job, failed: str, now: float) -> bool:
        """Once, on another replica, with time left; never for Gold, which has no time to lose."""
        return (
            self.tier.tier_class is not LatencyClass.GOLD
            and not job.avoid
            and not job.text_started
            and any(each != failed for each in self._ring.addresses)
            and job.deadline - now >= _RETRY_PART * job.budget
        )
