"""EDGE: objects of a cluster by LIST and watch.

While the API server does not answer, what was seen last stays.
"""

import asyncio
import logging
import random
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from time import monotonic
from typing import Any

import aiohttp
import orjson

from gameai.cluster.api import ApiError, Server

_LOG = logging.getLogger(__name__)
# A page is decoded in one piece, while the program's other work waits.
_PAGE = 100
_PIECE = 20
_WATCH_SECONDS = 300
# The API server sends a bookmark each minute.
_SILENCE_SECONDS = 130.0
# A server under load may end watches at once.
_SHORT_SECONDS = 1.0
_FIRST_BACKOFF_SECONDS, _MOST_BACKOFF_SECONDS = 0.5, 10.0
_OK, _GONE = 200, 410
_REFUSED = (403, 404)
_NAMESPACE = re.compile(r"/namespaces/([^/]+)/")

Object = Mapping[str, Any]
Key = tuple[str, str]
# The path of our kinds.
OUR_GROUP = "/apis/gameai.dev/v1alpha1"
# Counts an event of a watch, for metrics.
Count = Callable[[str], None]


def places(namespaces: Iterable[str], group: str = OUR_GROUP) -> list[str]:
    """Where the collections of an API group are: in each of some namespaces, or in all where none is named."""
    return [f"{group}/namespaces/{each}" for each in namespaces] or [group]


class Watched:
    """The objects of one collection, each kept as what `project` makes of it; None is not kept.

    Of an object that cannot be read, what was read of it before stays. `changed` is called after each change.
    `refused` says that the collection may not be listed: its namespace is gone, or gives us no rights.
    """

    def __init__(
        self,
        server: Server,
        path: str,
        selector: str,
        project: Callable[[Object], Any],
        changed: Callable[[], None],
    ) -> None:
        self.objects: dict[Key, Any] = {}
        self.synced = False
        self.refused = False
        self.connected = False
        self.heard_at = monotonic()
        self.resource = path.rpartition("/")[2]
        named = _NAMESPACE.search(path)
        self.namespace = named[1] if named else ""
        self._server = server
        self._path = path
        self._query = {"labelSelector": selector} if selector else {}
        self._project = project
        self._changed = changed
        # Where the next watch goes on; empty: everything is listed first.
        self._version = ""
        self._seen: dict[Key, tuple[str, str]] = {}
        self._again = False

    def read_again(self, keys: Iterable[Key]) -> None:
        """Have these read once more, though they have not changed, with the LIST that follows the present watch."""
        for key in keys:
            self._again = self._seen.pop(key, None) is not None or self._again

    async def run(self, count: Count) -> None:
        """Until cancelled: list, then watch. After a failure the watch continues where it ended, if the server allows it."""
        backoff = _FIRST_BACKOFF_SECONDS
        while True:
            began = monotonic()
            try:
                await self._once(count)
            except Exception as error:  # noqa: BLE001 - whatever an API server says must not end the program
                count(f"watch of {self.resource} failed")
                _LOG.warning("%s: %s; what was seen stays", self._path, error or type(error))
                status = error.status if isinstance(error, ApiError) else 0
                if status:
                    self._version = ""
                if status in _REFUSED and not self.refused:
                    self.refused = True
                    self._changed()
            self.connected = False
            if monotonic() - began > _MOST_BACKOFF_SECONDS:
                backoff = _FIRST_BACKOFF_SECONDS
            await asyncio.sleep(backoff * random.uniform(0.8, 1.2))  # noqa: S311 - spreads retries
            backoff = min(_MOST_BACKOFF_SECONDS, 2 * backoff)

    async def _once(self, count: Count) -> None:
        async with self._server.session() as session:
            if not self._version:
                await self._list(session, count)
            await self._follow(session, count)

    async def _list(self, session: aiohttp.ClientSession, count: Count) -> None:
        found: dict[Key, Any] = {}
        seen: dict[Key, tuple[str, str]] = {}
        query = {**self._query, "limit": str(_PAGE)}
        while True:
            page = await self._server.document(session, self._path, query)
            for number, item in enumerate(page["items"]):
                self._put(found, seen, item, count)
                if number % _PIECE == 0:
                    await asyncio.sleep(0)
            metadata = page["metadata"]
            if not metadata.get("continue"):
                break
            query["continue"] = metadata["continue"]
        self.heard_at, self.synced, self.connected = monotonic(), True, True
        self.refused = False
        self.objects, self._seen = found, seen
        self._version = str(metadata["resourceVersion"])
        self._changed()

    async def _follow(self, session: aiohttp.ClientSession, count: Count) -> None:
        """Every event until the watch fails; bookmarks say that the server is there."""
        while True:
            began = monotonic()
            query = {
                **self._query,
                "watch": "true",
                "resourceVersion": self._version,
                "allowWatchBookmarks": "true",
                "timeoutSeconds": str(_WATCH_SECONDS),
            }
            async with self._server.get(
                session, self._path, query, silence_seconds=_SILENCE_SECONDS
            ) as response:
                if response.status != _OK:
                    raise ApiError(f"watch was answered {response.status}", response.status)
                self.heard_at, self.connected = monotonic(), True
                async for event in _events(response):
                    self.heard_at = monotonic()
                    self._take(event, count)
            if monotonic() - began < _SHORT_SECONDS:
                raise ApiError("the watch ended at once")
            if self._again:
                self._again, self._version = False, ""
                return

    def _take(self, event: Object, count: Count) -> None:
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            message = f"watch ended: {item.get('code')} {item.get('reason')}"
            raise ApiError(message, item.get("code") or _GONE)
        key = _key(item)
        before = self.objects.get(key)
        if kind == "DELETED":
            self.objects.pop(key, None)
            self._seen.pop(key, None)
        elif kind != "BOOKMARK":
            self._put(self.objects, self._seen, item, count)
        self._version = str(item["metadata"]["resourceVersion"])
        if self.objects.get(key) is not before:
            self._changed()

    def _put(
        self,
        objects: dict[Key, Any],
        seen: dict[Key, tuple[str, str]],
        item: Object,
        count: Count,
    ) -> None:
        """Keep what an object is; the same version again is not read again, and the same content stays the same object."""
        key, metadata = _key(item), item["metadata"]
        before = self.objects.get(key)
        mark = metadata.get("uid", ""), metadata.get("resourceVersion", "")
        made = before
        if self._seen.get(key) != mark:
            try:
                made = self._project(item)
            except Exception as error:  # noqa: BLE001 - one bad object must not affect all others
                count(f"one of {self.resource} unreadable")
                _LOG.error("%s %s/%s: %r; what was read before stays", self.resource, *key, error)
        seen[key] = mark
        if made is None:
            objects.pop(key, None)
        else:
            objects[key] = before if made == before else made


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[Object]:
    """JSON documents, one a line, however long."""
    parts: list[bytes] = []
    async for data in response.content.iter_any():
        first, *others = data.split(b"\n")
        parts.append(first)
        for other in others:
            line = b"".join(parts)
            parts = [other]
            if line:
                yield orjson.loads(line)


def _key(item: Object) -> Key:
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata.get("name", "")
