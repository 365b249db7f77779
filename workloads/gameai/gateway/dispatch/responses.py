"""PURE: builds answers and faults, gives them to a sink, and counts them; the time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from google.rpc import code_pb2
from google.rpc.status_pb2 import Status

from gameai.errors import status
from gameai.gateway.dispatch.response_cache import Kept
from gameai.gateway.engines.chat_completions import Completion
from gameai.gateway.inquiry import Inquiry, Reason, Sink
from gameai.gateway.metrics import Metrics
from gameai.gateway.routing.resolve import Plan
from gameai.inference.v1 import inference_pb2 as pb

_CODES = MappingProxyType(
    {
        Reason.DEGRADED_REASON_QUEUE_FULL: code_pb2.RESOURCE_EXHAUSTED,
        Reason.DEGRADED_REASON_TOO_LATE: code_pb2.DEADLINE_EXCEEDED,
        Reason.DEGRADED_REASON_DEADLINE: code_pb2.DEADLINE_EXCEEDED,
    }
)
_SHORT = MappingProxyType(
    {value: name.removeprefix("DEGRADED_REASON_") for name, value in Reason.items()}
)
_SOURCES = MappingProxyType(
    {value: name.removeprefix("SOURCE_") for name, value in pb.Source.items()}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """What stands beside an answer; `tier` None is the question's own."""

    tier: str | None = None
    reason: pb.DegradedReason.ValueType = Reason.DEGRADED_REASON_UNSPECIFIED
    provisional: bool = False
    truncated: bool = False


ENGINES = Form()


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Why a question has no answer, and whether it is the second one; `tier` is empty if no tier was involved."""

    status: Status
    tier: str = ""
    second: bool = False


class Responses:
    """Gives answers to sinks, unless they are closed by then."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def at_once(
        self, question: pb.Question, plan: Plan, sink: Sink, kept: Kept, times: tuple[float, float]
    ) -> None:
        """An answer from the fresh cache to a question that never became an inquiry; `times`: seconds that it waited and had."""
        labels = (plan.route.tier.label, "FRESH_CACHE")
        waited, had = times
        self._metrics.answers[labels] += 1
        self._metrics.seconds[labels].observe(waited)
        text, tier, _ = kept
        answer = pb.Answer(
            id=question.id,
            text=text,
            source=pb.SOURCE_FRESH_CACHE,
            served_tier=tier,
            total_us=_micros(waited),
        )
        if waited > had:
            answer.late = True
            self._metrics.late[plan.route.tier.label,] += 1
        sink.answer(answer, last=True)

    def answer(
        self, inquiry: Inquiry, source: pb.Source.ValueType, text: str, form: Form, now: float
    ) -> None:
        """An inquiry's answer."""
        self._count(inquiry, source, form, now)
        if inquiry.sink.closed:
            return
        answer = pb.Answer(
            id=inquiry.question,
            text=text,
            source=source,
            served_tier=inquiry.plan.route.tier.key if form.tier is None else form.tier,
            supersedes=inquiry.second,
            total_us=_micros(now - inquiry.arrived),
        )
        if inquiry.started:
            answer.queue_us = _micros(inquiry.started - inquiry.queued)
            if source == pb.SOURCE_ENGINE:
                answer.engine_us = _micros(now - inquiry.started)
        if now > inquiry.deadline:
            answer.late = True
        # Most answers need none of these fields, and setting a field takes time.
        if form is not ENGINES:
            answer.degraded_reason = form.reason
            answer.provisional = form.provisional
            answer.truncated = form.truncated
        inquiry.sink.answer(answer, last=not form.provisional)

    def fault(self, sink: Sink, question: int, fault: Fault) -> None:
        """Give an error instead of an answer."""
        self._metrics.faults[fault.tier, code_pb2.Code.Name(fault.status.code)] += 1
        if not sink.closed:
            answer = pb.Answer(id=question, error=fault.status, supersedes=fault.second)
            sink.answer(answer, last=True)

    def tokens(self, inquiry: Inquiry, completion: Completion) -> None:
        """What an engine read and wrote for a world."""
        route = inquiry.plan.route
        world = self._metrics.world(route.world.key)
        self._metrics.tokens[world, route.tier.label, "prompt"] += completion.prompt_tokens
        self._metrics.tokens[world, route.tier.label, "completion"] += completion.completion_tokens

    def _count(self, inquiry: Inquiry, source: pb.Source.ValueType, form: Form, now: float) -> None:
        metrics, tier = self._metrics, inquiry.plan.route.tier.label
        metrics.answers[tier, _SOURCES[source]] += 1
        if form.reason:
            metrics.degraded[tier, _SHORT[form.reason]] += 1
        if not inquiry.sink.timed:
            return
        metrics.seconds[tier, _SOURCES[source]].observe(now - inquiry.arrived)
        if inquiry.started:
            metrics.queued[tier,].observe(max(0.0, inquiry.started - inquiry.queued))
        if now > inquiry.deadline:
            metrics.late[tier,] += 1


def why_none(inquiry: Inquiry, reason: pb.DegradedReason.ValueType) -> Status:
    """The status of a question without any answer."""
    code = _CODES.get(reason, code_pb2.UNAVAILABLE)
    why = _SHORT[reason].lower().replace("_", " ")
    tier, plan = inquiry.plan.route.tier.key, inquiry.plan
    message = f"{tier} gives no answer ({why}), and the role's fallback chain has none"
    if code == code_pb2.DEADLINE_EXCEEDED and not plan.actions:
        message += f": {plan.tokens} tokens in {plan.deadline_ms} ms; give a lower max_tokens or a longer deadline_ms"
    return status(code, message, _SHORT[reason], metadata={"tier": tier})


def _micros(seconds: float) -> int:
    return max(0, int(seconds * 1_000_000))
