"""EDGE: who calls the gateway, and for which world it may speak."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from google.protobuf.message import DecodeError

from gameai.errors import (
    DrainingError,
    ExhaustedError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
)
from gameai.gateway.memory import namespace
from gameai.gateway.routing.snapshot import View, WorldView
from gameai.gateway.rpc.call_status import Context
from gameai.serving.identity import Caller, Identity
from gameai.serving.requests import Arrivals

_M = TypeVar("_M")


class Callers:
    """Identifies callers; `view` says which worlds they speak for, `fault` why no call can be answered yet."""

    def __init__(
        self, identity: Identity, view: Callable[[], View], fault: Callable[[], str] = str
    ) -> None:
        self._identity, self._view, self._fault = identity, view, fault

    def of(self, context: Context) -> Caller:
        """The caller of a call. Raises `DrainingError`, `UnauthenticatedError`."""
        if fault := self._fault():
            # Without a view every caller would be refused, and taken at its word.
            raise DrainingError(f"this gateway cannot answer yet: {fault}")
        return self._identity.caller(dict(context.invocation_metadata() or ()))

    def world(self, caller: Caller, name: str) -> WorldView:
        """The world of a request, if the caller may use it. Raises a `ServiceFault` otherwise."""
        view = self._view()
        if caller.name is None:
            mine = list(view.worlds.values())
        else:
            mine = view.worlds_of(caller.name, caller.uid)
        if name:
            for world in mine:
                if world.key == name:
                    return world
        elif (only := _only(mine, caller)) is not None:
            return only
        if caller.name is not None and (not mine or name):
            raise PermissionDeniedError(
                f"{caller.name} does not speak for {name[:64] or 'any world'}: add it to the world's callers"
            )
        if name or not mine:
            remedy = ": write namespace/name" if name and "/" not in name else ""
            raise NotFoundError(f"world {name[:64]!r} does not exist{remedy}", field="world")
        raise InvalidArgumentError(
            "world must be named, unless it is the only one of the caller's own namespace: "
            f"one of {', '.join(sorted(world.key for world in mine)[:10])}",
            field="world",
        )


def within(counts: Counter[str], caller: Caller, most: int, what: str, context: Context) -> None:
    """One more call of a caller's namespace, until its answer is sent. Raises `ExhaustedError` beyond `most`.

    Not until its handler returns: a client that takes no bytes holds the call, and the gateway has so many in all.
    """
    if caller.name is None:
        return
    space = namespace(caller.name)
    if counts[space] >= most:
        raise ExhaustedError(
            f"namespace {space} has {most} {what} open at this gateway, and no more are taken: use fewer, or more gateways"
        )
    counts[space] += 1

    def ended(_: object) -> None:
        counts[space] -= 1
        if not counts[space]:
            del counts[space]

    context.add_done_callback(ended)  # type: ignore[arg-type] # its stub wants a named protocol


async def only_message(arrivals: Arrivals, messages: AsyncIterator[_M]) -> _M:
    """The only message of a call. Raises what `Arrivals.only` raises, and `InvalidArgumentError` if its bytes are no message."""
    try:
        return await arrivals.only(messages)
    except DecodeError as error:
        raise InvalidArgumentError(f"the request is not a message: {error}") from error


def _only(mine: list[WorldView], caller: Caller) -> WorldView | None:
    """The world that a caller means who names none: the only one of its own namespace.

    A world of another namespace must be named: otherwise a world there that lists this caller would get its questions.
    """
    if caller.name is not None:
        beside = f"{caller.name.partition('/')[0]}/"
        mine = [world for world in mine if world.key.startswith(beside)]
    return mine[0] if len(mine) == 1 else None
