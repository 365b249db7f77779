"""EDGE: a job at a replica, and what becomes of it."""

from __future__ import annotations

from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING

from gameai.gateway import engine
from gameai.gateway.engine import Events, Flaw, Verdict
from gameai.gateway.http1 import Call, Failure
from gameai.gateway.job import Job
from gameai.gateway.replica import Replica

if TYPE_CHECKING:
    from gameai.gateway.pool import Pool


class Attempt:
    """A job at a replica: hears what comes back."""

    __slots__ = ("call", "events", "flow", "held", "job", "pool", "replica", "world")

    def __init__(self, pool: Pool, job: Job, replica: Replica) -> None:
        self.pool = pool
        self.job = job
        # Whoever has the job later: its slot and memory count for those who began it.
        self.flow, self.world = job.flow, job.world
        self.replica = replica
        self.call: Call | None = None
        self.events = Events() if job.streams else None
        # Bytes of an unfinished reply.
        self.held = 0

    def cancel(self) -> None:
        """Nobody waits for it."""
        if self.call is not None:
            self.call.cancel()
        self.pool.cancelled(self)

    def resume(self) -> None:
        """Its sink has room again."""
        if self.call is not None:
            self.call.resume()

    def hand_to(self, job: Job) -> None:
        """From now on it is another job's, which asked the same."""
        self.job.attempt, job.attempt = None, self
        job.started = self.job.started
        self.job = job

    def settle(self) -> None:
        """Nothing more is heard of it."""
        self.replica.settled(self)
        self.holding(0)

    def heard(self) -> None:
        """A first byte."""
        self.replica.heard(monotonic())

    def holding(self, size: int) -> None:
        """So many bytes of its reply are held: a replica is its tenant's, who must not fill the gateway with replies."""
        if size == self.held:
            return
        full = self.pool.ledger.hold(self.world, size - self.held)
        self.held = size
        if full and size:
            if self.call is not None:
                self.call.cancel()
            self.pool.broke(self, "memory", Verdict.QUESTION)

    def streamed(self, data: bytes) -> None:
        """A part of a stream."""
        assert self.events is not None  # noqa: S101 - only streams are told in parts
        self._speak(self.events.feed(data))

    def _speak(self, text: str) -> None:
        if text:
            self.job.spoken = True
            if not self.job.sink.spoke(self.job.question, text) and self.call is not None:
                self.call.pause()

    def replied(self, status: int, body: bytes) -> None:
        """The whole reply."""
        if status != HTTPStatus.OK:
            self._refused(status, engine.refusal(status, body))
            return
        if self.events is not None:
            self._speak(self.events.end())
            said = self.events.said()
        else:
            said = engine.said(body, self.job.plan.actions)
        if said is Flaw.BLANK:
            # What a model does not say is no fault of the replica's: one tenant's questions could close it to all.
            self.pool.broke(self, said, Verdict.QUESTION)
        elif isinstance(said, Flaw):
            self.pool.broke(self, said, Verdict.REPLICA)
        else:
            self.pool.succeeded(self, said)

    def _refused(self, status: int, refusal: engine.Refusal) -> None:
        if refusal.too_long:
            self.pool.refused(self, refusal.words)
            return
        self.pool.tell(status, refusal.words)
        if refusal.verdict is Verdict.QUESTION:
            self.replica.breaker.succeeded()
        self.pool.broke(self, str(status), refusal.verdict)

    def failed(self, failure: Failure) -> None:
        """No reply."""
        self.pool.broke(self, failure.value, Verdict.REPLICA)
