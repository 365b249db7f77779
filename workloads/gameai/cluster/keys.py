"""EDGE: the public keys of tokens, from a cluster's API server or a file."""

import asyncio
import contextlib
import json
import logging
from pathlib import Path
from typing import Any

import aiohttp
from jwt import PyJWTError

from gameai.cluster.api import Server
from gameai.serving import following
from gameai.serving.identity import Tokens

BAD_KEYS = (OSError, ValueError, TypeError, AttributeError, PyJWTError)
_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 1.0
_KEYS_SECONDS = 300.0
_RETRY_SECONDS, _SOON_SECONDS = 1.0, 5.0
_CONFIGURATION = "/.well-known/openid-configuration"
_KEYS = "/openid/v1/jwks"


async def follow_keys(server: Server, tokens: Tokens) -> None:
    """Until cancelled: read the keys of the cluster every five minutes, and soon after a token with an unknown key.

    Those that are known stay while the API server does not answer.
    """
    while True:
        tokens.unknown.clear()
        try:
            async with server.session() as session:
                tokens.take(*await _keys(server, session))
        except Exception as error:  # noqa: BLE001 - whatever an API server says must not end the program
            kept = (
                "the known keys stay in use"
                if tokens.ready
                else "all callers are rejected until then"
            )
            _LOG.warning("keys of tokens: %s; %s", error or type(error), kept)
        await asyncio.sleep(_SOON_SECONDS if tokens.ready else _RETRY_SECONDS)
        if tokens.ready:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(tokens.unknown.wait(), _KEYS_SECONDS)


async def _keys(server: Server, session: aiohttp.ClientSession) -> tuple[str, dict[str, Any]]:
    issuer = (await server.document(session, _CONFIGURATION))["issuer"]
    return str(issuer), await server.document(session, _KEYS)


async def follow_key_file(path: Path, issuer: str, tokens: Tokens) -> None:
    """Take up every new content of the file of keys, forever; a bad one leaves those that were there."""
    seen = ""

    def take(text: str) -> None:
        nonlocal seen
        if text != seen:
            tokens.take(issuer, json.loads(text))
            seen = text

    def refused(error: Exception) -> None:
        _LOG.error("the keys stay as they were: %s: %s", path, error)

    await following.follow(path.read_text, take, refused, errors=BAD_KEYS, seconds=_POLL_SECONDS)
