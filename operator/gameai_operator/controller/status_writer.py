"""asyncio: writes the status of roots, and the Events of what changed in it."""

import datetime
from collections.abc import Callable, Mapping
from typing import Any

from gameai_operator.controller import conditions, status_report
from gameai_operator.controller.errors import ApiError
from gameai_operator.controller.event_handler import EventHandler
from gameai_operator.controller.events import Recorder, event
from gameai_operator.controller.kind import Kind
from gameai_operator.controller.manifest import Key, Manifest, key_of
from gameai_operator.controller.outcome import Outcome
from gameai_operator.controller.writer import Cluster

STALE_SECONDS = 0.5
# Pods come and go in bursts; between two reports of mere counts lies at least this long.
COUNTS_SECONDS = 2.0


class StatusWriter:
    """Reports for every root; each write is for one version of it."""

    def __init__(
        self,
        *,
        event_handler: EventHandler,
        cluster: Cluster,
        recorder: Recorder,
        now: Callable[[], datetime.datetime],
        clock: Callable[[], float],
    ) -> None:
        self._event_handler = event_handler
        self._cluster = cluster
        self._recorder = recorder
        self._now = now
        self._clock = clock
        self._reported: dict[Key, float] = {}

    def forget(self, key: Key) -> None:
        """A root is gone."""
        self._reported.pop(key, None)

    async def report(
        self, kind: Kind, root: Mapping[str, Any], status: Manifest, *, at_once: bool = False
    ) -> Outcome:
        """Write what is ours of status, where it differs; mere counts at intervals, unless `at_once`."""
        before = status_report.ours(kind, root)
        if status == before:
            return Outcome()
        metadata = root["metadata"]
        key = key_of(root)
        wait = self._reported.get(key, -COUNTS_SECONDS) + COUNTS_SECONDS - self._clock()
        if wait > 0 and not at_once and status_report.same_state(kind, before, status):
            return Outcome(requeue_after_seconds=wait)
        manifest = {
            "apiVersion": kind.resource.api_version,
            "kind": kind.resource.kind,
            # Without the resourceVersion this could land on a recreated object of the same name.
            "metadata": {
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "status": status,
        }
        try:
            written = await self._cluster.apply_status(kind.resource, manifest)
        except ApiError as error:
            if error.status in (404, 409):
                return await self.look_again(kind, root)
            raise
        self._reported[key] = self._clock()
        self._event_handler.wrote(kind.resource, written)
        reported: set[str] = set()
        for change in conditions.transitions(before["conditions"], status["conditions"]):
            document = event(root, change, self._now())
            # Ready comes first, and Stalled often has the same reason.
            if document is not None and change.reason not in reported:
                reported.add(change.reason)
                self._recorder.offer(document)
        return Outcome()

    async def look_again(self, kind: Kind, root: Mapping[str, Any]) -> Outcome:
        """The root is not what the store says: a watch event is on its way, or was lost."""
        key = key_of(root)
        live = await self._cluster.get(kind.resource, key.namespace, key.name)
        if live is None:
            self._event_handler.on_tombstone(
                kind.resource, key, int(root["metadata"]["resourceVersion"])
            )
            return Outcome(stale=True)
        self._event_handler.on_upsert(kind.resource, live)
        return Outcome(requeue_after_seconds=STALE_SECONDS, stale=True)
