"""The life of a job, from what was submitted to how it ended."""

from dataclasses import replace
from typing import Any

import pytest
from gameai.errors import InvalidArgumentError, status
from gameai.gateway.jobs import queues, records
from gameai.gateway.jobs.queues import Queue
from gameai.gateway.routing.snapshot import WorldView
from gameai.inference.v1 import inference_pb2 as inference
from gameai.jobs.v1 import jobs_pb2 as pb
from google.rpc import code_pb2

NOW = 1_000_000_000_000_000
MOOR = WorldView(key="games/moor", epoch="u1", roles={})
SECOND = 1_000_000
QUESTION = inference.Question(role="chronicle", prompt=inference.Prompt(parts=["Tell."]))
ENGINE = inference.Answer(text="Once", source=inference.SOURCE_ENGINE)


def request(**more: Any) -> pb.SubmitJobRequest:
    given: dict[str, Any] = {"request_id": "a", "question": QUESTION} | more
    return pb.SubmitJobRequest(**given)


def record(**more: Any) -> records.Record:
    records.check(request(**more))
    return records.submitted(MOOR, "games/bronze", request(**more), NOW)


def failure(reason: str, code: int = code_pb2.UNAVAILABLE) -> inference.Answer:
    return inference.Answer(error=status(code, "it broke", reason))


def after(answer: inference.Answer, attempts: int = 1) -> records.Record:
    started = records.started(record(), NOW)
    started.job.attempts = attempts
    return records.answered(started, answer, NOW + SECOND)


def test_a_job_waits_for_an_hour_at_normal_priority_unless_it_says_otherwise() -> None:
    job = record().job
    assert (job.world, job.role, job.priority) == ("games/moor", "chronicle", 2)
    assert job.expire_time.ToMicroseconds() - job.submit_time.ToMicroseconds() == 3600 * SECOND
    assert record(expire_seconds=5).job.expire_time.ToMicroseconds() == NOW + 5 * SECOND
    assert record(priority=pb.JOB_PRIORITY_HIGH).job.priority == pb.JOB_PRIORITY_HIGH


def test_the_id_of_a_job_is_that_of_its_request_and_world() -> None:
    assert record().job.id == record(expire_seconds=5).job.id
    again = replace(MOOR, epoch="u2")
    worlds = (MOOR, replace(MOOR, key="games/fen"), again)
    assert len({records.identity(w, i) for w in worlds for i in ("1", "2")}) == 6
    assert records.is_of(record(), MOOR)
    assert not records.is_of(record(), again)
    assert records.checked_id(record().job.id) == record().job.id


def test_a_request_is_the_same_where_nothing_of_it_differs() -> None:
    assert records.is_same(record(), request(world="games/moor"))
    assert not records.is_same(record(), request(keep_seconds=9))
    assert not records.is_same(record(), request(priority=pb.JOB_PRIORITY_LOW))
    # What is left out is the same as its default.
    named = request(priority=pb.JOB_PRIORITY_NORMAL, expire_seconds=3600, keep_seconds=3600)
    assert records.is_same(record(), named)


LONG = inference.Question(role="chronicle", prompt=inference.Prompt(parts=["x" * 65_536]))


@pytest.mark.parametrize(
    ("more", "field", "words"),
    [
        ({"request_id": ""}, "request_id", "1 to 128 characters"),
        ({"request_id": "x" * 129}, "request_id", "1 to 128 characters"),
        ({"question": None}, "question", "must be given"),
        ({"question": inference.Question(id=1)}, "question.id", "an id of its own"),
        (
            {"question": inference.Question(deadline_ms=1)},
            "question.deadline_ms",
            "set expire_seconds",
        ),
        ({"question": LONG}, "question", "at most 65536 bytes"),
        ({"priority": 9}, "priority", "LOW, NORMAL or HIGH"),
        ({"expire_seconds": 86_401}, "expire_seconds", "at most 86400"),
        ({"keep_seconds": 86_401}, "keep_seconds", "at most 86400"),
    ],
)
def test_a_wrong_request_is_refused(more: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidArgumentError, match=words) as caught:
        record(**more)
    assert caught.value.field == field


@pytest.mark.parametrize("text", ["", "0" * 31, "0" * 33, "g" * 32, "A" * 32, "*" * 32])
def test_what_is_no_id_of_a_job_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="32 hexadecimal digits"):
        records.checked_id(text)


def test_a_job_expires_where_it_has_not_ended() -> None:
    late = NOW + 3600 * SECOND
    assert records.seen(record(), late - 1) == record()
    expired = records.seen(record(), late).job
    assert (expired.state, expired.end_time) == (pb.JOB_STATE_EXPIRED, expired.expire_time)
    ended = after(ENGINE)
    assert records.seen(ended, late) == ended
    assert records.seconds_left(record(), NOW) == 3600


def test_a_record_is_kept_until_the_job_expires_and_then_as_long_as_it_says() -> None:
    assert records.kept_seconds(record(keep_seconds=50), NOW) == 3600 + 60 + 50
    assert records.kept_seconds(record(keep_seconds=50), NOW + 9999 * SECOND) == 60 + 50
    assert records.kept_seconds(after(ENGINE), NOW) == 3600


def test_an_attempt_counts_and_the_first_one_is_the_start() -> None:
    first = records.started(record(), NOW + SECOND)
    second = records.started(first, NOW + 2 * SECOND)
    assert (first.job.attempts, second.job.attempts) == (1, 2)
    assert second.job.start_time.ToMicroseconds() == NOW + SECOND
    assert second.job.state == pb.JOB_STATE_RUNNING


def test_a_message_is_left_over_where_the_job_has_another_one_or_has_ended() -> None:
    queued = records.queued(record(), "games/other", 7)
    assert queued.tier == "games/other"
    assert not records.is_left_over(queued, 7)
    assert not records.is_left_over(records.started(queued, NOW), 7)
    assert records.is_left_over(queued, 8)
    assert records.is_left_over(records.cancelled(queued, NOW), 7)
    assert records.queued_seconds(record(), NOW) == 3600 + 60


def test_a_caller_sees_that_a_job_has_expired_when_no_gateway_can_still_answer_it() -> None:
    late = NOW + 3600 * SECOND
    assert records.shown(record(), late + SECOND) == record()
    assert records.shown(record(), late + 3 * SECOND).job.state == pb.JOB_STATE_EXPIRED
    started = records.started(record(), NOW)
    answer = records.answered(started, ENGINE, late)
    assert records.in_time(started, answer, late - 1) == answer
    assert records.in_time(started, answer, late).job.state == pb.JOB_STATE_EXPIRED


def test_an_answer_of_an_engine_or_the_fresh_cache_ends_a_job_and_its_question_is_forgotten() -> (
    None
):
    for source in (inference.SOURCE_ENGINE, inference.SOURCE_FRESH_CACHE):
        ended = after(inference.Answer(text="Once", source=source))
        assert (ended.job.state, ended.job.answer.text) == (pb.JOB_STATE_SUCCEEDED, "Once")
        assert not ended.HasField("question")
        assert ended.job.end_time.ToMicroseconds() == NOW + SECOND


def test_a_mistake_ends_a_job_as_failed() -> None:
    ended = after(failure("PROMPT_TOO_LONG", code_pb2.INVALID_ARGUMENT))
    assert ended.job.state == pb.JOB_STATE_FAILED
    assert ended.job.answer.error.message == "it broke"


DEGRADED = inference.Answer(
    text="Hm?",
    source=inference.SOURCE_DEFAULT,
    degraded_reason=inference.DegradedReason.DEGRADED_REASON_ENGINE_FAILED,
)


@pytest.mark.parametrize(
    ("answer", "attempts", "pause", "words"),
    [
        (failure("ENGINE_FAILED"), 1, 1.0, "it broke"),
        (DEGRADED, 1, 1.0, "no engine answered (engine failed)"),
        (failure(""), 1, 1.0, "it broke"),
        (failure("NO_REPLICA"), 0, 5.0, "it broke"),
        (failure("QUEUE_FULL"), 0, 5.0, "it broke"),
    ],
)
def test_a_job_waits_after_an_attempt_without_an_answer(
    answer: inference.Answer, attempts: int, pause: float, words: str
) -> None:
    before = records.started(record(), NOW)
    waiting = records.answered(before, answer, NOW)
    assert (waiting.job.state, waiting.job.attempts) == (pb.JOB_STATE_WAITING, attempts)
    assert waiting.job.waiting_reason == words
    assert records.pause(before, waiting) == pause
    assert waiting.HasField("question")


@pytest.mark.parametrize(("attempts", "pause"), [(1, 1.0), (2, 5.0), (3, 30.0), (4, 60.0)])
def test_pauses_grow(attempts: int, pause: float) -> None:
    waiting = after(failure("ENGINE_FAILED"), attempts)
    assert records.pause(waiting, waiting) == pause


def test_the_fifth_failure_is_the_last() -> None:
    assert after(failure("ENGINE_FAILED"), 4).job.state == pb.JOB_STATE_WAITING
    ended = after(failure("ENGINE_FAILED"), 5)
    assert ended.job.state == pb.JOB_STATE_FAILED
    assert ended.job.answer.error.message == "5 attempts gave no answer: it broke"


def test_a_job_whose_gateways_ended_five_times_fails_before_the_next() -> None:
    worn = records.started(record(), NOW)
    worn.job.attempts = 5
    ended = records.started(worn, NOW)
    assert ended.job.state == pb.JOB_STATE_FAILED
    assert "the gateway that asked ended each time" in ended.job.answer.error.message


def test_a_queue_is_found_from_its_subject() -> None:
    queue = queues.queue_of(record())
    assert queue == Queue(tier="games/bronze", world="games/moor", priority=2)
    assert queue.subject == "work.games.bronze.games.moor.2"
    assert queues.parsed(queue.subject) == queue
    assert queue.durable().name == "games_bronze_games_moor_2"
    assert queues.queues_of("games/bronze") == "work.games.bronze.>"
    assert queues.jobs_of("games") == "job.games.>"
    assert queues.jobs_of_world("games/moor") == "job.games.moor.*"
    assert queues.job_subject("games/moor", "0a") == "job.games.moor.0a"


@pytest.mark.parametrize("subject", ["work.a.b.c.d.9", "work.a.b.c.d", "job.a.b.c.d.2", ""])
def test_other_subjects_are_no_queues(subject: str) -> None:
    assert queues.parsed(subject) is None


def test_no_name_of_a_tier_reaches_other_subjects() -> None:
    with pytest.raises(ValueError, match="cannot be a part of a subject"):
        queues.queues_of("games/>")


def test_worlds_take_turns_after_the_one_that_had_the_last() -> None:
    def queue(world: str, priority: int) -> Queue:
        return Queue(tier="g/bronze", world=world, priority=priority)

    waiting = {
        queue("g/a", pb.JOB_PRIORITY_LOW): 5,
        queue("g/a", pb.JOB_PRIORITY_HIGH): 1,
        queue("g/b", pb.JOB_PRIORITY_NORMAL): 2,
        queue("g/c", pb.JOB_PRIORITY_NORMAL): 0,
    }

    def order(last: str) -> list[list[tuple[str, int]]]:
        found = queues.turns(waiting, last)
        return [[(each.world, each.priority) for each in world] for world in found]

    first = [("g/a", pb.JOB_PRIORITY_HIGH), ("g/a", pb.JOB_PRIORITY_LOW)]
    second = [("g/b", pb.JOB_PRIORITY_NORMAL)]
    assert order("") == [first, second]
    assert order("g/a") == [second, first]
    assert order("g/b") == [first, second]


def test_a_page_begins_after_the_last_id_of_the_one_before() -> None:
    last = record().job.id
    assert records.page(pb.ListJobsRequest()) == (50, "")
    assert records.page(pb.ListJobsRequest(page_size=100, page_token=last)) == (100, last)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"page_size": 101}, "page_size"),
        ({"page_size": -1}, "page_size"),
        ({"page_token": "x"}, "page_token"),
    ],
)
def test_a_wrong_page_is_refused(more: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        records.page(pb.ListJobsRequest(**more))
    assert caught.value.field == field
