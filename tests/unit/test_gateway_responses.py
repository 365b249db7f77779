"""What is sent and counted for a question: an engine's answer, one in its place, or an error."""

from typing import Any

import pytest
from gameai.errors import status
from gameai.gateway.coalescing import Flight
from gameai.gateway.dispatch.fallback import FallbackChain
from gameai.gateway.dispatch.response_cache import Cache
from gameai.gateway.dispatch.responses import ENGINES, Fault, Form, Responses, why_none
from gameai.gateway.engines.chat_completions import Completion
from gameai.gateway.inquiry import Inquiry, Reason
from gameai.gateway.metrics import Metrics
from gameai.gateway.routing.resolve import Plan
from gameai.inference.v1 import inference_pb2 as pb
from google.rpc import code_pb2
from support.questions import guard, plan

GOLD = "shared/gold"
# What was asked at 100.0 must be answered by 100.016.
ASKED, BUDGET = 100.0, 0.016


class Collected:
    """A sink that keeps what it gets."""

    def __init__(self, *, closed: bool = False) -> None:
        self.closed, self.defers, self.timed = closed, True, True
        self.got: list[tuple[pb.Answer, bool]] = []

    def answer(self, answer: pb.Answer, *, last: bool) -> None:
        self.got.append((answer, last))

    def append(self, question: int, text: str) -> bool:
        raise NotImplementedError


def inquiry(sink: Collected, found: Plan | None = None) -> Inquiry:
    return Inquiry(7, found or plan(), sink, ASKED, BUDGET)


def sent(
    *, started: float = 0.0, now: float = 100.010, form: Form = ENGINES
) -> tuple[Metrics, Collected]:
    metrics, sink = Metrics(), Collected()
    asked = inquiry(sink)
    asked.queued, asked.started = ASKED, started
    Responses(metrics).answer(asked, pb.SOURCE_ENGINE, "patrol", form, now)
    return metrics, sink


def samples_of(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels.values()): sample.value
        for family in metrics.collect()
        for sample in family.samples
        if sample.name == name
    }


def test_a_job_keeps_a_sixteenth_of_its_time_for_the_way_back_within_bounds() -> None:
    margins = [
        Inquiry(1, plan(), Collected(), 0.0, each).margin for each in (0.008, 0.016, 0.08, 4.0)
    ]
    assert margins == [0.001, 0.001, 0.005, 0.010]


def test_a_job_follows_a_flight_that_it_does_not_lead() -> None:
    leader, follower = inquiry(Collected()), inquiry(Collected())
    leader.flight = Flight(b"k", leader)
    leader.flight.follow(follower)
    assert (leader.follows, follower.follows) == (False, True)


def test_an_engines_answer_says_how_long_queue_and_engine_took() -> None:
    metrics, sink = sent(started=100.004)
    [(answer, last)] = sink.got
    assert last
    assert (answer.id, answer.text, answer.served_tier) == (7, "patrol", GOLD)
    assert answer.queue_us == pytest.approx(4000, abs=1)
    assert answer.engine_us == pytest.approx(6000, abs=1)
    assert answer.total_us == pytest.approx(10_000, abs=1)
    assert not answer.late
    assert samples_of(metrics, "gameai_gateway_responses_total") == {(GOLD, "ENGINE"): 1}
    assert samples_of(metrics, "gameai_gateway_queue_duration_seconds_count") == {(GOLD,): 1}


def test_an_answer_in_an_engines_place_says_how_long_it_was_queued() -> None:
    sink = Collected()
    asked = inquiry(sink)
    asked.queued, asked.started = ASKED, 100.004
    Responses(Metrics()).answer(asked, pb.SOURCE_DEFAULT, "flee", ENGINES, 100.010)
    assert sink.got[0][0].queue_us == pytest.approx(4000, abs=1)
    assert sink.got[0][0].engine_us == 0


def test_an_answer_after_its_deadline_says_so_and_is_counted() -> None:
    metrics, sink = sent(now=100.020)
    assert sink.got[0][0].late
    assert samples_of(metrics, "gameai_gateway_deadline_exceeded_total") == {(GOLD,): 1}


def test_a_provisional_answer_is_not_the_last_and_says_why_it_is_degraded() -> None:
    form = Form(tier="", reason=Reason.DEGRADED_REASON_QUEUE_FULL, provisional=True, truncated=True)
    metrics, sink = sent(form=form)
    [(answer, last)] = sink.got
    assert not last
    assert (answer.served_tier, answer.provisional, answer.truncated) == ("", True, True)
    assert answer.degraded_reason == Reason.DEGRADED_REASON_QUEUE_FULL
    assert samples_of(metrics, "gameai_gateway_degraded_responses_total") == {
        (GOLD, "QUEUE_FULL"): 1
    }


def test_nothing_is_sent_to_a_closed_sink_and_it_is_counted_nevertheless() -> None:
    metrics, sink = Metrics(), Collected(closed=True)
    responses = Responses(metrics)
    responses.answer(inquiry(sink), pb.SOURCE_DEFAULT, "x", ENGINES, ASKED)
    responses.fault(sink, 7, Fault(status=status(code_pb2.UNAVAILABLE, "x", "Y"), tier=GOLD))
    assert sink.got == []
    assert samples_of(metrics, "gameai_gateway_responses_total") == {(GOLD, "DEFAULT"): 1}
    assert samples_of(metrics, "gameai_gateway_errors_total") == {(GOLD, "UNAVAILABLE"): 1}


def test_what_no_caller_waits_for_counts_as_an_answer_and_not_as_a_time() -> None:
    metrics, sink = Metrics(), Collected()
    sink.timed = False
    asked = inquiry(sink)
    asked.queued, asked.started = ASKED, ASKED + 60
    Responses(metrics).answer(asked, pb.SOURCE_ENGINE, "Once", ENGINES, ASKED + 300)
    assert samples_of(metrics, "gameai_gateway_responses_total") == {(GOLD, "ENGINE"): 1}
    for name in ("request_duration_seconds_count", "queue_duration_seconds_count"):
        assert samples_of(metrics, f"gameai_gateway_{name}") == {}
    assert samples_of(metrics, "gameai_gateway_deadline_exceeded_total") == {}


def test_an_error_says_whether_it_replaces_a_provisional_answer() -> None:
    sink = Collected()
    fault = Fault(status=status(code_pb2.UNAVAILABLE, "no", "Y"), tier=GOLD, second=True)
    Responses(Metrics()).fault(sink, 7, fault)
    [(answer, last)] = sink.got
    assert last
    assert answer.supersedes
    assert answer.error.message == "no"


@pytest.mark.parametrize(("waited", "late"), [(0.010, False), (0.020, True)])
def test_a_cached_answer_is_sent_at_once(waited: float, late: bool) -> None:
    metrics, sink = Metrics(), Collected()
    kept = ("patrol", "shared/silver", 1.0)
    Responses(metrics).at_once(pb.Question(id=3), plan(), sink, kept, (waited, BUDGET))
    [(answer, _)] = sink.got
    assert (answer.id, answer.served_tier, answer.late) == (3, "shared/silver", late)
    assert samples_of(metrics, "gameai_gateway_responses_total") == {(GOLD, "FRESH_CACHE"): 1}
    assert samples_of(metrics, "gameai_gateway_deadline_exceeded_total") == (
        {(GOLD,): 1} if late else {}
    )


def test_tokens_are_counted_for_the_world_that_asked() -> None:
    metrics = Metrics()
    Responses(metrics).tokens(
        inquiry(Collected()),
        Completion("x", truncated=False, prompt_tokens=20, completion_tokens=3),
    )
    key = ("games/eldermoor", GOLD)
    counted = {(*key, "prompt"): 20.0, (*key, "completion"): 3.0}
    assert samples_of(metrics, "gameai_gateway_engine_tokens_total") == counted


def test_a_question_without_any_answer_says_what_to_ask_instead() -> None:
    late = why_none(inquiry(Collected(), plan(max_tokens=64)), Reason.DEGRADED_REASON_TOO_LATE)
    assert late.code == code_pb2.DEADLINE_EXCEEDED
    assert "64 tokens in 16 ms; give a lower max_tokens or a longer deadline_ms" in late.message
    gone = why_none(inquiry(Collected(), guard()), Reason.DEGRADED_REASON_NO_REPLICA)
    assert gone.code == code_pb2.UNAVAILABLE
    assert "max_tokens" not in gone.message


def chain(*, given_at: float | None, revision: str = "") -> tuple[FallbackChain, Plan]:
    """A chain whose cache holds an answer of this time, and a question that it answers."""
    found = guard()
    cache = Cache()
    if given_at is not None:
        cache.put("games", found.keyed(revision), ("flee", GOLD, given_at))
    return FallbackChain(cache), found


def best(given_at: float | None, now: float, **more: Any) -> tuple[Any, ...] | None:
    found, asked = chain(given_at=given_at)
    return found.best(asked._replace(**more), now)


def test_the_first_step_that_has_an_answer_gives_it() -> None:
    ttl = guard().rules.ttl_seconds  # type: ignore[union-attr] # a guard is cached
    assert best(0.0, ttl - 1) == (pb.SOURCE_FRESH_CACHE, "flee", GOLD)
    assert best(0.0, ttl + 1) == (pb.SOURCE_STALE_CACHE, "flee", GOLD)
    assert best(0.0, 1e6) == (pb.SOURCE_DEFAULT, guard().default, "")
    assert best(None, 0.0) == (pb.SOURCE_DEFAULT, guard().default, "")


def test_a_chain_without_any_answer_gives_none() -> None:
    assert best(None, 0.0, default="") is None
    assert best(0.0, 0.0, default="", key=None) is None
    assert best(0.0, 0.0, default="", rules=None) is None


def test_an_answer_of_another_model_revision_is_not_given() -> None:
    found, asked = chain(given_at=0.0, revision="r0")
    assert found.fresh(asked, 1.0) is None


def test_the_cache_counts_what_it_holds() -> None:
    cache = Cache(2000)
    for number in range(3):
        cache.put(f"games{number}", ("r1", b"k"), ("x" * 200, GOLD, 0.0))
    assert len(cache) == 3
    for number in range(4):
        cache.put("games0", ("r1", str(number).encode()), ("y" * 700, GOLD, 0.0))
    assert 0 < cache.size <= 2000


def test_a_histogram_is_cumulative_and_ends_with_all() -> None:
    metrics = Metrics()
    for seconds in (0.0005, 0.003, 99.0):
        metrics.engine_seconds[GOLD,].observe(seconds)
    name = "gameai_gateway_engine_request_duration_seconds"
    buckets = samples_of(metrics, f"{name}_bucket")
    assert buckets[GOLD, "0.001"] == 1
    assert buckets[GOLD, "0.004"] == 2
    assert buckets[GOLD, "+Inf"] == 3
    assert samples_of(metrics, f"{name}_sum") == {(GOLD,): pytest.approx(99.0035)}
