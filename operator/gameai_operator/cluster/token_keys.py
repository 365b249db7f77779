"""EDGE: the public keys of the cluster's tokens, which memories verify their callers with."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from gameai_contract.knowledge import TokenKeys

from gameai_operator.controller.errors import ApiError

_LOG = logging.getLogger(__name__)
_SECONDS, _FIRST_SECONDS = 300.0, 5.0
_ACCEPTED = "application/jwk-set+json, application/json"
_CONFIGURATION, _KEYS = "/.well-known/openid-configuration", "/openid/v1/jwks"


class Reads(Protocol):
    """What is needed of a client."""

    async def request(self, method: str, path: str, *, accept: str) -> Any:
        """One request and its decoded answer. Raises `ApiError`."""


class KnownKeys:
    """The keys as they were last read; None before that."""

    def __init__(self, client: Reads) -> None:
        self._client = client
        self.keys: TokenKeys | None = None

    async def follow(self, changed: Callable[[], None]) -> None:
        """Read them every five minutes, and say when there are others. Never ends."""
        while True:
            await self.read(changed)
            await asyncio.sleep(_SECONDS if self.keys else _FIRST_SECONDS)

    async def read(self, changed: Callable[[], None]) -> None:
        """Read them once; those that are known stay where that fails."""
        try:
            configuration = await self._client.request("GET", _CONFIGURATION, accept=_ACCEPTED)
            keys = await self._client.request("GET", _KEYS, accept=_ACCEPTED)
            found = TokenKeys(issuer=str(configuration["issuer"]), keys={"keys": keys["keys"]})
        except (ApiError, KeyError, TypeError) as error:
            _LOG.warning("the keys of tokens cannot be read: %s", error)
            return
        if found != self.keys:
            self.keys = found
            changed()
