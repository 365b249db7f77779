"""EDGE: declares streams and consumers to NATS JetStream."""

import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from gameai.bus import jetstream
from gameai.bus.login import Login
from gameai.bus.queue import NatsQueue
from gameai.bus.streams import ConsumerUse, Durable, Stream, StreamUse

_LOG = logging.getLogger(__name__)
_MOST_WAITING = 1024
# The answer to a request, and its headers.
Answer = Callable[[Msg], Awaitable[tuple[bytes, Mapping[str, str]]]]


class NatsAdmin(NatsQueue):
    """A connection that may declare, and answers requests."""

    def __init__(self, url: str, *, name: str = "gameai", login: Login | None = None) -> None:
        super().__init__(url, name=name, login=login)
        self._served: list[tuple[str, str, Answer]] = []

    async def serve(self, subject: str, queue: str, answer: Answer) -> None:
        """Answer requests on these subjects, one after the other; one program of a queue gets each. Raises `BusError`."""
        self._served.append((subject, queue, answer))
        with self._named(subject):
            await _listen(self._client, subject, queue, answer)

    async def _prepare(self, client: Client) -> None:
        for each in self._served:
            await _listen(client, *each)

    async def declare(self, streams: Sequence[Stream], *, replicas: int = 1) -> list[StreamUse]:
        """Create the streams, or bring them to what is declared; what each holds. Raises `BusError`."""
        return [await self.declare_stream(each, replicas=replicas) for each in streams]

    async def declare_stream(self, stream: Stream, *, replicas: int = 1) -> StreamUse:
        """The same with one of them. Raises `BusError`, also where the servers that have it are away."""
        config = jetstream.stream(stream, replicas)
        with self._named(stream.name):
            try:
                found = await self._js.stream_info(stream.name)
            except NotFoundError:
                found = await self._js.add_stream(config)
            else:
                # A controller of the former release may still declare fewer.
                config.num_replicas = max(config.num_replicas or 1, found.config.num_replicas or 1)
                # Each update is agreed on by all servers that have the stream.
                if jetstream.differ(config, found.config):
                    found = await self._js.update_stream(config)
        return StreamUse(
            name=stream.name,
            bytes=found.state.bytes,
            most_bytes=found.config.max_bytes or 0,
            messages=found.state.messages,
            consumers=found.state.consumer_count,
        )

    async def consumers(self, stream: Stream) -> list[ConsumerUse]:
        """Every durable consumer of a stream. One whose server is away has no digest. Raises `BusError`."""
        found: list[ConsumerUse] = []
        while True:
            body = orjson.dumps({"offset": len(found)})
            answer = await self._ask(f"$JS.API.CONSUMER.LIST.{stream.name}", body, {})
            page = jetstream.uses(answer, stream.name)
            found += page
            if not page:
                return found

    async def declare_consumer(self, durable: Durable, *, new: bool) -> bool:
        """Create a durable consumer, or change it; False: another controller did so just now. Raises `BusError`."""
        subject, body = jetstream.declaration(durable, durable.stream.name, new=new)
        return jetstream.declared(await self._ask(subject, body, {}), durable.name)

    async def purge(self, stream: Stream, subject: str) -> int:
        """Remove all messages of a subject; how many there were. Raises `BusError`."""
        body = orjson.dumps({"filter": subject})
        answer = await self._ask(f"$JS.API.STREAM.PURGE.{stream.name}", body, {})
        return jetstream.purged(answer, stream.name)

    async def remove_consumer(self, use: ConsumerUse) -> None:
        """Remove a durable consumer with its position; one that is not there is no error. Raises `BusError`."""
        with self._named(use.name), contextlib.suppress(NotFoundError):
            await self._js.delete_consumer(use.stream, use.name)


async def _listen(client: Client, subject: str, queue: str, answer: Answer) -> None:
    async def answered(request: Msg) -> None:
        try:
            data, headers = await answer(request)
            await client.publish(request.reply, data, headers=dict(headers))
        except (NatsError, OSError, ValueError) as error:
            _LOG.warning("%s was not answered: %s", request.subject, error)

    await client.subscribe(subject, queue, answered, pending_msgs_limit=_MOST_WAITING)
