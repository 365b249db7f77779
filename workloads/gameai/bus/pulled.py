"""EDGE: the messages of a durable consumer of JetStream, by requests to its server."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import orjson
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from gameai.bus import jetstream
from gameai.bus.jetstream import words
from gameai.bus.log import BusError, Delivery, RefusedError
from gameai.bus.streams import Durable

# A server that ends a request in time says so within this time.
_GRACE_SECONDS = 1.0


class Pulled:
    """A durable consumer of JetStream.

    The client's own subscription takes messages with a `Status` header, which any publisher may set, for its server's.
    """

    def __init__(
        self,
        durable: Durable,
        client: Client,
        subscription: Subscription,
        refusal: Callable[[str], str],
    ) -> None:
        """`refusal` says what the server refused in the last seconds about a name."""
        self._name, self._client, self._refusal = durable.name, client, refusal
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{durable.stream.name}.{durable.name}"
        self._subscription = subscription
        # Messages that the broker may still send for the last request, until it ends.
        self._asked, self._until = 0, 0.0

    async def fetch(self, most: int, seconds: float) -> Sequence[Delivery]:
        """At most so many messages: those that are there once the first has come."""
        now = asyncio.get_running_loop().time
        try:
            if self._asked <= 0 or now() >= self._until:
                await self._ask(most, seconds)
                self._asked, self._until = most, now() + seconds
            found = [await self._subscription.next_msg(self._until - now() + _GRACE_SECONDS)]
            while len(found) < most and self._subscription.pending_msgs:
                found.append(await self._subscription.next_msg(_GRACE_SECONDS))
        except TimeoutError:
            return self._nothing()
        except (NatsError, OSError) as error:
            raise BusError(f"{self._name}: {words(error)}") from error
        messages = [each for each in found if jetstream.is_delivery(each)]
        self._asked = self._asked - len(messages) if len(messages) == len(found) else 0
        for each in found:
            jetstream.raise_for(each, self._name)
        return [jetstream.delivery(each) for each in messages]

    def _nothing(self) -> Sequence[Delivery]:
        refused = self._refusal(self._name)
        if refused:
            raise RefusedError(f"{self._name}: {refused}")
        if self._client.is_closed:
            raise BusError(f"{self._name}: the connection was closed")
        return ()

    async def _ask(self, most: int, seconds: float) -> None:
        request = {"batch": most, "expires": int(seconds * 1e9)}
        await self._client.publish(self._next, orjson.dumps(request), self._subscription.subject)

    async def close(self) -> None:
        """Take no more messages: otherwise an open request takes one that nothing handles."""
        with contextlib.suppress(NatsError, OSError):
            await self._subscription.unsubscribe()
