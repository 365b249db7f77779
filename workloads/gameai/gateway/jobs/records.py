"""PURE: the life of a job: from what was submitted to how it ended, and what is done with each answer."""

from collections.abc import Callable
from hashlib import blake2b
from types import MappingProxyType

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status

from gameai.errors import InvalidArgumentError, reason_of, status
from gameai.gateway.routing.snapshot import WorldView
from gameai.inference.v1 import inference_pb2
from gameai.jobs.v1 import jobs_pb2, record_pb2

MOST_QUESTION_BYTES = 64 << 10
# Fields of a question in time, and what is said of one in a job.
_UNUSED = MappingProxyType(
    {
        "id": "the job has an id of its own",
        "deadline_ms": "set expire_seconds",
        "elapsed_us": "a job has no deadline",
    }
)
MOST_REQUEST_ID, _ID_BYTES = 128, 16
MOST_PAGE, _PAGE = 100, 50
DEFAULT_SECONDS, MOST_SECONDS = 3600, 86_400
# Then the job fails: a question that ends a gateway, or that no engine answers in time, must not come back for a day.
MOST_ATTEMPTS = 5
# Pauses after attempts that failed, in seconds; and while no engine could be asked.
_PAUSES = (1.0, 5.0, 30.0, 60.0)
_NO_ROOM_PAUSE = 5.0
_MOST_REASON = 300
# More than a record grows by when its job is taken, or waits again.
_RESERVE_BYTES = 512
# What a gateway needs to write the end of a job that expires.
_GRACE_SECONDS = 60
# Clocks of gateways may differ by so much.
_CLOCKS_US = 2_000_000
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


def identity(world: WorldView, request_id: str) -> str:
    """The id of a job: 32 hexadecimal digits, the same for the same request. Raises `InvalidArgumentError`."""
    if not 1 <= len(request_id) <= MOST_REQUEST_ID:
        raise InvalidArgumentError(
            f"request_id must have 1 to {MOST_REQUEST_ID} characters", field="request_id"
        )
    parts = (world.key, world.epoch, request_id)
    return blake2b(repr(parts).encode(), digest_size=_ID_BYTES).hexdigest()


def checked_id(text: str) -> str:
    """The id itself. Raises `InvalidArgumentError` where it is none: it becomes a part of a subject."""
    if not _is_id(text):
        raise InvalidArgumentError(
            "id must be that of a job: 32 hexadecimal digits in lower case", field="id"
        )
    return text


def _is_id(text: str) -> bool:
    return len(text) == 2 * _ID_BYTES and not set(text) - set("0123456789abcdef")


def check(request: jobs_pb2.SubmitJobRequest) -> None:
    """Whether a request can be a job, its role apart. Raises `InvalidArgumentError`."""
    question = request.question
    if not request.HasField("question"):
        raise InvalidArgumentError("question must be given", field="question")
    for name, remedy in _UNUSED.items():
        if getattr(question, name):
            raise InvalidArgumentError(
                f"question.{name} must be empty in a job: {remedy}",
                field=f"question.{name}",
            )
    if question.ByteSize() > MOST_QUESTION_BYTES:
        raise InvalidArgumentError(
            f"a job's question has at most {MOST_QUESTION_BYTES} bytes, this one has {question.ByteSize()}",
            field="question",
        )
    if request.priority not in (0, *PRIORITIES):
        raise InvalidArgumentError("priority must be LOW, NORMAL or HIGH", field="priority")
    for name in ("expire_seconds", "keep_seconds"):
        if getattr(request, name) > MOST_SECONDS:
            raise InvalidArgumentError(f"{name} must be at most {MOST_SECONDS}", field=name)


def submitted(
    world: WorldView, tier: str, request: jobs_pb2.SubmitJobRequest, now_us: int
) -> Record:
    """The record of a new job. Raises `InvalidArgumentError` for its request id."""
    priority, expire, kept = _given(request)
    job = jobs_pb2.Job(
        id=identity(world, request.request_id),
        world=world.key,
        role=request.question.role,
        priority=priority,
        state=jobs_pb2.JOB_STATE_WAITING,
        submit_time=_time(now_us),
        expire_time=_time(now_us + expire * 1_000_000),
    )
    return Record(
        job=job,
        question=request.question,
        digest=_digest(request),
        keep_seconds=kept,
        tier=tier,
        reserve=bytes(_RESERVE_BYTES),
        world_uid=world.epoch,
    )


def queued(record: Record, tier: str, sequence: int) -> Record:
    """The job in the queue of a tier, where its message has this sequence."""
    copy = Record()
    copy.CopyFrom(record)
    copy.tier, copy.queue_sequence = tier, sequence
    return copy


def queued_seconds(record: Record, now_us: int) -> int:
    """For how long its message must be kept from now on, in whole seconds."""
    return max(0, int(seconds_left(record, now_us))) + _GRACE_SECONDS


def page(request: jobs_pb2.ListJobsRequest) -> tuple[int, str]:
    """How many jobs a page has, and the id after which it begins. Raises `InvalidArgumentError`."""
    if not 0 <= request.page_size <= MOST_PAGE:
        raise InvalidArgumentError(f"page_size must be 0 to {MOST_PAGE}", field="page_size")
    if request.page_token and not _is_id(request.page_token):
        raise InvalidArgumentError(
            "page_token must be the next_page_token of another page", field="page_token"
        )
    return request.page_size or _PAGE, request.page_token


def kept_seconds(record: Record, now_us: int) -> int:
    """For how long the record must be kept from now on, in whole seconds."""
    left = 0 if record.job.state in ENDED else queued_seconds(record, now_us)
    return left + record.keep_seconds


def is_same(record: Record, request: jobs_pb2.SubmitJobRequest) -> bool:
    """Whether a job was made from this request."""
    return record.digest == _digest(request)


def shown(record: Record, now_us: int) -> Record:
    """The record as a caller sees it now: expired once no gateway whose clock differs by little may still answer it."""
    return seen(record, now_us - _CLOCKS_US)


def seen(record: Record, now_us: int) -> Record:
    """The record as of now: without an answer in time it has expired."""
    if record.job.state in ENDED or now_us < _us(record.job.expire_time):
        return record
    return _ended(record, jobs_pb2.JOB_STATE_EXPIRED, _us(record.job.expire_time))


def cancelled(record: Record, now_us: int) -> Record:
    """The job is given up."""
    return _ended(record, jobs_pb2.JOB_STATE_CANCELLED, now_us)


def is_of(record: Record, world: WorldView) -> bool:
    """Whether it is a job of this world, and not of a former one with its name."""
    return record.job.world == world.key and record.world_uid == world.epoch


def is_left_over(record: Record, sequence: int) -> bool:
    """Whether a message of a queue is of no use: the job has ended, or has another message."""
    return record.job.state in ENDED or record.queue_sequence != sequence


def started(record: Record, now_us: int) -> Record:
    """A gateway has taken the job; or it fails, because that was tried often enough."""
    if record.job.attempts >= MOST_ATTEMPTS:
        return _given_up(record, "the gateway that asked ended each time", now_us)

    def begin(job: jobs_pb2.Job) -> None:
        job.state = jobs_pb2.JOB_STATE_RUNNING
        job.attempts += 1
        if not job.HasField("start_time"):
            job.start_time.CopyFrom(_time(now_us))

    return _changed(record, begin)


def in_time(before: Record, after: Record, now_us: int) -> Record:
    """What is stored in place of `before`: that it has expired, where `after` comes too late."""
    if now_us < _us(before.job.expire_time):
        return after
    return seen(before, now_us)


def answered(record: Record, answer: inference_pb2.Answer, now_us: int) -> Record:
    """What an attempt came to: the end of the job, or that it waits for the next attempt."""
    if answer.HasField("error"):
        if answer.error.code in _FINAL_CODES:
            return failed(record, answer.error, now_us)
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
    return failed(record, status(code_pb2.UNAVAILABLE, message, "ATTEMPTS_FAILED"), now_us)


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


def failed(record: Record, error: Status, now_us: int) -> Record:
    """The job ends with an error."""
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
    copy.ClearField("reserve")
    change(copy.job)
    return copy


def _given(
    request: jobs_pb2.SubmitJobRequest,
) -> tuple[jobs_pb2.JobPriority.ValueType, int, int]:
    """Priority, and the seconds until it expires and for which it is kept, with their defaults."""
    return (
        request.priority or jobs_pb2.JOB_PRIORITY_NORMAL,
        request.expire_seconds or DEFAULT_SECONDS,
        request.keep_seconds or DEFAULT_SECONDS,
    )


def _digest(request: jobs_pb2.SubmitJobRequest) -> bytes:
    """Of all that was asked for. The world is in the id, and may be named or not."""
    parts = (request.question.SerializeToString(deterministic=True), *_given(request))
    return blake2b(repr(parts).encode(), digest_size=16).digest()


def _time(us: int) -> Timestamp:
    return Timestamp(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1000)


def _us(time: Timestamp) -> int:
    return time.seconds * 1_000_000 + time.nanos // 1000
