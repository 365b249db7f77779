"""EDGE: an inquiry at a replica, and what becomes of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from time import monotonic
from typing import Protocol

from gameai.gateway.engines import chat_completions
from gameai.gateway.engines.chat_completions import Completion, Events, Flaw, Verdict
from gameai.gateway.engines.http1 import Call, Failure
from gameai.gateway.engines.replica import Replica
from gameai.gateway.inquiry import Inquiry
from gameai.gateway.memory import MemoryLedger
from gameai.gateway.pacing import Pacer


class Owner(Protocol):
    """The owner of attempts: it has their slots, and decides what follows from their results."""

    ledger: MemoryLedger
    pacer: Pacer

    def cancelled(self, attempt: Attempt) -> None:
        """An attempt was given up."""

    def succeeded(self, attempt: Attempt, completion: Completion) -> None:
        """An engine answered."""

    def refused(self, attempt: Attempt, message: str) -> None:
        """The engine refused the question as too long."""

    def broke(self, attempt: Attempt, how: str, verdict: Verdict) -> None:
        """An attempt failed, and what that speaks about."""

    def tell(self, status: int, words: str) -> None:
        """Log an engine's error, at a limited rate."""


# Longer replies, and longer pieces of streamed ones, are read when the turn of their world comes.
_AT_ONCE_BYTES = 16 << 10


class Attempt:
    """An inquiry at a replica: receives the events of its HTTP call."""

    __slots__ = ("_pieces", "_replied_at", "_unread", "call", "events", "flow", "held", "inquiry", "over", "replica", "scheduler", "world")  # fmt: skip

    def __init__(self, scheduler: Owner, inquiry: Inquiry, replica: Replica) -> None:
        self.scheduler = scheduler
        self.inquiry = inquiry
        # Slot and memory count for the inquiry that began the attempt, even if another inquiry takes it over.
        self.flow, self.world = inquiry.flow, inquiry.world
        self.replica = replica
        self.call: Call | None = None
        self.events = (
            Events(chat_completions.most_events(inquiry.plan.tokens)) if inquiry.streams else None
        )
        # Bytes of an unfinished reply, and of those the ones that wait for their turn.
        self.held = self._unread = 0
        # Parts of the reply that wait for their turn, and when the reply was whole.
        self._pieces: deque[tuple[int, Callable[[], None]]] = deque()
        self._replied_at = 0.0
        self.over = False

    def cancel(self) -> None:
        """Its answer is not wanted any more."""
        if self.call is not None:
            self.call.cancel()
        self.scheduler.cancelled(self)

    def resume(self) -> None:
        """Its sink has room again."""
        if self.call is not None:
            self.call.resume()

    def hand_to(self, inquiry: Inquiry) -> None:
        """From now on it is another inquiry's, which asked the same."""
        self.inquiry.attempt, inquiry.attempt = None, self
        inquiry.started = self.inquiry.started
        self.inquiry = inquiry

    def seconds(self, now: float) -> float:
        """Time of the engine: the wait for a turn of this gateway does not count."""
        return (self._replied_at or now) - self.inquiry.started

    def settle(self) -> None:
        """The attempt is over; later events are ignored."""
        self.over = True
        self.replica.settled(self)
        self._pieces.clear()
        self._unread = 0
        self.holding(0)

    def heard(self) -> None:
        """A first byte."""
        self.replica.heard(monotonic())

    def holding(self, size: int) -> None:
        """So many bytes of its reply are held: a replica is its tenant's, who must not fill the gateway with replies."""
        size += self._unread
        if size == self.held:
            return
        full = self.scheduler.ledger.hold(self.world, size - self.held)
        self.held = size
        if full and size:
            self._break("memory", Verdict.QUESTION)

    def _break(self, how: str, verdict: Verdict) -> None:
        """Read no more of the reply."""
        if self.call is not None:
            self.call.cancel()
        self.scheduler.broke(self, how, verdict)

    def _in_turn(self, size: int, work: Callable[[], None]) -> None:
        """Read a part of the reply, after those that wait."""
        if size <= _AT_ONCE_BYTES and not self._unread:
            work()
            return
        self._unread += size
        self._pieces.append((size, work))
        self.scheduler.pacer.add(self._turn, self.world)
        self.holding(0)

    def _turn(self) -> None:
        if not self._pieces:
            # The attempt is over.
            return
        size, work = self._pieces.popleft()
        self._unread -= size
        self.held -= size
        self.scheduler.ledger.hold(self.world, -size)
        work()

    def streamed(self, data: bytes) -> None:
        """A part of a stream."""
        self._in_turn(len(data), partial(self._hear, data))

    def _hear(self, data: bytes) -> None:
        assert self.events is not None  # noqa: S101 - only streams are delivered in parts
        self._speak(self.events.feed(data))
        if self.events.faulty and not self.over:
            self._break(Flaw.UNFINISHED, Verdict.REPLICA)

    def _speak(self, text: str) -> None:
        if text:
            self.inquiry.text_started = True
            if not self.inquiry.sink.append(self.inquiry.question, text) and self.call is not None:
                self.call.pause()

    def replied(self, status: int, body: bytes) -> None:
        """The whole reply."""
        self._replied_at = monotonic()
        self._in_turn(len(body), partial(self._read, status, body))

    def _read(self, status: int, body: bytes) -> None:
        if status != HTTPStatus.OK:
            self._refused(status, chat_completions.refusal(status, body))
            return
        if self.events is not None:
            self._speak(self.events.end())
            found = self.events.completion()
        else:
            found = chat_completions.completion(body, self.inquiry.plan.actions)
        if found in (Flaw.BLANK, Flaw.FILTERED):
            # Not a fault of the replica: otherwise the questions of one tenant could exclude it for all.
            self.scheduler.broke(self, found, Verdict.QUESTION)
        elif isinstance(found, Flaw):
            self.scheduler.broke(self, found, Verdict.REPLICA)
        else:
            self.scheduler.succeeded(self, found)

    def _refused(self, status: int, refusal: chat_completions.Refusal) -> None:
        if refusal.too_long:
            self.scheduler.refused(self, refusal.words)
            return
        self.scheduler.tell(status, refusal.words)
        if refusal.verdict is Verdict.QUESTION:
            self.replica.breaker.succeeded()
        self.scheduler.broke(self, str(status), refusal.verdict)

    def failed(self, failure: Failure) -> None:
        """No reply."""
        self.scheduler.broke(self, failure.value, Verdict.REPLICA)
