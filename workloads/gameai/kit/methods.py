"""Marks what a method of a service is: a mutation or a query of its gRPC service, or what it does with events of a type."""

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message
from grpc import aio

from gameai.kit.call import Call
from gameai.kit.kit import Kit

Context = aio.ServicerContext[Any, Any]


class HasKit(Protocol):
    """A service with a kit."""

    @property
    def kit(self) -> Kit:
        """Its kit."""


S = TypeVar("S", bound=HasKit)
Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)
E = TypeVar("E", bound=Message)
_EVENT = "gameai_event_type"


def mutation(
    method: Callable[[S, Q, Call], Awaitable[A]],
) -> Callable[[S, Q, Context], Awaitable[A]]:
    """A method that changes the state of a world. Its request has a field `request_id`, a UUID that its caller draws.

    It runs in a transaction, `call.db`. The same request that comes again within 24 hours gets the first answer; it has no effect.
    A method that raises has changed nothing, and its request may be sent again. It may be run twice where transactions
    meet: do nothing outside of `call.db` in it.
    """

    @functools.wraps(method)
    async def handler(self: S, request: Q, context: Context) -> A:
        act = functools.partial(method, self)
        return await self.kit.mutate(method.__name__, act, request, context)

    return handler


def query(
    method: Callable[[S, Q, Call], Awaitable[A]],
) -> Callable[[S, Q, Context], Awaitable[A]]:
    """A method that reads the state of a world, in a transaction that cannot write."""

    @functools.wraps(method)
    async def handler(self: S, request: Q, context: Context) -> A:
        return await self.kit.ask(functools.partial(method, self), request, context)

    return handler


def on(
    event: type[E],
) -> Callable[[Callable[[S, E, Call], Awaitable[None]]], Callable[[S, E, Call], Awaitable[None]]]:
    """A method that handles the events of a type, each once. All events of a batch take effect in one transaction.

    It may raise what a handler of a consumer may: `RetryError` while something that it needs is away, `PoisonError` to give
    up at once. Do nothing outside of `call.db` in it.
    """

    def marked(
        method: Callable[[S, E, Call], Awaitable[None]],
    ) -> Callable[[S, E, Call], Awaitable[None]]:
        setattr(method, _EVENT, event)
        return method

    return marked


def handlers(service: object) -> Mapping[type[Message], Callable[[Message, Call], Awaitable[None]]]:
    """What the methods of a service handle. Raises ValueError where two handle the same type."""
    found: dict[type[Message], Callable[[Message, Call], Awaitable[None]]] = {}
    for name in dir(type(service)):
        event = getattr(getattr(type(service), name), _EVENT, None)
        if event is None:
            continue
        if event in found:
            raise ValueError(
                f"two methods of {type(service).__name__} handle {event.DESCRIPTOR.full_name}"
            )
        found[event] = getattr(service, name)
    return found
