"""EDGE: one thin client over `kubernetes.aio`: TLS and token rotation; our requests and errors.

Bodies are plain dicts. Nothing is retried here but a 401, once, with
credentials read again: what to try again, and when, is the queue's business. A certificate that is not trusted has
credentials read again too, for the authority that signs it may have been rotated.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config.config_exception import ConfigException

from gameai_operator import telemetry
from gameai_operator.cluster.answers import api_error, retry_after_seconds
from gameai_operator.cluster.circuit_breaker import Breaker
from gameai_operator.cluster.credentials import CredentialsError, bare, configuration
from gameai_operator.controller.errors import ApiError
from gameai_operator.controller.manifest import FIELD_MANAGER, Key, Manifest, Resource
from gameai_operator.settings import Settings

_LOG = logging.getLogger(__name__)
_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_LIST_SECONDS = 30.0
_HELD_SECONDS = 1.0
_PAGE = 500
_EVENT = Resource(group="", version="v1", kind="Event", plural="events")
_TRUST_SECONDS = 30.0

Gate = Callable[[], None]


# A closed session is a RuntimeError; a response that is not JSON (a proxy's error page) is a ValueError.
_NO_ANSWER = (
    aiohttp.ClientError,
    TimeoutError,
    OSError,
    ValueError,
    RuntimeError,
    ConfigException,
    CredentialsError,
)


class Client:
    """Requests with dict bodies. Writes pass the gate just before they are sent."""

    def __init__(self, settings: Settings, made: Configuration, gate: Gate) -> None:
        self._settings = settings
        self._gate = gate
        self._breaker = Breaker()
        self._trust_read_at = -_TRUST_SECONDS
        self.on_new_trust: Callable[[], None] = lambda: None
        self._api = ApiClient(made)
        self._closing: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Close the connections."""
        for closing in tuple(self._closing):
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._api.close()

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """A live object; None if absent."""
        try:
            answer: dict[str, Any] = await self.request("GET", resource.path(namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return answer

    async def apply(
        self,
        resource: Resource,
        manifest: Manifest,
        *,
        force: bool,
        manager: str = FIELD_MANAGER,
    ) -> dict[str, Any]:
        """Server-side apply with strict field validation; the object as it is now."""
        metadata = manifest["metadata"]
        path = resource.path(metadata["namespace"], metadata["name"])
        return await self._apply(resource, path, manifest, force=force, manager=manager)

    async def create(self, resource: Resource, manifest: Manifest) -> bool:
        """POST an object; False where one of its name exists, whatever is in it."""
        try:
            await self._post(resource, manifest["metadata"]["namespace"], manifest)
        except ApiError as error:
            # A quota that others changed at the same time is a conflict too.
            if error.reason != "AlreadyExists":
                raise
            return False
        return True

    async def apply_status(
        self, resource: Resource, manifest: Manifest, *, manager: str = FIELD_MANAGER
    ) -> dict[str, Any]:
        """Server-side apply of the status subresource; each manager has fields of its own."""
        metadata = manifest["metadata"]
        path = resource.path(metadata["namespace"], metadata["name"]) + "/status"
        return await self._apply(resource, path, manifest, force=True, manager=manager)

    async def scale(self, resource: Resource, key: Key, replicas: int, manager: str) -> None:
        """Write the scale subresource of an object."""
        await self._write(
            "PATCH",
            resource.path(key.namespace, key.name) + "/scale",
            resource,
            body={"spec": {"replicas": replicas}},
            query={"fieldManager": manager},
            content_type=_MERGE,
        )

    async def _apply(
        self,
        resource: Resource,
        path: str,
        manifest: Manifest,
        *,
        force: bool,
        manager: str = FIELD_MANAGER,
    ) -> dict[str, Any]:
        query = {
            "fieldManager": manager,
            "force": str(force).lower(),
            "fieldValidation": "Strict",
        }
        answer: dict[str, Any] = await self._write(
            "PATCH", path, resource, body=manifest, query=query, content_type=_APPLY
        )
        return answer

    async def replace_spec(
        self, resource: Resource, manifest: Manifest, version: str
    ) -> dict[str, Any]:
        """Merge patch of `spec` alone, if the object still has this resourceVersion."""
        metadata = manifest["metadata"]
        body = {"metadata": {"resourceVersion": version}, "spec": manifest["spec"]}
        path = resource.path(metadata["namespace"], metadata["name"])
        answer: dict[str, Any] = await self._write(
            "PATCH",
            path,
            resource,
            body=body,
            query={"fieldManager": FIELD_MANAGER},
            content_type=_MERGE,
        )
        return answer

    async def delete(
        self,
        resource: Resource,
        key: Key,
        *,
        preconditions: Mapping[str, str],
        grace_seconds: int | None = None,
    ) -> None:
        """Delete in the background if the preconditions hold; it is not an error if the object is absent or was replaced."""
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": dict(preconditions),
        }
        body |= {} if grace_seconds is None else {"gracePeriodSeconds": grace_seconds}
        try:
            await self._write("DELETE", resource.path(key.namespace, key.name), resource, body=body)
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def create_event(self, namespace: str, document: Mapping[str, Any]) -> None:
        """POST one Event."""
        await self._post(_EVENT, namespace, document)

    async def _post(self, resource: Resource, namespace: str, body: Mapping[str, Any]) -> None:
        await self._write("POST", resource.path(namespace), resource, body=body)

    async def put(
        self, resource: Resource, document: Mapping[str, Any], seconds: float
    ) -> dict[str, Any]:
        """Replace (or create, where it has no resourceVersion) an object, past the gate: the Lease opens it."""
        metadata = document["metadata"]
        new = "resourceVersion" not in metadata
        path = resource.path(metadata["namespace"], None if new else metadata["name"])
        answer: dict[str, Any] = await self.request(
            "POST" if new else "PUT", path, body=document, seconds=seconds, urgent=True
        )
        return answer

    async def pages(
        self, path: str, *, selector: str = "", metadata_only: bool = False, limit: int = _PAGE
    ) -> AsyncIterator[dict[str, Any]]:
        """A LIST, page by page. `resourceVersion=0` would ignore the limit, so it is not sent."""
        query: dict[str, Any] = {"limit": limit} | ({"labelSelector": selector} if selector else {})
        accept = _METADATA_LIST if metadata_only else _JSON
        while True:
            page = await self.request(
                "GET", path, query=query, seconds=_LIST_SECONDS, accept=accept
            )
            page["items"] = page.get("items") or []  # an empty list of metadata alone comes as null
            yield page
            token = page["metadata"].get("continue")
            if not token:
                return
            query = {**query, "continue": token}

    async def _write(self, method: str, path: str, resource: Resource, **options: Any) -> Any:
        telemetry.WRITES.labels(method.lower(), resource.kind).inc()
        return await self.request(method, path, gate=self._gate, **options)

    async def request(  # noqa: PLR0913 - options of an HTTP request, each with a default
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        seconds: float | None = None,
        gate: Gate | None = None,
        urgent: bool = False,
    ) -> Any:
        """One request and its decoded answer. Raises `ApiError`; status 0 where no answer came.

        While nothing answers, only `urgent` requests and one of the others every two seconds are sent.
        """
        url = path + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = {"Accept": accept, "Content-Type": content_type, "User-Agent": FIELD_MANAGER}
        within = seconds or self._settings.request_seconds
        used = self._api
        if not urgent and not self._breaker.admits():
            raise ApiError(
                0, "NoAnswer", f"{method} {path}: held back", retry_after_seconds=_HELD_SECONDS
            )
        try:
            status, answer, retry_after = await self._send(method, url, data, headers, within, gate)
            if status == 401:
                await self._renew_credentials(used)
                status, answer, retry_after = await self._send(
                    method, url, data, headers, within, gate
                )
            self._breaker.heard()
            decoded = json.loads(answer) if answer and status <= 299 else None
        except _NO_ANSWER as error:
            if isinstance(error, aiohttp.ClientSSLError):
                await self._renew_trust(used)
            self._breaker.missed()
            telemetry.API_ERRORS.labels("0").inc()
            raise ApiError(
                0, "NoAnswer", f"{method} {path}: {type(error).__name__} {error}"
            ) from error
        if status > 299:
            telemetry.API_ERRORS.labels(str(status)).inc()
            raise api_error(status, answer, retry_after)
        return decoded

    async def _send(
        self,
        method: str,
        url: str,
        data: bytes | None,
        headers: Mapping[str, str],
        seconds: float,
        gate: Gate | None,
    ) -> tuple[int, bytes, float]:
        rest = self._api.rest_client
        if rest.pool_manager is None:
            rest.pool_manager = rest._create_pool_manager()  # noqa: SLF001 - it is made on first use, which is ours
        token = bare(await self._api.configuration.get_api_key_with_prefix("BearerToken"))
        authorised = {**headers, "Authorization": f"Bearer {token}"} if token else dict(headers)
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, 5.0))
        payload = data if data is None or gate is None else _Gated(data, gate)
        if gate is not None:
            gate()
        async with rest.pool_manager.request(
            method,
            self._api.configuration.host + url,
            data=payload,
            headers=authorised,
            timeout=timeout,
        ) as response:
            answer = await response.content.read(-1)
            return (
                response.status,
                answer,
                retry_after_seconds(response.headers.get("Retry-After", "")),
            )

    async def _renew_credentials(self, used: ApiClient) -> None:
        """The in-cluster token is read again at most once a minute by the library; a 401 cannot wait for that.

        Of several requests that were refused at once, the first renews for all; the old connections are closed once
        the requests on them have had their time.
        """
        if self._api is not used:
            return
        _LOG.info(
            "reading credentials again: the API server responded with 401, or its certificate is not trusted"
        )
        self._api = ApiClient(await configuration(self._settings))
        closing = asyncio.create_task(self._close_later(used))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _renew_trust(self, used: ApiClient) -> None:
        """Read the certificate authorities again, at most twice a minute: most TLS errors have other causes."""
        now = time.monotonic()
        if now - self._trust_read_at < _TRUST_SECONDS:
            return
        self._trust_read_at = now
        with contextlib.suppress(ConfigException, CredentialsError, OSError):
            await self._renew_credentials(used)
            self.on_new_trust()

    async def _close_later(self, old: ApiClient) -> None:
        try:
            await asyncio.sleep(_LIST_SECONDS)
        finally:
            await old.close()


class _Gated(aiohttp.BytesPayload):
    """A body that asks the gate as it is written: opening a connection may have taken until after the lease's end."""

    def __init__(self, value: bytes, gate: Gate) -> None:
        super().__init__(value)
        self._gate = gate

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Write all of it, or nothing."""
        self._gate()
        await super().write_with_length(writer, content_length)
