"""EDGE: queues on JetStream, for programs of the platform: each message is taken by one program, which answers it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import orjson
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from gameai.bus import jetstream
from gameai.bus.jetstream import words
from gameai.bus.log import BusError, Delivery
from gameai.bus.nats import NatsLog
from gameai.bus.streams import Durable, Stream

_ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Use:
    """Messages of each of some subjects, and the bytes of their whole stream."""

    subjects: Mapping[str, int]
    bytes: int
    most_bytes: int


class NatsQueue(NatsLog):
    """A connection that takes messages of many queues, one at a time."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return bool(self._client.is_connected)

    async def open(self, durable: Durable) -> None:
        """Create a consumer, where it is not there. Raises `BusError`."""
        with self._named(durable.name, durable.stream.name):
            while not await self._declared_consumer(durable):
                pass

    async def take(self, durable: Durable) -> Delivery | None:
        """A message that is there now; None where there is none. Raises `LookupError` where the consumer is gone, and `BusError`."""
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{durable.stream.name}.{durable.name}"
        answer = await self._next(durable.name, subject)
        jetstream.raise_for(answer, durable.name)
        return self._delivery(answer) if jetstream.is_delivery(answer) else None

    def _delivery(self, message: Msg) -> Delivery:
        """A message that is answered over the connection of that time: it may take longer than a token is valid."""

        async def say(answer: bytes) -> None:
            try:
                await self._client.publish(message.reply, answer)
            except (NatsError, OSError) as error:
                raise BusError(words(error)) from error

        async def again(seconds: float) -> None:
            await say(b"-NAK " + orjson.dumps({"delay": int(seconds * 1e9)}))

        return replace(
            jetstream.delivery(message),
            done=lambda: say(b"+ACK"),
            again=again,
            working=lambda: say(b"+WPI"),
        )

    async def _next(self, name: str, subject: str) -> Msg:
        request = orjson.dumps({"batch": 1, "no_wait": True})
        try:
            # A message of a stream comes under its own subject, and not under that of the answer.
            return await self._client.request(
                subject, request, timeout=_ANSWER_SECONDS, old_style=True
            )
        except NoRespondersError as error:
            raise LookupError(f"the consumer {name} is gone") from error
        except (NatsError, OSError, TimeoutError) as error:
            raise BusError(f"{name}: {words(error)}") from error

    async def use(self, stream: Stream, subject: str = ">") -> Use:
        """What a stream holds. Raises `BusError`."""
        with self._named(stream.name):
            found = await self._js.stream_info(stream.name, subjects_filter=subject)
        return Use(
            subjects=dict(found.state.subjects or {}),
            bytes=found.state.bytes,
            most_bytes=found.config.max_bytes or 0,
        )

    async def counts(self, stream: Stream, subject: str = ">") -> dict[str, int]:
        """How many messages each of these subjects has. Raises `BusError`."""
        return dict((await self.use(stream, subject)).subjects)
