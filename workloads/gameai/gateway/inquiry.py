"""PURE: one question on its way through the gateway."""

from __future__ import annotations

from typing import Protocol

from gameai.gateway.coalescing import Flight
from gameai.gateway.routing.resolve import Plan
from gameai.inference.v1 import inference_pb2 as pb

# So much of a question's time is left for the way back: 1 ms of 16, 10 ms of 160 or more.
_MARGIN = 1 / 16
_LEAST_MARGIN_SECONDS, _MOST_MARGIN_SECONDS = 0.001, 0.010

Reason = pb.DegradedReason


class Sink(Protocol):
    """Where answers go; `defers` where a second, better answer may follow, `timed` where someone waits for it."""

    closed: bool
    defers: bool
    timed: bool

    def answer(self, answer: pb.Answer, *, last: bool) -> None:
        """Take an answer; after the last one nothing more comes for its question."""

    def append(self, question: int, text: str) -> bool:
        """A part of a streamed answer's text; whether there is room for more."""


class Running(Protocol):
    """An inquiry's call of an engine."""

    def cancel(self) -> None:
        """End it: its answer is not wanted any more."""

    def resume(self) -> None:
        """Read on: the sink has room again."""

    def hand_to(self, inquiry: Inquiry) -> None:
        """From now on it is another inquiry's, which asks the same."""


class Timer(Protocol):
    """A call at a later time."""

    def cancel(self) -> None:
        """Do not call."""


class Inquiry:
    """A question with its time. Times are seconds of the monotonic clock."""

    __slots__ = (
        "arrived",
        "attempt",
        "avoid",
        "budget",
        "cost",
        "deadline",
        "flight",
        "flow",
        "held",
        "later",
        "margin",
        "messages",
        "most_in_flight",
        "over",
        "plan",
        "prompt_bytes",
        "question",
        "queued",
        "second",
        "sink",
        "size",
        "started",
        "streams",
        "text_started",
        "timer",
        "waiting",
        "weight",
        "world",
    )  # fmt: skip

    def __init__(
        self, question: int, plan: Plan, sink: Sink, arrived: float, budget: float
    ) -> None:
        self.question = question
        self.plan = plan
        self.sink = sink
        self.arrived = arrived
        self.budget = budget
        self.deadline = arrived + budget
        self.margin = min(_MOST_MARGIN_SECONDS, max(_LEAST_MARGIN_SECONDS, budget * _MARGIN))
        self.messages: list[dict[str, str]] = []
        # Of the queue.
        self.world = plan.route.world.key
        self.flow = plan.route.flow
        self.weight = plan.route.role.weight
        self.most_in_flight = plan.route.role.most_in_flight
        self.cost = plan.cost
        self.waiting = False
        self.queued = arrived
        self.started = 0.0
        # Of the engine: the attempt that runs, and the replica where one failed.
        self.attempt: Running | None = None
        self.avoid = ""
        # Of the question, in bytes of the wire; what is held for it; and its size for an engine.
        self.prompt_bytes = self.held = self.size = 0
        self.streams = False
        self.text_started = False
        # Of the dispatcher: those who ask the same, and whether it is the second answer of another tier.
        self.flight: Flight[Inquiry] | None = None
        self.second = False
        self.later: Inquiry | None = None
        self.timer: Timer | None = None
        self.over = False

    @property
    def follows(self) -> bool:
        """Whether it waits for another's answer."""
        return self.flight is not None and self.flight.leader is not self
