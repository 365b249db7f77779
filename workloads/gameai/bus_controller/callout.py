"""EDGE: answers the servers of the bus: who connects, and what this connection may do."""

import asyncio
import logging
from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.msg import Msg

from gameai.bus_controller.credentials import Issuer, Request, RequestError, request
from gameai.bus_controller.grants import (
    MOST_SERVICES,
    Directory,
    Permissions,
    of_gateways,
    permissions,
)
from gameai.bus_controller.metrics import ControllerMetrics
from gameai.errors import UnauthenticatedError
from gameai.serving.identity import Caller, Tokens

_LOG = logging.getLogger(__name__)
SUBJECT = "$SYS.REQ.USER.AUTH"
# Every replica of this program is in it: one of them answers.
_QUEUE = "gameai-bus-controller"
_SAY_SECONDS, _MOST_SAID = 60, 256
# A server waits 5 s for an answer; then its client has tried again. The rest is for clocks that differ.
_MOST_AGE_SECONDS = 15
# Connections of an account: so many at once, and so many a second. Each of them is signed for.
_BURST, _PER_SECOND, _MOST_ACCOUNTS = 400.0, 20.0, 4096


class _NoGrantError(Exception):
    """The account may not connect; `result` is that of the metric."""

    def __init__(self, message: str, result: str) -> None:
        super().__init__(message)
        self.result = result


class Callout:
    """Decides on connections. `directory` is asked each time, because it changes."""

    def __init__(
        self,
        issuer: Issuer,
        tokens: Tokens,
        directory: Callable[[], Directory],
        metrics: ControllerMetrics,
        now: Callable[[], float],
        gateways: str = "",
    ) -> None:
        """`gateways` is the account of the gateways, `<namespace>/<name>`; empty: there are none."""
        self._issuer, self._tokens, self._directory = issuer, tokens, directory
        self._metrics, self._now = metrics, now
        self._gateways = gateways
        # When each refusal was logged.
        self._said: dict[str, int] = {}
        # The permissions of accounts, as the directory last was.
        self._known: tuple[Directory, dict[str, Permissions]] = (Directory(), {})
        # Connections that an account may still open, and when that was counted.
        self._left: dict[str, tuple[float, float]] = {}

    def answer(self, asked: bytes) -> str | None:
        """The answer to a request of a server; None where it cannot be read. A token is in no message of a log."""
        try:
            given = request(asked.decode("ascii", "replace"))
        except RequestError as error:
            self._count("unreadable")
            _LOG.error("%s", error)
            return None
        now = int(self._now())
        if now - given.asked_at > _MOST_AGE_SECONDS:
            self._count("late")
            return None
        try:
            user = self._user(given, now)
        except UnauthenticatedError as error:
            return self._refused(given, now, "no_token", str(error))
        except _NoGrantError as error:
            return self._refused(given, now, error.result, str(error))
        self._count("accepted")
        return self._issuer.answer(given, now=now, user=user)

    def _user(self, given: Request, now: int) -> str:
        caller = self._tokens.owner(given.token, "connect with")
        account = caller.name or ""
        self._take(account)
        allowed = self._permissions(account)
        return self._issuer.user(given, account, allowed, now=now, ends_at=_end(caller))

    def _take(self, account: str) -> None:
        """Count a connection. Raises `_NoGrantError` where an account opens too many."""
        now = self._now()
        left, at = self._left.get(account, (_BURST, now))
        left = min(_BURST, left + (now - at) * _PER_SECOND)
        if left < 1:
            raise _NoGrantError(
                f"account {account} opens more than {_PER_SECOND:g} connections a second",
                "too_many_connections",
            )
        if len(self._left) >= _MOST_ACCOUNTS:
            self._left.clear()
        self._left[account] = (left - 1, now)

    def _permissions(self, account: str) -> Permissions:
        """What an account may do. Raises `_NoGrantError`."""
        if account and account == self._gateways:
            return of_gateways(account)
        directory = self._directory()
        if self._known[0] is not directory:
            self._known = (directory, {})
        known = self._known[1]
        if account not in known:
            known[account] = self._allowed(directory, account)
        return known[account]

    def _allowed(self, directory: Directory, account: str) -> Permissions:
        granted = directory.of(account)
        services = sum(each.weight for each in granted)
        if services > MOST_SERVICES:
            raise _NoGrantError(
                f"account {account} runs services of {len(granted)} worlds that count as {services}, and at most {MOST_SERVICES} are allowed: give its worlds accounts of their own",
                "too_many_services",
            )
        allowed = permissions(granted)
        if allowed is None:
            raise _NoGrantError(
                f"account {account} runs no service of a GameWorld that may use the bus", "no_grant"
            )
        return allowed

    def _refused(self, given: Request, now: int, result: str, why: str) -> str:
        self._count(result)
        # A client tries again twice a second.
        if now - self._said.get(why, 0) >= _SAY_SECONDS:
            if len(self._said) >= _MOST_SAID:
                self._said.clear()
            self._said[why] = now
            _LOG.warning("a connection from %s is refused: %s", given.host, why)
        return self._issuer.answer(given, now=now, error=why)

    def _count(self, result: str) -> None:
        self._metrics.connections.labels(result).inc()

    async def serve(self, client: Client) -> None:
        """Until cancelled: answer what the servers ask on this connection."""

        async def answered(message: Msg) -> None:
            answer = self.answer(message.data)
            if answer is not None:
                await message.respond(answer.encode())

        found = await client.subscribe(SUBJECT, _QUEUE, answered)
        try:
            await asyncio.Event().wait()
        finally:
            await found.unsubscribe()


def _end(caller: Caller) -> int:
    """A connection ends with the token it was opened with, and its client opens another with the next token."""
    return int(caller.ends_at)
