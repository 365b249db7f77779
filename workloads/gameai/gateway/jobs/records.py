"""PURE: the life of a job: from what was submitted to how it ended, and what is done with each answer."""

from collections.abc import Callable
from hashlib import blake2b

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status

from gameai.errors import InvalidArgumentError, reason_of, status
from gameai.inference.v1 import inference_pb2
from gameai.jobs.v1 import jobs_pb2, record_pb2

MOST_QUESTION_BYTES = 64 << 10
MOST_REQUEST_ID = 128
DEFAULT_SECONDS, MOST_SECONDS = 3600, 86_400
# Then the job fails: a question that ends a gateway, or that no engine answers in time, must not come back for a day.
MOST_ATTEMPTS = 5
# Pauses after attempts that failed, in seconds; and while no engine could be asked.
_PAUSES = (1.0, 5.0, 30.0, 60.0)
_NO_ROOM_PAUSE = 5.0
_MOST_REASON = 300
# What a gateway needs to write the end of a job that expires.
_GRACE_SECONDS = 60
# The reasons of answers, and of errors, that say nothing of the question: no engine was asked, or it had too little time left.
_NOT_ASKED = frozenset({"NO_REPLICA", "TOO_LATE", "QUEUE_FULL"})
# Asking again cannot help.
_FINAL_CODES = frozenset(
    {
        code_pb2.INVALID_ARGUMENT,
        code_pb2.NOT_FOUND,
        code_pb2.PERMISSION_DENIED,
        code_pb2.FAILED_PRECONDITION,
    }
)
_ANSWERS = frozenset({inference_pb2.SOURCE_ENGINE, inference_pb2.SOURCE_FRESH_CACHE})
ENDED = frozenset(
    {
        jobs_pb2.JOB_STATE_SUCCEEDED,
        jobs_pb2.JOB_STATE_FAILED,
        jobs_pb2.JOB_STATE_CANCELLED,
        jobs_pb2.JOB_STATE_EXPIRED,
    }
)
PRIORITIES = (
    jobs_pb2.JOB_PRIORITY_HIGH,
    jobs_pb2.JOB_PRIORITY_NORMAL,
    jobs_pb2.JOB_PRIORITY_LOW,
)
Record = record_pb2.JobRecord


def identity(world: str, request_id: str) -> str:
    """The id of a job: 32 hexadecimal digits, the same for the same request. Raises `InvalidArgumentError`."""
    if not 1 <= len(request_id) <= MOST_REQUEST_ID:
        raise InvalidArgumentError(
            f"request_id must have 1 to {MOST_REQUEST_ID} characters", field="request_id"
        )
    return blake2b(repr((world, request_id)).encode(), digest_size=16).hexdigest()


def checked_id(text: str) -> str:
    """The id itself. Raises `InvalidArgumentError` where it is none: it becomes a part of a subject."""
    if len(text) != 2 * 16 or set(text) - set("0123456789abcdef"):
        raise InvalidArgumentError("id must be that of a job: 32 hexadecimal digits", field="id")
    return text


def submitted(world: str, tier: str, request: jobs_pb2.SubmitJobRequest, now_us: int) -> Record:
    """The record of a new job. Raises `InvalidArgumentError`."""
    question = request.question
    if not request.HasField("question"):
        raise InvalidArgumentError("question must be given", field="question")
    for name in ("id", "deadline_ms", "elapsed_us"):
        if getattr(question, name):
            raise InvalidArgumentError(
                f"question.{name} is not used by a job: leave it out, and set expire_seconds",
                field=f"question.{name}",
            )
    if question.ByteSize() > MOST_QUESTION_BYTES:
        raise InvalidArgumentError(
            f"a job's question has at most {MOST_QUESTION_BYTES} bytes, this one has {question.ByteSize()}",
            field="question",
        )
    if request.priority not in (0, *PRIORITIES):
        raise InvalidArgumentError("priority must be LOW, NORMAL or HIGH", field="priority")
    expire = _seconds("expire_seconds", request.expire_seconds)
    kept = _seconds("keep_seconds", request.keep_seconds)
    job = jobs_pb2.Job(
        id=identity(world, request.request_id),
        world=world,
        role=question.role,
        priority=request.priority or jobs_pb2.JOB_PRIORITY_NORMAL,
        state=jobs_pb2.JOB_STATE_WAITING,
        submit_time=_time(now_us),
        expire_time=_time(now_us + expire * 1_000_000),
    )
    return Record(job=job, question=question, digest=_digest(request), keep_seconds=kept, tier=tier)


def kept_seconds(record: Record, now_us: int) -> int:
    """For how long the record must be kept from now on, in whole seconds."""
    left = 0
    if record.job.state not in ENDED:
        left = max(0, (_us(record.job.expire_time) - now_us) // 1_000_000) + _GRACE_SECONDS
    return left + record.keep_seconds


def is_same(record: Record, request: jobs_pb2.SubmitJobRequest) -> bool:
    """Whether a job was made from this request."""
    return record.digest == _digest(request)


def seen(record: Record, now_us: int) -> Record:
    """The record as of now: without an answer in time it has expired, also where no gateway has written so yet."""
    if record.job.state in ENDED or now_us < _us(record.job.expire_time):
        return record
    return _ended(record, jobs_pb2.JOB_STATE_EXPIRED, _us(record.job.expire_time))


def cancelled(record: Record, now_us: int) -> Record:
    """The job is given up."""
    return _ended(record, jobs_pb2.JOB_STATE_CANCELLED, now_us)


def is_left_over(record: Record, message: int) -> bool:
    """Whether this message of its queue is of no use: the job has ended, or is answered for another message."""
    running = record.job.state == jobs_pb2.JOB_STATE_RUNNING
    return record.job.state in ENDED or (running and record.message != message)


def begun(record: Record, message: int, now_us: int) -> Record:
    """An engine is asked for a message of the queue; or the job fails, because that was tried often enough."""
    if record.job.attempts >= MOST_ATTEMPTS:
        return _given_up(record, "the gateway that asked ended each time", now_us)

    def begin(job: jobs_pb2.Job) -> None:
        job.state = jobs_pb2.JOB_STATE_RUNNING
        job.attempts += 1
        if not job.HasField("start_time"):
            job.start_time.CopyFrom(_time(now_us))

    changed = _changed(record, begin)
    changed.message = message
    return changed


def answered(record: Record, answer: inference_pb2.Answer, now_us: int) -> Record:
    """What an attempt came to: the end of the job, or that it waits for the next attempt."""
    if answer.HasField("error"):
        if answer.error.code in _FINAL_CODES:
            return _failed(record, answer.error, now_us)
        return _again(record, reason_of(answer.error), answer.error.message, now_us)
    if answer.source in _ANSWERS:
        ended = _ended(record, jobs_pb2.JOB_STATE_SUCCEEDED, now_us)
        ended.job.answer.CopyFrom(answer)
        return ended
    name = inference_pb2.DegradedReason.Name(answer.degraded_reason)
    reason = name.removeprefix("DEGRADED_REASON_")
    return _again(
        record, reason, f"no engine answered ({reason.lower().replace('_', ' ')})", now_us
    )


def _again(record: Record, reason: str, why: str, now_us: int) -> Record:
    """The next attempt, or the end after the last one."""
    if reason in _NOT_ASKED:
        return postponed(record, why, counts=False)
    if record.job.attempts >= MOST_ATTEMPTS:
        return _given_up(record, why, now_us)
    return postponed(record, why, counts=True)


def _given_up(record: Record, why: str, now_us: int) -> Record:
    message = f"{MOST_ATTEMPTS} attempts gave no answer: {why}"
    return _failed(record, status(code_pb2.UNAVAILABLE, message, "ATTEMPTS_FAILED"), now_us)


def postponed(record: Record, why: str, *, counts: bool) -> Record:
    """The job waits for its next attempt; `counts` where this one counts as a failure."""

    def wait(job: jobs_pb2.Job) -> None:
        job.state = jobs_pb2.JOB_STATE_WAITING
        job.waiting_reason = why[:_MOST_REASON]
        if not counts:
            job.attempts = max(0, job.attempts - 1)

    return _changed(record, wait)


def pause(before: Record, after: Record) -> float:
    """Seconds until the next attempt of a job that was postponed; `before` is the record of the attempt."""
    if after.job.attempts < before.job.attempts:
        return _NO_ROOM_PAUSE
    return _PAUSES[min(max(after.job.attempts, 1), len(_PAUSES)) - 1]


def seconds_left(record: Record, now_us: int) -> float:
    """Until the job expires."""
    return (_us(record.job.expire_time) - now_us) / 1_000_000


def _failed(record: Record, error: Status, now_us: int) -> Record:
    ended = _ended(record, jobs_pb2.JOB_STATE_FAILED, now_us)
    ended.job.answer.error.CopyFrom(error)
    return ended


def _ended(record: Record, state: jobs_pb2.JobState.ValueType, now_us: int) -> Record:
    def end(job: jobs_pb2.Job) -> None:
        job.state = state
        job.end_time.CopyFrom(_time(now_us))
        job.ClearField("waiting_reason")

    ended = _changed(record, end)
    # A prompt is not kept for longer than it is needed.
    ended.ClearField("question")
    return ended


def _changed(record: Record, change: Callable[[jobs_pb2.Job], None]) -> Record:
    copy = Record()
    copy.CopyFrom(record)
    change(copy.job)
    return copy


def _seconds(name: str, given: int) -> int:
    if given > MOST_SECONDS:
        raise InvalidArgumentError(f"{name} must be at most {MOST_SECONDS}", field=name)
    return given or DEFAULT_SECONDS


def _digest(request: jobs_pb2.SubmitJobRequest) -> bytes:
    """Of all that was asked for. The world is in the id, and may be named or not."""
    parts = (
        request.question.SerializeToString(deterministic=True),
        request.priority,
        request.expire_seconds,
        request.keep_seconds,
    )
    return blake2b(repr(parts).encode(), digest_size=16).digest()


def _time(us: int) -> Timestamp:
    return Timestamp(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1000)


def _us(time: Timestamp) -> int:
    return time.seconds * 1_000_000 + time.nanos // 1000
