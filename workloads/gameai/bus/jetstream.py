"""Messages and declarations of the bus in the form of JetStream's client, without a connection."""

import dataclasses
import datetime
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    ConsumerInfo,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from gameai.bus.log import BusError, Delivery, DuplicateError, Outgoing, Stored
from gameai.bus.streams import ConsumerUse, Discard, Durable, Keep, Stream

MESSAGE_ID, EXPECTED_LAST = "Nats-Msg-Id", "Nats-Expected-Last-Subject-Sequence"
# Seconds for which a message is kept.
_KEPT = "Nats-TTL"
_RETENTION = MappingProxyType(
    {
        Keep.ALL: RetentionPolicy.LIMITS,
        Keep.LAST: RetentionPolicy.LIMITS,
        Keep.UNHANDLED: RetentionPolicy.WORK_QUEUE,
    }
)
# No message now; the request has ended.
_ENDED = ("404", "408")
# Requests for messages that wait at a consumer of a world, one or two of each replica, and seconds for which they may.
_MOST_WAITING, _MOST_EXPIRES = 256, 10.0
# In the metadata of a durable consumer.
_REVISION, _WORLD, _DIGEST = "gameai-revision", "gameai-world", "gameai-digest"
# A consumer that is to be created exists, or one that is to be changed does not.
_RACED = (10148, 10149)
_LAST = re.compile(r"wrong last sequence: (\d+)")
_REFUSED_SUBJECT = re.compile(r'permissions violation for \w+ to "([^"]+)"')


def words(error: Exception) -> str:
    """What an error says; some of the client's say nothing."""
    return str(error) or type(error).__name__


def last_sequence(error: str) -> int | None:
    """The sequence of a subject's last message, from the error of one that expected another; None: the error has none."""
    found = _LAST.search(error)
    return int(found[1]) if found else None


def refused_subject(text: str) -> str:
    """The subject, in lower case, that a server refuses by this error; empty: it refuses nothing."""
    found = _REFUSED_SUBJECT.search(text.lower())
    return found[1] if found else ""


def stored(message: Msg) -> Stored:
    """A message of a stream."""
    return Stored(
        subject=message.subject,
        payload=message.data,
        sequence=message.metadata.sequence.stream,
        at_us=microseconds(message.metadata.timestamp),
        headers=texts(message.headers),
    )


def texts(headers: Mapping[str, object] | None) -> dict[str, str]:
    """Headers as texts. The client reads some, which no text of ours has, as objects of another kind."""
    return {str(key): str(value) for key, value in (headers or {}).items()}


def microseconds(time: datetime.datetime | None) -> int:
    """A time of the broker, in microseconds since 1970; 0 where it has none."""
    return 0 if time is None else int(time.timestamp() * 1_000_000)


def is_delivery(message: Msg) -> bool:
    """Whether this is a message of a stream; others say that there is none. What a message's own headers say does not count."""
    return message.reply.startswith("$JS.ACK.")


def raise_for(message: Msg, name: str) -> None:
    """Raise `BusError` where this says that a consumer does not deliver; that a request has ended says nothing."""
    if is_delivery(message):
        return
    status = (message.headers or {}).get("Status", "")
    if status not in _ENDED:
        about = (message.headers or {}).get("Description", "no server has it now")
        raise BusError(f"the consumer {name}: {about} ({status or 'no status'})")


def delivery(message: Msg) -> Delivery:
    """A message of a durable consumer."""

    async def done() -> None:
        await _answered(message.ack())

    async def again(seconds: float) -> None:
        await _answered(message.nak(delay=seconds))

    async def working() -> None:
        await _answered(message.in_progress())

    return Delivery(
        message=stored(message),
        deliveries=message.metadata.num_delivered,
        number=message.metadata.sequence.consumer,
        done=done,
        again=again,
        working=working,
    )


async def _answered(answer: Any) -> None:
    try:
        await answer
    except (NatsError, OSError) as error:
        raise BusError(words(error)) from error


def headers(message: Outgoing) -> dict[str, str] | None:
    """The headers of a message to store."""
    own = dict(message.headers)
    if message.message_id:
        own[MESSAGE_ID] = message.message_id
    if message.kept_seconds:
        own[_KEPT] = str(message.kept_seconds)
    return own or None


def fault(answer: Msg) -> BusError | None:
    """What JetStream says of a message; None: it is stored."""
    if not answer.data:
        return BusError("no server has the stream of this subject now")
    try:
        said = orjson.loads(answer.data)
        if "error" in said:
            error = said["error"]
            return BusError(f"{error.get('description')} ({error.get('err_code')})")
        stored = isinstance(said["seq"], int) and said["stream"]
    except (ValueError, KeyError, TypeError, AttributeError):
        stored = False
    if not stored:
        return BusError("the answer is none of a stream")
    return DuplicateError(int(said.get("seq", 0))) if said.get("duplicate") else None


def beginning(sequence: int, time: float | None) -> ConsumerConfig:
    """An ordered consumer from a sequence on, or where that is 0 from a time on (seconds since 1970)."""
    if sequence or time is None:
        return ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=max(1, sequence)
        )
    at = datetime.datetime.fromtimestamp(time, tz=datetime.UTC)
    return ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=at)


def declaration(durable: Durable, stream: str, *, new: bool) -> tuple[str, bytes]:
    """Subject and body of a request that creates a durable consumer, or changes it; each fails where the other is right."""
    config = {"name": durable.name, **_consumer(durable).as_dict(), **_limits(durable)}
    action = "create" if new else "update"
    body = {"stream_name": stream, "config": config, "action": action}
    return f"$JS.API.CONSUMER.CREATE.{stream}.{durable.name}", orjson.dumps(body)


def declared(answer: Msg, name: str) -> bool:
    """Whether a consumer was declared; False: another replica was first. Raises `BusError`."""
    if orjson.loads(answer.data).get("error", {}).get("err_code") in _RACED:
        return False
    _answer(answer, name)
    return True


def _limits(durable: Durable) -> dict[str, int]:
    """What requests to a consumer of a world may ask of its server."""
    limits = {"max_waiting": _MOST_WAITING, "max_batch": 1, "max_expires": int(_MOST_EXPIRES * 1e9)}
    return limits if durable.world else {}


def _consumer(durable: Durable) -> ConsumerConfig:
    """A durable consumer, which delivers without end."""
    return ConsumerConfig(
        durable_name=durable.name,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=durable.ack_seconds,
        max_ack_pending=durable.most_pending,
        max_deliver=-1,
        filter_subjects=list(durable.filters) or None,
        deliver_policy=DeliverPolicy.ALL,
        inactive_threshold=durable.idle_seconds or None,
        metadata={
            _REVISION: str(durable.revision),
            **({_WORLD: durable.world, _DIGEST: durable.digest} if durable.world else {}),
        },
    )


def revision(found: ConsumerConfig) -> int:
    """With which revision a durable consumer was declared."""
    text = (found.metadata or {}).get(_REVISION, "0")
    return int(text) if text.isdigit() else 0


def uses(answer: Msg, stream: str) -> list[ConsumerUse]:
    """A page of a stream's durable consumers; of those whose server is away a name is known. Raises `BusError`."""
    found = _answer(answer, stream)
    present = [use(ConsumerInfo.from_response(each)) for each in found.get("consumers") or ()]
    missing = found.get("missing") or ()
    return [
        *present,
        *(ConsumerUse(name=each, stream=stream, world="", digest="") for each in missing),
    ]


def purged(answer: Msg, stream: str) -> int:
    """How many messages were removed. Raises `BusError`."""
    return int(_answer(answer, stream)["purged"])


def _answer(answer: Msg, name: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(answer.data)
    if error := found.get("error"):
        raise BusError(f"{name}: {error.get('description')} ({error.get('err_code')})")
    return found


def use(found: ConsumerInfo) -> ConsumerUse:
    """What a durable consumer is, and what waits for it."""
    metadata = found.config.metadata or {}
    return ConsumerUse(
        name=found.name,
        stream=found.stream_name,
        world=metadata.get(_WORLD, ""),
        digest=metadata.get(_DIGEST, ""),
        pending=(found.num_pending or 0) + (found.num_ack_pending or 0),
    )


def filters(found: ConsumerConfig) -> tuple[str, ...]:
    """The subjects of a durable consumer, in order."""
    one = [found.filter_subject] if found.filter_subject else []
    return tuple(sorted(found.filter_subjects or one))


def stream(declared: Stream, replicas: int) -> StreamConfig:
    """A stream as it is declared."""
    return StreamConfig(
        name=declared.name,
        subjects=list(declared.subjects),
        retention=_RETENTION[declared.keep],
        discard=DiscardPolicy.OLD if declared.discard is Discard.OLD else DiscardPolicy.NEW,
        storage=StorageType.FILE,
        max_age=declared.most_seconds,
        max_bytes=declared.most_bytes,
        max_msg_size=declared.most_message_bytes,
        duplicate_window=declared.duplicate_seconds,
        num_replicas=replicas if declared.replicated else 1,
        max_msgs_per_subject=1 if declared.keep is Keep.LAST else declared.most_per_subject or -1,
        discard_new_per_subject=bool(declared.most_per_subject),
        allow_msg_ttl=True if declared.own_times else None,
        allow_direct=True,
    )


def differ(wanted: StreamConfig, found: StreamConfig) -> bool:
    """Whether a stream has other values than those that are declared."""
    declared = ((each.name, getattr(wanted, each.name)) for each in dataclasses.fields(wanted))
    return any(value is not None and value != getattr(found, name) for name, value in declared)
