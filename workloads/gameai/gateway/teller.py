"""Says answers and faults, and counts them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING

from google.rpc import code_pb2
from google.rpc.status_pb2 import Status
from prometheus_client.core import Metric

from gameai.errors import status
from gameai.gateway.cache import Cache, Kept
from gameai.gateway.counts import Counts, gauge
from gameai.gateway.engine import Said
from gameai.gateway.job import Job, Reason, Sink
from gameai.gateway.ledger import Ledger
from gameai.gateway.plan import Plan
from gameai.inference.v1 import inference_pb2 as pb

if TYPE_CHECKING:
    from gameai.gateway.pool import Pool

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
    """Why there is no answer, and whether that is a second answer; `tier` is empty where none was asked."""

    status: Status
    tier: str = ""
    second: bool = False


class Teller:
    """Tells sinks, which may be closed by then."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def at_once(
        self, question: pb.Question, plan: Plan, sink: Sink, kept: Kept, times: tuple[float, float]
    ) -> None:
        """An answer from the fresh cache to a question that never became a job; `times`: seconds that it waited and had."""
        labels = (plan.post.tier.label, "FRESH_CACHE")
        waited, had = times
        self._counts.answers[labels] += 1
        self._counts.seconds[labels].observe(waited)
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
            self._counts.late[plan.post.tier.label,] += 1
        sink.answer(answer, last=True)

    def answer(self, job: Job, source: pb.Source.ValueType, text: str, form: Form) -> None:
        """A job's answer."""
        now = monotonic()
        self._count(job, source, form, now)
        if job.sink.closed:
            return
        answer = pb.Answer(
            id=job.question,
            text=text,
            source=source,
            served_tier=job.plan.post.tier.key if form.tier is None else form.tier,
            supersedes=job.second,
            total_us=_micros(now - job.arrived),
        )
        if job.started:
            answer.queue_us = _micros(job.started - job.queued)
            if source == pb.SOURCE_ENGINE:
                answer.engine_us = _micros(now - job.started)
        if now > job.deadline:
            answer.late = True
        # Most answers are none of these, and a field costs its time.
        if form is not ENGINES:
            answer.degraded_reason = form.reason
            answer.provisional = form.provisional
            answer.truncated = form.truncated
        job.sink.answer(answer, last=not form.provisional)

    def fault(self, sink: Sink, question: int, fault: Fault) -> None:
        """There is no answer."""
        self._counts.faults[fault.tier, code_pb2.Code.Name(fault.status.code)] += 1
        if not sink.closed:
            answer = pb.Answer(id=question, error=fault.status, supersedes=fault.second)
            sink.answer(answer, last=True)

    def tokens(self, job: Job, said: Said) -> None:
        """What an engine read and wrote for a world."""
        post = job.plan.post
        world = self._counts.world(post.world.key)
        self._counts.tokens[world, post.tier.label, "prompt"] += said.prompt_tokens
        self._counts.tokens[world, post.tier.label, "completion"] += said.completion_tokens

    def _count(self, job: Job, source: pb.Source.ValueType, form: Form, now: float) -> None:
        counts, tier = self._counts, job.plan.post.tier.label
        counts.answers[tier, _SOURCES[source]] += 1
        counts.seconds[tier, _SOURCES[source]].observe(now - job.arrived)
        if form.reason:
            counts.degraded[tier, _SHORT[form.reason]] += 1
        if job.started:
            counts.queued[tier,].observe(max(0.0, job.started - job.queued))
        if now > job.deadline:
            counts.late[tier,] += 1


def why_none(job: Job, reason: pb.DegradedReason.ValueType) -> Status:
    """The status of a question without any answer."""
    code = _CODES.get(reason, code_pb2.UNAVAILABLE)
    why = _SHORT[reason].lower().replace("_", " ")
    tier, plan = job.plan.post.tier.key, job.plan
    message = f"{tier} gives no answer ({why}), and the role's ladder has none"
    if code == code_pb2.DEADLINE_EXCEEDED and not plan.actions:
        message += f": {plan.tokens} tokens in {plan.deadline_ms} ms; give a lower max_tokens or a longer deadline_ms"
    return status(code, message, _SHORT[reason], metadata={"tier": tier})


def desk_gauges(
    pools: Mapping[str, Pool], cache: Cache, ledger: Ledger, waiting: int
) -> Iterable[Metric]:
    """Present values."""
    rows: list[tuple[str, str, Callable[[Pool], float]]] = [
        ("queue_depth", "Questions that wait for a slot.", lambda pool: len(pool.queue)),
        ("in_flight", "Requests at engines.", lambda pool: pool.in_flight),
        ("slots", "This gateway's share of slots.", lambda pool: pool.slots),
    ]
    for name, text, value in rows:
        values = [
            ((key,), float(value(pool))) for key, pool in list(pools.items()) if pool.tier.model
        ]
        yield gauge(f"gameai_gateway_{name}", text, ("tier",), values)
    single: list[tuple[str, str, float]] = [
        ("cache_entries", "Answers that are kept.", len(cache)),
        ("cache_bytes", "Bytes of answers that are kept.", cache.size),
        ("held_bytes", "Bytes of open questions, waiting frames and unfinished replies.", ledger.total),
        ("open_questions", "Questions without an answer yet.", waiting),
    ]  # fmt: skip
    for name, text, number in single:
        yield gauge(f"gameai_gateway_{name}", text, (), [((), float(number))])


def _micros(seconds: float) -> int:
    return max(0, int(seconds * 1_000_000))
