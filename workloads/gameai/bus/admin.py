"""EDGE: declares streams and consumers to NATS JetStream."""

import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from gameai.bus import jetstream
from gameai.bus.login import Login
from gameai.bus.nats import NatsLog
from gameai.bus.streams import ConsumerUse, Durable, Stream, StreamUse

_LOG = logging.getLogger(__name__)
_MOST_WAITING = 1024
# The answer to a request, and its headers.
Answer = Callable[[Msg], Awaitable[tuple[bytes, Mapping[str, str]]]]


class NatsAdmin(NatsLog):
    """A connection that may declare, and answers requests."""

    def __init__(self, url: str, *, name: str = "gameai", login: Login | None = None) -> None:
        super().__init__(url, name=name, login=login)
        self._served: list[tuple[str, str, Answer]] = []

    async def serve(self, subject: str, queue: str, answer: Answer) -> None:
        """Answer requests on these subjects, one after the other; one program of a queue gets each. Raises `BusError`."""
        self._served.append((subject, queue, answer))
        with self._named(subject):
            await self._listen(subject, queue, answer)

    async def _connect(self) -> None:
        await super()._connect()
        for each in self._served:
            await self._listen(*each)

    async def _listen(self, subject: str, queue: str, answer: Answer) -> None:
        client = self._client

        async def answered(request: Msg) -> None:
            try:
                data, headers = await answer(request)
                await client.publish(request.reply, data, headers=dict(headers))
            except (NatsError, OSError, ValueError) as error:
                _LOG.warning("%s was not answered: %s", request.subject, error)

        await client.subscribe(subject, queue, answered, pending_msgs_limit=_MOST_WAITING)

    async def declare(self, streams: Sequence[Stream], *, replicas: int = 1) -> list[StreamUse]:
        """Create the streams, or bring them to what is declared; what each holds. Raises `BusError`."""
        return [await self._declared(jetstream.stream(each, replicas)) for each in streams]

    async def _declared(self, config: StreamConfig) -> StreamUse:
        name = config.name or ""
        with self._named(name):
            try:
                found = await self._js.stream_info(name)
            except NotFoundError:
                found = await self._js.add_stream(config)
            else:
                # A controller of the former release may still declare fewer.
                config.num_replicas = max(config.num_replicas or 1, found.config.num_replicas or 1)
                # Each update is agreed on by all servers that have the stream.
                if jetstream.differ(config, found.config):
                    found = await self._js.update_stream(config)
        return StreamUse(
            name=name,
            bytes=found.state.bytes,
            most_bytes=found.config.max_bytes or 0,
            messages=found.state.messages,
            consumers=found.state.consumer_count,
        )

    async def consumers(self, stream: Stream) -> list[ConsumerUse]:
        """Every durable consumer of a stream. Raises `BusError`."""
        found: list[ConsumerUse] = []
        with self._named(stream.name):
            while page := await self._js.consumers_info(stream.name, offset=len(found)):
                found += [jetstream.use(each) for each in page]
        return found

    async def declare_consumer(self, durable: Durable, *, new: bool) -> None:
        """Create a durable consumer, or change it. Raises `BusError`.

        Another controller may have done it just now; the next comparison shows what is left to do.
        """
        subject, body = jetstream.declaration(durable, durable.stream.name, new=new)
        answer = await self._ask(subject, body, {})
        jetstream.declared(answer, durable.name)

    async def counts(self, stream: Stream) -> dict[str, int]:
        """How many messages each subject of a stream has. Raises `BusError`."""
        with self._named(stream.name):
            found = await self._js.stream_info(stream.name, subjects_filter=">")
        return dict(found.state.subjects or {})

    async def purge(self, stream: Stream, subject: str) -> int:
        """Remove all messages of a subject; how many there were. Raises `BusError`."""
        with self._named(stream.name):
            before = (await self.counts(stream)).get(subject, 0)
            await self._js.purge_stream(stream.name, subject=subject)
        return before

    async def remove_consumer(self, use: ConsumerUse) -> None:
        """Remove a durable consumer with its position; one that is not there is no error. Raises `BusError`."""
        with self._named(use.name), contextlib.suppress(NotFoundError):
            await self._js.delete_consumer(use.stream, use.name)
