"""asyncio: pods that are deleted by the operator itself: those that block their node for nothing, and those whose node ends."""

import logging
from collections.abc import Mapping
from typing import NamedTuple

from gameai_operator import telemetry
from gameai_operator.controller.kind import Watched
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.pod_facts import Pod
from gameai_operator.controller.references import References
from gameai_operator.controller.writer import Cluster

_LOG = logging.getLogger(__name__)
# A cloud gives two minutes from the notice of an interruption. Some of them are over when a pod is deleted.
INTERRUPTED_GRACE_SECONDS = 105


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
    ) -> None:
        [self._resource] = [each.resource for each in watched.values() if each.are_pods]
        self._cluster = cluster
        self._references = references
        self._hosts = [each.resource.kind for each in watched.values() if each.hosts_pods]
        self._deleted: dict[tuple[str, str], Key] = {}

    async def delete(self, root: Key, pods: tuple[Pod, ...]) -> None:
        """Delete those of a root's pods that swallow SIGTERM as they end, and those on nodes that end. Raises `ApiError`."""
        for pod in pods:
            due = self._due(pod)
            if due is None or (pod.uid, due.reason) in self._deleted:
                continue
            _LOG.info(
                "deleting pod %s with %d s of grace: %s", pod.name, due.grace_seconds, due.reason
            )
            await self._cluster.delete(
                self._resource,
                Key(self._resource.kind, pod.namespace, pod.name),
                preconditions={"uid": pod.uid},
                grace_seconds=due.grace_seconds,
            )
            self._deleted[pod.uid, due.reason] = root
            if due is not _NEVER_READY:
                telemetry.INTERRUPTED_PODS.inc()
        self._forget(root, {pod.uid for pod in pods})

    def _due(self, pod: Pod) -> _Deletion | None:
        if pod.force_delete:
            return _NEVER_READY
        why = self._interruption(pod.node) if pod.placed and not pod.terminating else ""
        if not why:
            return None
        grace = min(pod.grace_seconds, INTERRUPTED_GRACE_SECONDS)
        return _Deletion(f"node {pod.node} ends soon ({why})", grace)

    def _interruption(self, node: str) -> str:
        """By what a node is known to end soon; empty where it is not."""
        found = (self._references.shown(Key(kind, "", node)) for kind in self._hosts)
        return next(filter(None, found), "")

    def _forget(self, root: Key, alive: set[str]) -> None:
        gone = [key for key, of in self._deleted.items() if of == root and key[0] not in alive]
        for key in gone:
            del self._deleted[key]
