"""EDGE: the bus on NATS JetStream."""

import asyncio
import contextlib
import datetime
import itertools
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Self

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NotFoundError

from gameai.bus.log import (
    BusError,
    Delivery,
    Done,
    MovedError,
    Outgoing,
    RefusedError,
    Start,
    Subscription,
)
from gameai.bus.log import Stored as StoredMessage
from gameai.bus.streams import Discard, Durable, Stream

_LOG = logging.getLogger(__name__)
# What the client raises where the connection or the server does not do its part.
_BROKEN = (NatsError, OSError, TimeoutError)
_CONNECT_SECONDS = 5.0
_REQUEST_SECONDS = 5.0
_RECONNECT_SECONDS = 0.5
_PING_SECONDS = 10
# The same warning, while it connects again.
_SAY_SECONDS = 10.0
# JetStream's error codes: the expected last sequence of a subject differs.
_WRONG_LAST_SEQUENCE = (10071, 10164)
_DELETE_FAILED = 10057
_MESSAGE_ID, _EXPECTED_LAST = "Nats-Msg-Id", "Nats-Expected-Last-Subject-Sequence"


class NatsLog:
    """A connection to NATS, which is opened again by itself. An async context manager."""

    def __init__(self, url: str, *, name: str = "gameai") -> None:
        self._url, self._name = url, name
        self._client = Client()
        self._tokens = itertools.count(1)
        self._unanswered: dict[str, Done] = {}
        self._inbox = ""
        self._refused: list[str] = []
        self._said = (0.0, "")

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(*_BROKEN):
            await self._client.close()

    async def _connect(self) -> None:
        client = Client()
        try:
            # Once it is connected it connects again without end; the first time must be an error.
            async with asyncio.timeout(_CONNECT_SECONDS):
                await client.connect(
                    self._url,
                    name=self._name,
                    connect_timeout=int(_CONNECT_SECONDS),
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_SECONDS,  # type: ignore[arg-type] # it takes fractions of a second
                    ping_interval=_PING_SECONDS,
                    max_outstanding_pings=2,
                    error_cb=self._on_error,
                )
                inbox = client.new_inbox()
                await client.subscribe(f"{inbox}.*", cb=self._on_answer)
        except _BROKEN as error:
            with contextlib.suppress(NatsError, OSError):
                await client.close()
            raise BusError(f"no connection to the bus at {self._url}: {_words(error)}") from error
        self._client, self._inbox = client, inbox
        self._js = client.jetstream(timeout=_REQUEST_SECONDS)

    async def _on_error(self, error: Exception) -> None:
        """A refused request is not answered: the server says so on the connection, and the request would time out."""
        words = str(error) or type(error).__name__
        if "permissions violation" in words.lower():
            self._refused = [*self._refused[-15:], words]
        now = asyncio.get_running_loop().time()
        if words != self._said[1] or now - self._said[0] >= _SAY_SECONDS:
            self._said = (now, words)
            _LOG.warning("bus: %s", words)

    async def _on_answer(self, message: Msg) -> None:
        done = self._unanswered.pop(message.subject.rpartition(".")[2], None)
        if done is not None:
            done(_fault_of(message))

    async def send(self, message: Outgoing, done: Done) -> None:
        """Send; answers of all messages come on one subscription."""
        token = str(next(self._tokens))
        self._unanswered[token] = done
        headers = _headers(message)
        try:
            await self._client.publish(
                message.subject, message.payload, f"{self._inbox}.{token}", headers
            )
        except (NatsError, OSError) as error:
            self._unanswered.pop(token, None)
            raise BusError(_words(error)) from error

    async def store(self, message: Outgoing, *, after: int | None = None) -> int:
        """Store a message and wait for its sequence."""
        headers = _headers(message) or {}
        if after is not None:
            headers[_EXPECTED_LAST] = str(after)
        try:
            answer = await self._js.publish(
                message.subject, message.payload, timeout=_REQUEST_SECONDS, headers=headers or None
            )
        except APIError as error:
            if error.err_code in _WRONG_LAST_SEQUENCE:
                raise MovedError(_words(error)) from error
            raise BusError(_words(error)) from error
        except _BROKEN as error:
            raise self._fault(error, message.subject) from error
        return answer.seq

    async def last(self, stream: Stream, subject: str) -> StoredMessage | None:
        """The last message of a subject."""
        return await self._get(stream, subject, None)

    async def first(self, stream: Stream, subject: str, sequence: int = 1) -> StoredMessage | None:
        """The first message of a subject from this sequence on."""
        return await self._get(stream, subject, sequence)

    async def _get(
        self, stream: Stream, subject: str, sequence: int | None
    ) -> StoredMessage | None:
        try:
            # Not direct: a follower may not have the last message yet.
            found = await self._js.get_msg(
                stream.name, sequence, subject, next=sequence is not None
            )
        except NotFoundError:
            return None
        except _BROKEN as error:
            raise self._fault(error, subject) from error
        return StoredMessage(
            subject=found.subject or subject,
            payload=found.data or b"",
            sequence=found.seq or 0,
            headers=found.headers or {},
        )

    async def remove(self, stream: Stream, sequence: int) -> None:
        """Remove a message."""
        try:
            await self._js.delete_msg(stream.name, sequence)
        except APIError as error:
            # Removed by another.
            if error.err_code != _DELETE_FAILED or "no message found" not in (
                error.description or ""
            ):
                raise BusError(_words(error)) from error
        except _BROKEN as error:
            raise self._fault(error, stream.name) from error

    async def subscribe(self, durable: Durable) -> Subscription:
        """Open a durable consumer, and declare it."""
        config = ConsumerConfig(
            durable_name=durable.name,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=durable.ack_seconds,
            max_ack_pending=durable.most_pending,
            max_deliver=-1,
            filter_subjects=list(durable.filters) or None,
            deliver_policy=DeliverPolicy.ALL,
        )
        with self._named(durable.name):
            await self._js.add_consumer(durable.stream.name, config)
            found = await self._js.pull_subscribe_bind(durable.name, durable.stream.name)
        return _Subscribed(self, found)

    async def replay(
        self, stream: Stream, subject: str, start: Start
    ) -> AsyncIterator[StoredMessage]:
        """The messages of a subject, in order and without end, by a consumer that goes with this connection."""
        with self._named(subject):
            found = await self._js.subscribe(
                subject, stream=stream.name, ordered_consumer=True, config=_begin(start)
            )
        try:
            async for each in found.messages:
                yield _stored(each)
        except NatsError as error:
            raise self._fault(error, subject) from error
        finally:
            with contextlib.suppress(NatsError):
                await found.unsubscribe()

    async def renew(self) -> None:
        """Open the connection again; what was not answered is sent again by its publisher."""
        former = self._client
        await self._connect()
        self._unanswered.clear()
        with contextlib.suppress(*_BROKEN):
            await former.close()

    async def declare(self, streams: Sequence[Stream], *, replicas: int = 1) -> None:
        """Create the streams, or bring them to what is declared. Raises `BusError`."""
        for each in streams:
            config = _config(each, replicas)
            with self._named(each.name):
                try:
                    await self._js.stream_info(each.name)
                except NotFoundError:
                    await self._js.add_stream(config)
                else:
                    await self._js.update_stream(config)

    @contextlib.contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Errors of the client, as those of the bus, with the name of what was asked for."""
        try:
            yield
        except _BROKEN as error:
            raise self._fault(error, what) from error

    def _fault(self, error: Exception, what: str) -> BusError:
        """A request that times out while the server refuses something was refused."""
        refused, self._refused = self._refused, []
        if isinstance(error, TimeoutError | NatsError) and refused:
            return RefusedError(f"{what}: {refused[-1]}")
        return BusError(f"{what}: {_words(error)}")


class _Subscribed:
    """A durable consumer of JetStream."""

    def __init__(self, log: NatsLog, subscription: JetStreamContext.PullSubscription) -> None:
        self._log, self._subscription = log, subscription

    async def fetch(self, most: int, seconds: float) -> Sequence[Delivery]:
        """At most so many messages."""
        try:
            found = await self._subscription.fetch(most, timeout=seconds)
        except TimeoutError:
            return ()
        except (NatsError, OSError) as error:
            raise self._log._fault(error, "fetch") from error  # noqa: SLF001 - its own
        return [_delivery(each) for each in found]


def _delivery(message: Msg) -> Delivery:
    async def done() -> None:
        await _answered(message.ack())

    async def again(seconds: float) -> None:
        await _answered(message.nak(delay=seconds))

    async def working() -> None:
        await _answered(message.in_progress())

    return Delivery(
        message=_stored(message),
        deliveries=message.metadata.num_delivered,
        done=done,
        again=again,
        working=working,
    )


async def _answered(answer: Any) -> None:
    try:
        await answer
    except (NatsError, OSError) as error:
        raise BusError(_words(error)) from error


def _stored(message: Msg) -> StoredMessage:
    return StoredMessage(
        subject=message.subject,
        payload=message.data,
        sequence=message.metadata.sequence.stream,
        headers=message.headers or {},
    )


def _headers(message: Outgoing) -> dict[str, str] | None:
    if not message.message_id:
        return dict(message.headers) or None
    return {**message.headers, _MESSAGE_ID: message.message_id}


def _fault_of(answer: Msg) -> BusError | None:
    """What JetStream says of a message; None: it is stored."""
    if not answer.data:
        return BusError("no server has the stream of this subject now")
    said = orjson.loads(answer.data)
    error = said.get("error")
    return BusError(f"{error.get('description')} ({error.get('err_code')})") if error else None


def _begin(start: Start) -> ConsumerConfig:
    if start.sequence is not None:
        return ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=start.sequence
        )
    if start.time is not None:
        at = datetime.datetime.fromtimestamp(start.time, tz=datetime.UTC)
        return ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=at)
    return ConsumerConfig(deliver_policy=DeliverPolicy.NEW)


def _config(stream: Stream, replicas: int) -> StreamConfig:
    return StreamConfig(
        name=stream.name,
        subjects=list(stream.subjects),
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.OLD if stream.discard is Discard.OLD else DiscardPolicy.NEW,
        storage=StorageType.FILE if stream.on_disk else StorageType.MEMORY,
        max_age=stream.most_seconds,
        max_bytes=stream.most_bytes,
        duplicate_window=stream.duplicate_seconds,
        num_replicas=replicas if stream.on_disk else 1,
        allow_direct=True,
    )


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
