"""asyncio: pods that would hold their node for nothing are ended at once."""

import logging
from collections.abc import Mapping

from gameai_operator.controller.kind import Watched
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.pod_facts import Pod
from gameai_operator.controller.writer import Cluster

_LOG = logging.getLogger(__name__)


class ForceDelete:
    """Ends pods whose loading process swallows SIGTERM, once each."""

    def __init__(self, watched: Mapping[str, Watched], cluster: Cluster) -> None:
        [self._resource] = [each.resource for each in watched.values() if each.are_pods]
        self._cluster = cluster
        self._ended: dict[str, Key] = {}

    async def end(self, root: Key, pods: tuple[Pod, ...]) -> None:
        """End those of a root's pods that are to go and never were ready. Raises `ApiError`."""
        for pod in pods:
            if not pod.force_delete or pod.uid in self._ended:
                continue
            _LOG.info(
                "pod %s was never ready and would block its node: deleting it without grace period",
                pod.name,
            )
            await self._cluster.delete(
                self._resource,
                Key(self._resource.kind, pod.namespace, pod.name),
                preconditions={"uid": pod.uid},
                grace_seconds=1,
            )
            self._ended[pod.uid] = root
        self._forget(root, {pod.uid for pod in pods})

    def _forget(self, root: Key, alive: set[str]) -> None:
        gone = [uid for uid, of in self._ended.items() if of == root and uid not in alive]
        for uid in gone:
            del self._ended[uid]
