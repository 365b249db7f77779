"""asyncio: users' objects that roots name, read one at a time in a thread, so that no content stops the event loop.

Only objects that a root names are fetched and kept. Namespaces take turns, and each has a budget.
"""

import asyncio
import logging
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from gameai_operator.controller.errors import ApiError
from gameai_operator.controller.kind import Watched
from gameai_operator.controller.manifest import Key, Resource
from gameai_operator.controller.references import UNREAD, References
from gameai_operator.controller.workqueue import Priority, Workqueue

_LOG = logging.getLogger(__name__)
_RETRY_SECONDS, _MOST_RETRY_SECONDS = 2.0, 60.0
# Roots that name an object wait until it was read once; after so many failures the error is reported to them.
_FAILURES_REPORTED = 3

Fetch = Callable[[Resource, str, str], Awaitable[dict[str, Any] | None]]


class ForeignReads:
    """Takes notes of what exists and what is named, and shows what was read to the roots that name it."""

    def __init__(
        self,
        watched: Mapping[str, Watched],
        *,
        references: References,
        queue: Workqueue,
        fetch: Fetch,
    ) -> None:
        self._watched = watched
        self._references = references
        self._queue = queue
        self._fetch = fetch
        self._due: OrderedDict[str, dict[Key, None]] = OrderedDict()
        self._changed = asyncio.Event()
        self._failures: dict[Key, int] = {}
        self._sizes: dict[str, dict[Key, int]] = defaultdict(dict)
        self._refused: set[Key] = set()

    def exists(self, key: Key) -> None:
        """A user's object is there, in a version that was not read."""
        if self._references.shown(key) is None:
            self._show(key, UNREAD)
        if self._references.is_named(key):
            self._want(key)

    def gone(self, key: Key) -> None:
        """The object is gone, or is not a user's object."""
        self._forget(key)
        self._show(key, None)

    def named(self, keys: Iterable[Key]) -> None:
        """A root names these from now on."""
        for key in keys:
            if self._references.shown(key) is UNREAD:
                self._want(key)

    def unnamed(self, keys: Iterable[Key]) -> None:
        """No root names these any more: what was read of them is not kept."""
        for key in keys:
            if self._reads(key) and self._references.shown(key) is not None:
                self._forget(key)
                self._show(key, UNREAD)

    async def run(self) -> None:
        """Read what is due, until cancelled."""
        while True:
            await self._changed.wait()
            await self.read_due()

    async def read_due(self) -> None:
        """Read everything that is due now."""
        self._changed.clear()
        while (key := self._next()) is not None:
            await self._read(key)

    def _reads(self, key: Key) -> bool:
        row = self._watched.get(key.kind)
        return row is not None and row.reads is not None

    def _want(self, key: Key) -> None:
        self._due.setdefault(key.namespace, {})[key] = None
        self._changed.set()

    def _next(self) -> Key | None:
        """The next one, of the namespace whose turn is longest ago."""
        if not self._due:
            return None
        namespace, keys = self._due.popitem(last=False)
        key = next(iter(keys))
        del keys[key]
        if keys:
            self._due[namespace] = keys
        return key

    async def _read(self, key: Key) -> None:
        row = self._watched[key.kind]
        reads = row.reads
        assert reads is not None  # noqa: S101 - only such kinds are asked for
        try:
            document = await self._fetch(row.resource, key.namespace, key.name)
            seen = None if document is None else await asyncio.to_thread(reads.read, document)
        except ApiError as error:
            self._failed(key, error.explained)
            return
        except Exception as error:  # noqa: BLE001 - one user's object must not end the operator
            _LOG.exception("%s could not be read; this is a bug", key)
            self._failed(key, f"the operator cannot read it: {type(error).__name__}")
            return
        self._failures.pop(key, None)
        if document is None:
            # The event of its deletion is under way.
            return
        if self._references.shown(key) is None or not self._references.is_named(key):
            return
        self._sizes[key.namespace][key] = reads.size_bytes(seen)
        self._refused.discard(key)
        self._keep_budget(key.namespace, reads.budget_bytes, reads.refuse)
        if key not in self._refused:
            self._show(key, seen)

    def _failed(self, key: Key, why: str) -> None:
        number = self._failures[key] = self._failures.get(key, 0) + 1
        if number == _FAILURES_REPORTED:
            _LOG.warning("reading %s failed %d times: %s; retrying", key, number, why)
            reads = self._watched[key.kind].reads
            if reads is not None and self._references.shown(key) is UNREAD:
                self._show(key, reads.unread(why))
        wait = min(_MOST_RETRY_SECONDS, _RETRY_SECONDS * 2 ** min(number - 1, 10))
        asyncio.get_running_loop().call_later(wait, self._again, key)

    def _again(self, key: Key) -> None:
        if self._references.shown(key) is not None and self._references.is_named(key):
            self._want(key)
        else:
            self._failures.pop(key, None)

    def _keep_budget(self, namespace: str, budget_bytes: int, refuse: Callable[[str], Any]) -> None:
        """Refuse what does not fit, by name, so that it is the same after a restart."""
        sizes = self._sizes[namespace]
        left = budget_bytes
        for key in sorted(sizes):
            if sizes[key] <= left:
                left -= sizes[key]
                if key in self._refused:
                    # What was read of it is not kept.
                    self._refused.discard(key)
                    self._want(key)
            else:
                self._refused.add(key)
                held = sum(sizes.values())
                message = (
                    f"those of its namespace take {held >> 10} KiB together; "
                    f"at most {budget_bytes >> 10} KiB are kept"
                )
                self._show(key, refuse(message))

    def _forget(self, key: Key) -> None:
        self._due.get(key.namespace, {}).pop(key, None)
        if not self._due.get(key.namespace, True):
            del self._due[key.namespace]
        self._refused.discard(key)
        sizes = self._sizes.get(key.namespace, {})
        if sizes.pop(key, None) is not None:
            reads = self._watched[key.kind].reads
            if reads is not None:
                self._keep_budget(key.namespace, reads.budget_bytes, reads.refuse)
        if not sizes:
            self._sizes.pop(key.namespace, None)

    def _show(self, key: Key, seen: Any) -> None:
        for each in self._references.show(key, seen):
            self._queue.add(each, Priority.REFERENCE)
