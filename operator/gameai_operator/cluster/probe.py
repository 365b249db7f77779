"""EDGE: a cheap check, a few times a minute, for changes that neither the watch nor the periodic comparison reports in time.

A watch that had to list again reports what is there, and never what is gone; after a restore of etcd from a backup,
resourceVersions start again from a lower number, and a watch waits for the old ones. One object of each kind is enough
to notice both: an empty answer where objects are known, or a lower version than one that was seen.
"""

import itertools
from collections.abc import Sequence

from gameai_operator.cluster.client import Client
from gameai_operator.controller.cache import Cache
from gameai_operator.controller.errors import ApiError
from gameai_operator.controller.manifest import Resource

# Requests of one look; where more namespaces are listed one by one, they take turns.
_MOST_REQUESTS = 24


class Probe:
    """Looks at one object of each kind."""

    def __init__(
        self, client: Client, store: Cache, *, namespaces: Sequence[str], selector: str
    ) -> None:
        self._client = client
        self._store = store
        self._namespaces: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._selector = selector
        self._round = 0

    async def missed(self, resources: Sequence[Resource]) -> str:
        """Why everything should be compared now; "" where nothing speaks for it. An unreachable server says nothing."""
        for resource, namespace in self._turn(resources):
            within = (namespace,) if namespace else ()
            known, highest = self._store.newest(resource.kind, within), self._store.highest()
            if known is None:
                continue
            try:
                version, empty = await self._look(resource, namespace)
            except ApiError:
                continue
            if version < highest:
                return f"{resource.plural} are at version {version}, though {highest} was seen"
            if empty and self._store.newest(resource.kind, within) == known:
                return f"{resource.plural} are not served any more"
        return ""

    def _turn(self, resources: Sequence[Resource]) -> list[tuple[Resource, str | None]]:
        scopes = [
            (each, namespace)
            for each in resources
            for namespace in ((None,) if each.context else self._namespaces)
        ]
        start = self._round % max(1, len(scopes))
        self._round += _MOST_REQUESTS
        return list(
            itertools.islice(
                itertools.cycle(scopes), start, start + min(_MOST_REQUESTS, len(scopes))
            )
        )

    async def _look(self, resource: Resource, namespace: str | None) -> tuple[int, bool]:
        selector = (resource.selector or self._selector) if resource.labelled else ""
        pages = self._client.pages(
            resource.path(namespace), selector=selector, metadata_only=True, limit=1
        )
        async for page in pages:
            return int(page["metadata"]["resourceVersion"]), not page["items"]
        return 0, True
