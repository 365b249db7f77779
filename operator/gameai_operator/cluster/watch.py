"""EDGE: the watch. The only file that imports kopf, of which nothing but `on.event` is used.

kopf cancels tasks that it did not make and takes SIGTERM for itself, so it lives in a thread with a loop of its own;
events cross in batches. When it ends for any reason but ours it is started again, later each time.
"""

import asyncio
import collections
import contextlib
import logging
import random
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import kopf

from gameai_operator import telemetry
from gameai_operator.cluster.credentials import Credentials
from gameai_operator.controller.manifest import Resource

_LOG = logging.getLogger(__name__)
_FIRST_SECONDS = 1.0
_MOST_SECONDS = 10.0
# An end after this long is a new trouble, not the old one again.
_SETTLED_SECONDS = 60.0
_LOOK_SECONDS = 0.5

Login = Callable[[], Any]
See = Callable[[Resource, Mapping[str, Any]], None]


class Backoffs:
    """Seconds between kopf's own retries, without end: an outage must not end the operator."""

    def __iter__(self) -> Iterator[float]:
        wait = 5.0
        while True:
            yield wait * random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries
            wait = min(wait * 2, 10.0)


class Watch:
    """Watches resources and gives what happened to `see` and `lose`, in the loop that made it."""

    def __init__(
        self,
        login: Login,
        *,
        namespaces: Sequence[str],
        selector: str,
        see: See,
        lose: See,
        relisted: Callable[[], None],
    ) -> None:
        self._login = login
        self._namespaces = tuple(namespaces)
        self._selector = selector
        self._see = see
        self._lose = lose
        self._relisted = relisted
        self._loop = asyncio.get_running_loop()
        self._inbox: collections.deque[tuple[Resource, str | None, Mapping[str, Any]]] = (
            collections.deque()
        )
        self._stop = threading.Event()
        self._planned = False
        self.watching: tuple[Resource, ...] = ()

    async def run(
        self,
        resources: Callable[[], Awaitable[tuple[Resource, ...]]],
        started: Callable[[], None],
    ) -> None:
        """Watch what `resources` returns until cancelled; it is called before every start, and `started` after it."""
        wait = _FIRST_SECONDS
        while True:
            self._stop, self._planned = threading.Event(), False
            began = self._loop.time()
            try:
                self.watching = await resources()
                started()
                reason = await self._watch_once(self.watching)
            finally:
                self._stop.set()
            if self._planned:
                continue
            telemetry.WATCH_RESTARTS.inc()
            wait = _FIRST_SECONDS if self._loop.time() - began > _SETTLED_SECONDS else wait
            _LOG.warning("the watch ended (%s); restarting in %.0f s", reason, wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, _MOST_SECONDS)

    def restart(self) -> None:
        """Restart now, because the set of watched resources has changed."""
        self._planned = True
        self._stop.set()

    async def _watch_once(self, resources: tuple[Resource, ...]) -> str:
        ended: asyncio.Future[str] = self._loop.create_future()
        thread = threading.Thread(
            target=self._body, args=(resources, ended), name="kopf", daemon=True
        )
        thread.start()
        return await ended

    def _body(self, resources: tuple[Resource, ...], ended: asyncio.Future[str]) -> None:
        try:
            with asyncio.Runner(loop_factory=type(self._loop)) as runner:
                reason = runner.run(self._to_its_end(resources))
        except BaseException as error:  # noqa: BLE001 - the supervisor must learn of every end
            reason = f"{type(error).__name__}: {error}"[:300]

        def tell() -> None:
            if not ended.done():
                ended.set_result(reason)

        # At exit the loop may be closed already.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(tell)

    async def _to_its_end(self, resources: tuple[Resource, ...]) -> str:
        """Run kopf until it ends. Returns the reason, if it is not an error of kopf's own.

        If a single watcher ended, its kind would not be watched any more and no error would show it. So kopf is ended too.
        """
        ending = asyncio.Event()
        operator = self._operator(resources, self._stop, ending)
        running = asyncio.create_task(operator)
        own = {running, asyncio.current_task()}
        most, reason = 0, "it returned"
        while not running.done():
            await asyncio.wait((running,), timeout=_LOOK_SECONDS)
            alive = _watchers()
            most = max(most, alive)
            if ending.is_set():
                _cancel(asyncio.all_tasks() - own)
            elif alive < most:
                reason = "a watcher ended"
                self._stop.set()
        # A thread of kopf's waits for the flag, and the loop's closing for that thread.
        self._stop.set()
        await running
        return reason

    def _operator(
        self, resources: tuple[Resource, ...], stop: threading.Event, ending: asyncio.Event
    ) -> Any:
        registry = kopf.OperatorRegistry()
        settings = _settings()
        kopf.on.login(registry=registry)(self._connection)

        async def cleanup(**_: Any) -> None:
            ending.set()

        kopf.on.cleanup(registry=registry)(cleanup)
        for resource in resources:
            where = (resource.group, resource.version, resource.plural)
            if resource.labelled:
                settings.watching.label_selectors[where] = resource.selector or self._selector
            kopf.on.event(*where, registry=registry)(self._handler(resource))
        scope: dict[str, Any] = (
            {"namespaces": self._namespaces} if self._namespaces else {"clusterwide": True}
        )
        # Without an identity kopf asks for the user's name, which a container's user does not have.
        scope["identity"] = "gameai-operator"
        return kopf.operator(
            registry=registry, settings=settings, standalone=True, stop_flag=stop, **scope
        )

    async def _connection(self, **_: Any) -> kopf.ConnectionInfo:
        found: Credentials = await self._login()
        return kopf.ConnectionInfo(
            server=found.server,
            ca_path=found.ca_file,
            certificate_path=found.certificate_file,
            private_key_path=found.key_file,
            token=found.token,
            insecure=not found.verify,
        )

    def _handler(self, resource: Resource) -> Callable[..., Any]:
        async def handler(event: Mapping[str, Any], **_: Any) -> None:
            self._inbox.append((resource, event.get("type"), event["object"]))
            if len(self._inbox) == 1:
                self._loop.call_soon_threadsafe(self._drain)

        return handler

    def _drain(self) -> None:
        while self._inbox:
            resource, kind, document = self._inbox.popleft()
            telemetry.WATCH_EVENTS.labels(resource.kind).inc()
            try:
                (self._lose if kind == "DELETED" else self._see)(resource, document)
                if kind is None:
                    # kopf listed again, after 410 Gone for instance, and a LIST does not report deletions.
                    self._relisted()
            except Exception:  # noqa: BLE001 - one strange object must not stop the rest
                _LOG.exception("processing an event of %s failed; this is a bug", resource.plural)


def _watchers() -> int:
    """How many of kopf's watchers live; their tasks' names are the only sign of them."""
    return sum(each.get_name().startswith("watcher for ") for each in asyncio.all_tasks())


def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks once more.

    kopf does so once and then waits without end, though one that is just closing a stream takes no notice of it.
    """
    for task in tasks:
        task.cancel()


class _NoDiffs(kopf.DiffBaseStorage):
    """kopf computes a diff for every event, though only change handlers read it; we have none, so it is empty.

    Copying each object for it took a quarter of the operator's CPU while tiers came up.
    """

    def build(self, **_: Any) -> Any:
        """Nothing of an object."""
        return {}

    def fetch(self, **_: Any) -> Any:
        """Nothing was kept."""
        return None

    def store(self, **_: Any) -> None:
        """Nothing is kept."""


class _NoProgress(kopf.ProgressStorage):
    """Progress of handlers that retry; `on.event` handlers do not."""

    def fetch(self, **_: Any) -> Any:
        """Nothing was kept."""
        return None

    def store(self, **_: Any) -> None:
        """Nothing is kept."""

    def purge(self, **_: Any) -> None:
        """Nothing to forget."""

    def touch(self, **_: Any) -> None:
        """Nothing to wake."""

    def clear(self, *, essence: Any) -> Any:
        """The same, for there is nothing of ours in it."""
        return essence


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.chunk_size = 100
    settings.watching.server_timeout = 300
    settings.watching.connect_timeout = 5
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = Backoffs()  # any iterable will do, ours has no end
    # Workers that linger would hold memory: 97 instead of 133 MiB at 20,000 objects.
    settings.queueing.idle_timeout = 0.1
    settings.process.ultimate_exiting_timeout = None
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.persistence.progress_storage = _NoProgress()
    return settings
