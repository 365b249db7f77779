"""asyncio: pods that are deleted by the operator itself: those that block their node for nothing, and those whose node ends."""

import datetime
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from gameai_operator import telemetry
from gameai_operator.controller.cache import Cache
from gameai_operator.controller.conditions import Transition
from gameai_operator.controller.errors import ApiError
from gameai_operator.controller.events import INTERRUPTED, Recorder, event
from gameai_operator.controller.kind import Watched
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.pod_facts import Pod
from gameai_operator.controller.references import References
from gameai_operator.controller.writer import Cluster

_LOG = logging.getLogger(__name__)
# A cloud gives two minutes from the notice of an interruption. Some of them are over when a pod is deleted.
INTERRUPTED_GRACE_SECONDS = 105
# So long after the notice pods are deleted.
_INTERRUPTED_SECONDS = 120.0


class _Deletion(NamedTuple):
    """Why a pod is deleted, and its grace period."""

    reason: str
    grace_seconds: int


_NEVER_READY = _Deletion("it was never ready and would block its node", 1)


class PodDeletion:
    """Deletes pods, once for each reason. Disruption budgets do not hold these deletions up."""

    def __init__(
        self,
        watched: Mapping[str, Watched],
        cluster: Cluster,
        references: References,
        store: Cache,
        recorder: Recorder,
        now: Callable[[], datetime.datetime],
        clock: Callable[[], float],
    ) -> None:
        [self._resource] = [each.resource for each in watched.values() if each.are_pods]
        self._cluster = cluster
        self._references = references
        self._store = store
        self._recorder = recorder
        self._now = now
        self._clock = clock
        # When a node was first known to end; of nodes without pods of ours nothing is kept.
        self._since: dict[str, float] = {}
        self._hosts = [each.resource.kind for each in watched.values() if each.hosts_pods]
        self._deleted: dict[tuple[str, str], Key] = {}

    async def delete(self, root: Key, pods: tuple[Pod, ...]) -> ApiError | None:
        """Delete those of a root's pods that swallow SIGTERM as they end, and those on nodes that end.

        One that cannot be deleted holds up no other. Returns the first failure.
        """
        failure: ApiError | None = None
        interrupted: Counter[str] = Counter()
        try:
            for pod in pods:
                due = self._due(pod)
                if due is None or (pod.uid, due.reason) in self._deleted:
                    continue
                try:
                    await self._delete(root, pod, due, interrupted)
                except ApiError as error:
                    failure = failure or error
        finally:
            # Also where this process leads no longer: the pods are deleted.
            if interrupted:
                self._say(root, interrupted)
        self._forget(root, {pod.uid for pod in pods})
        return failure

    def _say(self, key: Key, interrupted: Mapping[str, int]) -> None:
        """An Event for each node; none for a root that is gone."""
        root = self._store.root(key)
        if root is None:
            return
        for reason, count in interrupted.items():
            transition = Transition(
                type=INTERRUPTED,
                before=None,
                word="True",
                reason=INTERRUPTED,
                message=f"{reason}: {count} {'pod' if count == 1 else 'pods'} deleted",
            )
            if document := event(root, transition, self._now()):
                self._recorder.offer(document)

    async def _delete(self, root: Key, pod: Pod, due: _Deletion, interrupted: Counter[str]) -> None:
        """Delete a pod, and count it where that is for the end of its node. Raises `ApiError`."""
        _LOG.info("deleting pod %s with %d s of grace: %s", pod.name, due.grace_seconds, due.reason)
        await self._cluster.delete(
            self._resource,
            Key(self._resource.kind, pod.namespace, pod.name),
            preconditions={"uid": pod.uid},
            grace_seconds=due.grace_seconds,
        )
        self._deleted[pod.uid, due.reason] = root
        if due is not _NEVER_READY:
            interrupted[due.reason] += 1
            telemetry.INTERRUPTED_PODS.inc()

    def _due(self, pod: Pod) -> _Deletion | None:
        if pod.force_delete:
            return _NEVER_READY
        why = self._interruption(pod.node) if pod.placed and not pod.terminating else ""
        # A node that is still there later keeps its pods: those that tolerate the taint would come back again and again.
        if not why or self._clock() - self._since[pod.node] > _INTERRUPTED_SECONDS:
            return None
        grace = min(pod.grace_seconds, INTERRUPTED_GRACE_SECONDS)
        return _Deletion(f"node {pod.node} ends soon ({why})", grace)

    def _interruption(self, node: str) -> str:
        """By what a node is known to end soon; empty where it is not."""
        found = (self._references.shown(Key(kind, "", node)) for kind in self._hosts)
        why: str = next(filter(None, found), "")
        if not why:
            self._since.pop(node, None)
        else:
            self._since.setdefault(node, self._clock())
        return why

    def _forget(self, root: Key, alive: set[str]) -> None:
        gone = [key for key, of in self._deleted.items() if of == root and key[0] not in alive]
        for key in gone:
            del self._deleted[key]
