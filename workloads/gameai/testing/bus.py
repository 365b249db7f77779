"""The event bus in memory. It passes the conformance suite that the real broker passes; nothing of it survives the process."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from gameai.bus.log import (
    BusError,
    Delivery,
    Done,
    DuplicateError,
    MovedError,
    Outgoing,
    Start,
    Stored,
    Subscription,
    other_filters,
)
from gameai.bus.streams import STREAMS, Discard, Durable, Stream


@dataclass(slots=True, kw_only=True)
class _Kept:
    """The messages of a stream by their sequence, with the wall clock at which each was stored."""

    stream: Stream
    messages: dict[int, tuple[float, Stored]] = field(default_factory=dict)
    sequence: int = 0
    bytes: int = 0
    # Time of the loop and sequence by message id.
    known: dict[str, tuple[float, int]] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def forget(self, sequence: int) -> None:
        """Remove a message; one that is not there is no error."""
        found = self.messages.pop(sequence, None)
        if found:
            self.bytes -= len(found[1].payload)

    async def notify(self) -> None:
        """Wake those that wait for a message."""
        async with self.changed:
            self.changed.notify_all()


@dataclass(slots=True, kw_only=True)
class _Pending:
    """A message that was delivered and is not acknowledged: it is delivered again at a time."""

    stored: Stored
    again_at: float
    deliveries: int = 1


@dataclass(slots=True, kw_only=True)
class _Position:
    """What the broker remembers of a durable consumer."""

    durable: Durable
    next_sequence: int = 1
    deliveries: int = 0
    pending: dict[int, _Pending] = field(default_factory=dict)


class MemoryLog:
    """A broker in memory; one for all publishers and consumers of a test."""

    def __init__(self, streams: Sequence[Stream] = STREAMS) -> None:
        self._kept = [_Kept(stream=each) for each in streams]
        self._positions: dict[tuple[str, str], _Position] = {}
        self._answers: set[asyncio.Task[None]] = set()

    async def send(self, message: Outgoing, done: Done) -> None:
        """Store it; `done` is called later, as that of a broker is."""
        task = asyncio.create_task(self._answer(message, done))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, message: Outgoing, done: Done) -> None:
        try:
            await self.store(message)
        except BusError as error:
            done(error)
        else:
            done(None)

    async def store(self, message: Outgoing, *, after: int | None = None) -> int:
        """Store a message. Raises `BusError`, `MovedError`, `DuplicateError`."""
        kept = next((each for each in self._kept if _takes(each.stream, message.subject)), None)
        if kept is None:
            raise BusError(f"no stream takes the subject {message.subject}")
        most = kept.stream.most_message_bytes
        if len(message.payload) > most:
            raise BusError(f"the message has {len(message.payload)} bytes: at most {most}")
        now = _now()
        window = kept.stream.duplicate_seconds
        kept.known = {key: each for key, each in kept.known.items() if now - each[0] < window}
        if message.message_id in kept.known:
            raise DuplicateError(kept.known[message.message_id][1])
        last = self._last_sequence(kept, message.subject)
        if after is not None and after != last:
            raise MovedError(f"the last message of {message.subject} is {last}, not {after}", last)
        most = kept.stream.most_per_subject
        if most and sum(s.subject == message.subject for _, s in kept.messages.values()) >= most:
            raise BusError(f"{kept.stream.name} has {most} messages of {message.subject}")
        self._make_room(kept, len(message.payload))
        kept.sequence += 1
        stored = Stored(
            subject=message.subject,
            payload=message.payload,
            sequence=kept.sequence,
            at_us=time.time_ns() // 1000,
            headers=dict(message.headers),
        )
        kept.messages[kept.sequence] = (time.time(), stored)
        if message.message_id:
            kept.known[message.message_id] = (now, kept.sequence)
        await kept.notify()
        return kept.sequence

    def _make_room(self, kept: _Kept, size: int) -> None:
        """As a full stream does. Raises `BusError`."""
        stream = kept.stream
        while kept.messages and kept.bytes + size > stream.most_bytes:
            if stream.discard is Discard.NEW:
                raise BusError(f"{stream.name} is full: it holds {kept.bytes} bytes")
            kept.forget(next(iter(kept.messages)))
        kept.bytes += size

    async def last_sequence(self, stream: Stream, subject: str) -> int:
        """The sequence of the last message of a subject, 0 where there is none."""
        return self._last_sequence(self._of(stream), subject)

    async def last(self, stream: Stream, subject: str) -> Stored | None:
        """The last message of a subject."""
        kept = self._of(stream)
        sequence = self._last_sequence(kept, subject)
        return kept.messages[sequence][1] if sequence else None

    async def first(self, stream: Stream, subject: str, sequence: int = 1) -> Stored | None:
        """The first message of a subject from this sequence on."""
        return self._next(self._of(stream), (subject,), sequence)

    async def remove(self, stream: Stream, subject: str, sequence: int) -> None:
        """Remove a message."""
        kept = self._of(stream)
        if (found := kept.messages.get(sequence)) and found[1].subject == subject:
            kept.forget(sequence)

    async def subscribe(self, durable: Durable) -> Subscription:
        """Open a durable consumer."""
        key = (durable.stream.name, durable.name)
        position = self._positions.setdefault(key, _Position(durable=durable))
        known = position.durable
        if known.revision == durable.revision and set(known.filters) != set(durable.filters):
            raise other_filters(durable.name, known.revision)
        if known.revision <= durable.revision:
            position.durable = durable
        return _Subscribed(self, self._of(durable.stream), position)

    async def replay(
        self, stream: Stream, subject: str, start: Start
    ) -> AsyncGenerator[Stored, None]:
        """The messages of a subject, in order and without end."""
        kept = self._of(stream)
        sequence = start.sequence or kept.sequence + 1
        if start.time is not None:
            later = (key for key, (at, _) in kept.messages.items() if at >= start.time)
            sequence = min(later, default=sequence)
        while True:
            found = self._next(kept, (subject,), sequence)
            if found is None:
                async with kept.changed:
                    await kept.changed.wait()
                continue
            sequence = found.sequence + 1
            yield found

    async def renew(self) -> None:
        """It has no connection."""

    def _of(self, stream: Stream) -> _Kept:
        return next(each for each in self._kept if each.stream.name == stream.name)

    def _last_sequence(self, kept: _Kept, subject: str) -> int:
        found = (key for key, each in kept.messages.items() if each[1].subject == subject)
        return max(found, default=0)

    def _next(self, kept: _Kept, filters: Sequence[str], sequence: int) -> Stored | None:
        for key, (_, each) in kept.messages.items():
            if key >= sequence and any(matches(one, each.subject) for one in filters):
                return each
        return None


class _Subscribed:
    """A durable consumer of a memory log."""

    def __init__(self, log: MemoryLog, kept: _Kept, position: _Position) -> None:
        self._log, self._kept, self._position = log, kept, position

    async def fetch(self, most: int, seconds: float) -> Sequence[Delivery]:
        """At most so many messages."""
        end = _now() + seconds
        while True:
            found: list[Delivery] = []
            while len(found) < most and (delivery := self._take()):
                found.append(delivery)
            left = end - _now()
            if found or left <= 0:
                return found
            # What is to be delivered again needs no new message.
            times = [each.again_at - _now() for each in self._position.pending.values()]
            await self._changed(min([left, *times]))

    async def close(self) -> None:
        """Take no more messages; there is no request that waits for one."""

    async def _changed(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0.001)), self._kept.changed:
                await self._kept.changed.wait()

    def _take(self) -> Delivery | None:
        now, position = _now(), self._position
        for pending in position.pending.values():
            if pending.again_at <= now:
                pending.deliveries += 1
                return self._delivery(pending)
        if len(position.pending) >= position.durable.most_pending:
            return None
        filters = position.durable.filters or (">",)
        stored = self._log._next(self._kept, filters, position.next_sequence)  # noqa: SLF001 - its own
        if stored is None:
            return None
        position.next_sequence = stored.sequence + 1
        pending = _Pending(stored=stored, again_at=0.0)
        position.pending[stored.sequence] = pending
        return self._delivery(pending)

    def _delivery(self, pending: _Pending) -> Delivery:
        durable, sequence = self._position.durable, pending.stored.sequence
        self._position.deliveries += 1
        pending.again_at = _now() + durable.ack_seconds

        async def done() -> None:
            self._position.pending.pop(sequence, None)
            await self._kept.notify()

        async def again(seconds: float) -> None:
            pending.again_at = _now() + seconds
            await self._kept.notify()

        async def working() -> None:
            pending.again_at = _now() + durable.ack_seconds

        return Delivery(
            message=pending.stored,
            deliveries=pending.deliveries,
            number=self._position.deliveries,
            done=done,
            again=again,
            working=working,
        )


def matches(wanted: str, subject: str) -> bool:
    """Whether a subject is one of those that a filter means: `*` is any one part, `>` at the end any parts."""
    parts, given = wanted.split("."), subject.split(".")
    if parts[-1] == ">":
        parts, given = parts[:-1], given[: len(parts) - 1] if len(given) >= len(parts) else []
        if not given and parts:
            return False
    return len(parts) == len(given) and all(
        one in ("*", other) for one, other in zip(parts, given, strict=True)
    )


def _takes(stream: Stream, subject: str) -> bool:
    return any(matches(each, subject) for each in stream.subjects)


def _now() -> float:
    return asyncio.get_running_loop().time()
