"""EDGE: requests to the API server of a cluster."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

TOKEN_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CALL_SECONDS = 30.0
_OK, _CREATED = 200, 201


class ApiError(Exception):
    """The API server did not answer as wanted; `status` is 0 where that says nothing."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """Address and credentials of the API server. Files are read again for each call, because the kubelet replaces them."""

    url: str
    token_file: Path = TOKEN_FOLDER / "token"
    ca_file: Path = TOKEN_FOLDER / "ca.crt"

    def session(self) -> aiohttp.ClientSession:
        """Connections to it, with the current certificate authority. Raises `OSError` if its file is missing."""
        trusted = ssl.create_default_context(cafile=str(self.ca_file))
        connector = aiohttp.TCPConnector(ssl=trusted, limit=0)
        return aiohttp.ClientSession(connector=connector, read_bufsize=1 << 20)

    def get(
        self,
        session: aiohttp.ClientSession,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        silence_seconds: float = _CALL_SECONDS,
    ) -> Any:
        """A request; it fails after a time without any data."""
        return session.get(
            f"{self.url}{path}",
            params=query,
            headers=self._headers(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=_CALL_SECONDS, sock_read=silence_seconds
            ),
        )

    async def document(
        self, session: aiohttp.ClientSession, path: str, query: Mapping[str, str] | None = None
    ) -> Any:
        """What a path answers. Raises `ApiError`, and what connections raise."""
        async with (
            asyncio.timeout(_CALL_SECONDS),
            self.get(session, path, query) as response,
        ):
            if response.status != _OK:
                raise ApiError(f"GET {path} was answered {response.status}", response.status)
            return orjson.loads(await response.read())

    async def create(
        self, session: aiohttp.ClientSession, path: str, document: Mapping[str, Any]
    ) -> Any:
        """Create an object in a collection, and return it. Raises `ApiError`, and what connections raise."""
        async with (
            asyncio.timeout(_CALL_SECONDS),
            session.post(
                f"{self.url}{path}",
                data=orjson.dumps(document),
                headers=self._headers("application/json"),
            ) as response,
        ):
            if response.status != _CREATED:
                raise ApiError(f"POST {path} was answered {response.status}", response.status)
            return orjson.loads(await response.read())

    async def merge(
        self, session: aiohttp.ClientSession, path: str, document: Mapping[str, Any]
    ) -> None:
        """Merge fields into an object. Raises `ApiError`, and what connections raise."""
        async with (
            asyncio.timeout(_CALL_SECONDS),
            session.patch(
                f"{self.url}{path}",
                data=orjson.dumps(document),
                headers=self._headers("application/merge-patch+json"),
            ) as response,
        ):
            if response.status != _OK:
                raise ApiError(f"PATCH {path} was answered {response.status}", response.status)

    def _headers(self, content: str = "") -> dict[str, str]:
        held = {"Authorization": f"Bearer {self.token_file.read_text().strip()}"}
        return {**held, "Content-Type": content} if content else held
