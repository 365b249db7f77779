"""EDGE: the bus on NATS JetStream."""

import asyncio
import contextlib
import functools
import itertools
import logging
import secrets  # noqa: TID251 - the edge: subjects that others cannot foresee
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Self

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import APIError, NotFoundError

from gameai.bus import jetstream, scoped
from gameai.bus.jetstream import EXPECTED_LAST, words
from gameai.bus.log import (
    BusError,
    Done,
    DuplicateError,
    MovedError,
    Outgoing,
    RefusedError,
    Start,
    Stored,
    StreamFullError,
    Subscription,
    other_filters,
)
from gameai.bus.login import Login
from gameai.bus.pulled import Pulled
from gameai.bus.scoped import ScopedLetters
from gameai.bus.streams import DEAD_LETTERS, Durable, Stream

_LOG = logging.getLogger(__name__)
# Of asyncio, at the end of each connection that the client has encrypted; nothing follows from it.
_NOISE = "returning true from eof_received() has no effect when using ssl"
logging.getLogger("asyncio").addFilter(lambda record: record.getMessage() != _NOISE)
# What the client raises where the connection or the server does not do its part.
_BROKEN = (NatsError, OSError, TimeoutError)
_CONNECT_SECONDS, _REQUEST_SECONDS, _CLOSE_SECONDS = 5.0, 5.0, 2.0
_RECONNECT_SECONDS = 0.5
_REOPEN_SECONDS = 1.0
_PING_SECONDS = 10
# The same warning, while it connects again.
_SAY_SECONDS = 10.0
# JetStream's error codes: the expected last sequence of a subject differs.
_WRONG_LAST_SEQUENCE = (10071, 10164)
_DELETE_FAILED, _NO_MESSAGE = 10057, 10037
_MOST_REFUSED = 16
_REFUSED = "Authorization Violation"


class NatsLog:
    """A connection to NATS, which is opened again by itself. An async context manager."""

    def __init__(self, url: str, *, name: str = "gameai", login: Login | None = None) -> None:
        self._url, self._name, self._login = url, name, login
        self._letters = ScopedLetters(self._ask) if login and login.scoped else None
        self._client = Client()
        self._numbers = itertools.count(1)
        # Messages that were sent: subject, and what to call with the answer.
        self._unanswered: dict[str, tuple[str, Done]] = {}
        self._inbox = ""
        # The subjects of answers must not be foreseen by others, who could answer too.
        self._secret = secrets.token_hex(8)
        # What a server refused in the last seconds: time, subject and its words.
        self._refused: list[tuple[float, str, str]] = []
        # What went wrong on this connection, and what was logged last and when.
        self._heard: list[str] = []
        self._said = (0.0, "")
        self._left = False
        self._renewing = asyncio.Lock()
        self._opening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._left = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        await close(self._client)

    async def _connect(self) -> None:
        client, self._heard = _Client(), []
        try:
            # Once it is connected it connects again without end; the first time must be an error.
            async with asyncio.timeout(_CONNECT_SECONDS):
                await client.connect(
                    self._url,
                    name=self._name,
                    # Less than all tries: `wait_for` may lose a cancellation that comes together with its own end.
                    connect_timeout=max(1, int(0.8 * _CONNECT_SECONDS)),
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_SECONDS,  # type: ignore[arg-type] # it takes fractions of a second
                    ping_interval=_PING_SECONDS,
                    max_outstanding_pings=2,
                    error_cb=self._on_error,
                    closed_cb=functools.partial(self._on_closed, client),
                    reconnected_cb=self._on_reconnected,
                    **(self._login.options() if self._login else {}),
                )
                inbox = client.new_inbox()
                await client.subscribe(f"{inbox}.*", cb=self._on_answer)
                await self._prepare(client)
                # A server may take a connection before it has decided on it.
                await client.flush(timeout=int(_CONNECT_SECONDS))
            if not client.is_connected:
                raise NatsError("the server has not decided on the connection")
            self._client, self._inbox = client, inbox
            self._js = client.jetstream(timeout=_REQUEST_SECONDS)
        except (*_BROKEN, ValueError) as error:
            # A connection that is refused is tried again until the time is over; the reason came before.
            said = [*self._heard, words(error)]
            why = next((each for each in said if _REFUSED in each), said[0])
            raise BusError(f"no connection to the bus at {self._url}: {why}") from error
        finally:
            if self._client is not client:
                await close(client)

    async def _prepare(self, client: Client) -> None:
        """What else a new connection needs."""

    async def _on_error(self, error: Exception) -> None:
        """A refused message or request is not answered: the server says so on the connection."""
        now, text = asyncio.get_running_loop().time(), words(error)
        subject = jetstream.refused_subject(text)
        if subject:
            self._refused = [*self._refused[1 - _MOST_REFUSED :], (now, subject, text)]
            for token, (sent, done) in tuple(self._unanswered.items()):
                if sent.lower() == subject:
                    del self._unanswered[token]
                    done(RefusedError(text))
        self._heard = [*self._heard[-_MOST_REFUSED:], text]
        if text != self._said[1] or now - self._said[0] >= _SAY_SECONDS:
            self._said = (now, text)
            _LOG.warning("bus: %s", text)

    async def _on_reconnected(self) -> None:
        """What was not answered on the former connection never will be; its publisher sends it again."""
        self._unanswered.clear()

    async def _on_closed(self, client: Client) -> None:
        """The client gives up a connection that the server ends, as it does with one whose token has expired."""
        if client is self._client and not self._left and self._opening is None:
            self._opening = asyncio.create_task(self._reopen())

    async def _reopen(self) -> None:
        try:
            while True:
                if await self._renewed():
                    return
                await asyncio.sleep(_REOPEN_SECONDS)
        finally:
            self._opening = None

    async def _renewed(self) -> bool:
        try:
            await self.renew()
        except BusError as error:
            _LOG.warning("bus: %s", error)
            return False
        return True

    async def _on_answer(self, message: Msg) -> None:
        _, done = self._unanswered.pop(message.subject.rpartition(".")[2], ("", None))
        if done is not None:
            done(jetstream.fault(message))

    async def send(self, message: Outgoing, done: Done) -> None:
        """Send; answers of all messages come on one subscription."""
        token = f"{next(self._numbers)}-{self._secret}"
        self._unanswered[token] = (message.subject, done)
        try:
            await self._client.publish(
                *(message.subject, message.payload, f"{self._inbox}.{token}"),
                headers=jetstream.headers(message),
            )
        except (NatsError, OSError) as error:
            self._unanswered.pop(token, None)
            raise BusError(words(error)) from error

    async def store(self, message: Outgoing, *, after: int | None = None) -> int:
        """Store a message and wait for its sequence."""
        headers = jetstream.headers(message) or {}
        if after is not None:
            headers[EXPECTED_LAST] = str(after)
        try:
            answer = await self._js.publish(
                message.subject, message.payload, timeout=_REQUEST_SECONDS, headers=headers or None
            )
        except APIError as error:
            if error.err_code in _WRONG_LAST_SEQUENCE:
                said = words(error)
                raise MovedError(said, jetstream.last_sequence(said)) from error
            kind = StreamFullError if error.err_code in scoped.FULL else BusError
            raise kind(words(error)) from error
        except _BROKEN as error:
            raise self._fault(error, message.subject) from error
        if answer.duplicate:
            raise DuplicateError(answer.seq)
        return answer.seq

    async def last_sequence(self, stream: Stream, subject: str) -> int:
        """The sequence of the last message of a subject."""
        found = await scoped.last(self._ask, subject)
        if found is None:
            raise BusError(f"{stream.name} is full, and does not say its last message of {subject}")
        return found

    async def last(self, stream: Stream, subject: str) -> Stored | None:
        """The last message of a subject."""
        if self._letters:
            return await self._own_letters(stream).last(subject)
        return await self._get(stream, subject, None)

    async def first(self, stream: Stream, subject: str, sequence: int = 1) -> Stored | None:
        """The first message of a subject from this sequence on."""
        if self._letters:
            return await self._own_letters(stream).first(subject, sequence)
        return await self._get(stream, subject, sequence)

    async def _get(self, stream: Stream, subject: str, sequence: int | None) -> Stored | None:
        try:
            # Not direct: a follower may not have the last message yet.
            found = await self._js.get_msg(
                stream.name, sequence, subject, next=sequence is not None
            )
        except _BROKEN as error:
            if isinstance(error, NotFoundError) and error.err_code == _NO_MESSAGE:
                return None
            raise self._fault(error, subject, stream.name) from error
        return Stored(
            subject=found.subject or subject,
            payload=found.data or b"",
            sequence=found.seq or 0,
            at_us=jetstream.microseconds(found.time),
            headers=jetstream.texts(found.headers),
        )

    def _own_letters(self, stream: Stream) -> ScopedLetters:
        if self._letters is None or stream.name != DEAD_LETTERS.name:
            raise RefusedError(
                f"a service of a world may not read single messages of {stream.name}"
            )
        return self._letters

    async def _ask(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> Msg:
        """A request and its answer."""
        with self._named(subject):
            return await self._client.request(
                subject, payload, timeout=_REQUEST_SECONDS, headers=dict(headers) or None
            )

    async def remove(self, stream: Stream, subject: str, sequence: int) -> None:
        """Remove a message."""
        if self._letters:
            await self._own_letters(stream).remove(subject, sequence)
            return
        try:
            await self._js.delete_msg(stream.name, sequence)
        except APIError as error:
            # Removed by another.
            if error.err_code != _DELETE_FAILED or "no message found" not in (
                error.description or ""
            ):
                raise BusError(words(error)) from error
        except _BROKEN as error:
            raise self._fault(error, stream.name) from error

    async def subscribe(self, durable: Durable) -> Subscription:
        """Open a durable consumer, and declare it."""
        with self._named(durable.name, durable.stream.name):
            while not self._letters and not await self._declared_consumer(durable):
                pass
            inbox = await self._client.subscribe(self._client.new_inbox())
        return Pulled(durable, self._client, inbox, self._refusal)

    async def _declared_consumer(self, durable: Durable) -> bool:
        """Whether the broker has it, declared by this or by a later revision; False: it was changed meanwhile."""
        stream, name = durable.stream.name, durable.name
        try:
            found = (await self._js.consumer_info(stream, name)).config
        except NotFoundError:
            found = None
        known = jetstream.revision(found) if found else 0
        wanted = tuple(sorted(durable.filters))
        if found and known == durable.revision and jetstream.filters(found) != wanted:
            raise other_filters(name, known)
        if known > durable.revision:
            return True
        request = jetstream.declaration(durable, stream, new=found is None)
        answer = await self._client.request(*request, timeout=_REQUEST_SECONDS)
        return jetstream.declared(answer, name)

    async def replay(
        self, stream: Stream, subject: str, start: Start
    ) -> AsyncGenerator[Stored, None]:
        """The messages of a subject, in order and without end, by a consumer that goes with this connection."""
        sequence = start.sequence or 0
        if not sequence and start.time is None:
            with self._named(subject, stream.name):
                sequence = (await self._js.stream_info(stream.name)).state.last_seq + 1
        while True:
            messages = self._ordered(stream, subject, sequence, start.time)
            async with contextlib.aclosing(messages):
                async for each in messages:
                    sequence = each.sequence + 1
                    yield each
            # The connection was opened again.
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _ordered(
        self, stream: Stream, subject: str, sequence: int, since: float | None
    ) -> AsyncGenerator[Stored, None]:
        """Messages from a sequence, or where that is 0 from a time on, until the connection is another one."""
        with self._named(subject, stream.name):
            found = await self._js.subscribe(
                subject,
                stream=stream.name,
                ordered_consumer=True,
                config=jetstream.beginning(sequence, since),
            )
        try:
            async for each in found.messages:
                # The client begins again with the first message of the stream where a server ends before any came.
                if not _precedes(each, sequence, since):
                    yield jetstream.stored(each)
        except _BROKEN as error:
            raise self._fault(error, subject, stream.name) from error
        finally:
            with contextlib.suppress(*_BROKEN):
                await found.unsubscribe()

    async def renew(self) -> None:
        """Open the connection again; what was not answered is sent again by its publisher."""
        former = self._client
        async with self._renewing:
            if self._client is not former:
                # Another publisher of this connection has just done it.
                return
            await self._connect()
            self._unanswered.clear()
            await close(former)

    @contextlib.contextmanager
    def _named(self, *what: str) -> Iterator[None]:
        """Errors of the client, as those of the bus, with the name of what was asked for."""
        try:
            yield
        except _BROKEN as error:
            raise self._fault(error, *what) from error

    def _fault(self, error: Exception, *what: str) -> BusError:
        """A request that times out is one that the server refused, if it refused a subject with one of these names."""
        refused = self._refusal(*what)
        if isinstance(error, TimeoutError | NatsError) and refused:
            return RefusedError(f"{what[0]}: {refused}")
        return BusError(f"{what[0]}: {words(error)}")

    def _refusal(self, *what: str) -> str:
        """What the server refused in the last seconds that has one of these names in its subject; empty: nothing."""
        since = asyncio.get_running_loop().time() - 2 * _REQUEST_SECONDS
        found = (
            text
            for at, subject, text in self._refused
            if at >= since and any(each.lower() in subject for each in what)
        )
        return next(found, "")


class _Client(Client):
    """The client, whose reading of a connection a message with broken headers must not end."""

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (LookupError, ValueError):
            return None


def _precedes(message: Msg, sequence: int, time: float | None) -> bool:
    """Whether a message comes before the beginning of a replay."""
    metadata = message.metadata
    if sequence:
        return metadata.sequence.stream < sequence
    return time is not None and metadata.timestamp.timestamp() < time


async def close(client: Client) -> None:
    """Close a client's connection, whatever became of it."""
    # A client that never tried to connect fails with an assertion, and one that was not encrypted waits without end.
    with contextlib.suppress(*_BROKEN, AssertionError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await client.close()
