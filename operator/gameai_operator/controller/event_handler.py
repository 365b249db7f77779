"""From raw objects to the cache and the queue. Every observed object (watch, list, own write) enters here."""

import hashlib
import json
import marshal
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gameai_contract.names import MANAGED_BY

from gameai_operator import telemetry
from gameai_operator.api.base import GROUP
from gameai_operator.controller.cache import Cache, Entry, Foreign, Root
from gameai_operator.controller.field_ownership import applied_fields
from gameai_operator.controller.foreign_reads import ForeignReads
from gameai_operator.controller.kind import Kind, Watched
from gameai_operator.controller.manifest import MANIFEST_HASH, Key, Resource, controller
from gameai_operator.controller.object_metrics import ObjectMetrics
from gameai_operator.controller.plan import Child
from gameai_operator.controller.references import References
from gameai_operator.controller.workqueue import Priority, Workqueue

# Children change in bursts (a Deployment's status, then each pod); waiting this long makes one reconcile of a burst.
SETTLE_SECONDS = 0.5
# What was perhaps edited or deleted waits for less.
REPAIR_SECONDS = 0.05


class EventHandler:
    """Keeps what it is given and enqueues the roots that are touched."""

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        watched: Mapping[str, Watched],
        *,
        store: Cache,
        references: References,
        readings: ForeignReads,
        queue: Workqueue,
        metrics: ObjectMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._kinds = kinds
        self._watched = watched
        self._labels = {kind.label: name for name, kind in kinds.items()}
        self._store = store
        self._references = references
        self._readings = readings
        self._queue = queue
        self._metrics = metrics
        self._clock = clock

    def on_upsert(self, resource: Resource, document: Mapping[str, Any]) -> None:
        """An object exists, in this version."""
        entry = self._entry(resource, document)
        if entry is not None:
            touched = self._store.put(entry, self._clock())
            self._show(resource, touched, document)
            self._enqueue(resource, touched, after=self._patience(entry.key))
            telemetry.OBJECTS.set(len(self._store))

    def on_delete(self, resource: Resource, document: Mapping[str, Any]) -> None:
        """An object was deleted; its resourceVersion is the deletion's."""
        metadata = document["metadata"]
        key = identity(resource, metadata)
        self._drop(resource, key, metadata["uid"], int(metadata["resourceVersion"]))

    def on_tombstone(self, resource: Resource, key: Key, version: int) -> None:
        """A list of this version no longer has a kept object: its deletion was missed."""
        entry = self._store.get(key)
        if entry is not None and entry.version <= version:
            self._drop(resource, key, entry.uid, version)

    def wake(self, keys: Iterable[Key]) -> None:
        """Have objects looked at again for what happened to others."""
        for key in keys:
            self._queue.add(key, Priority.REFERENCE)

    def _drop(self, resource: Resource, key: Key, uid: str, version: int) -> None:
        touched = self._store.drop(key, uid, version, self._clock())
        self._show(resource, touched, None)
        self._enqueue(resource, touched, after=REPAIR_SECONDS)
        telemetry.OBJECTS.set(len(self._store))

    def _show(
        self, resource: Resource, touched: tuple[Key, ...], document: Mapping[str, Any] | None
    ) -> None:
        """What others see of a root, a context object or a user's object has perhaps changed; None: it is gone."""
        for key in touched:
            if resource.root:
                kind = self._kinds[resource.kind]
                self._metrics.see(key, document)
                self._point(key, () if document is None else kind.refers(document))
                self._tell(key, kind.project, document)
            elif resource.context:
                self._tell(key, self._watched[resource.kind].project, document)
            elif key.kind == resource.kind:
                # An object that became our child is not a user's object any more.
                if document is not None and self._foreign(resource, document["metadata"]):
                    self._readings.exists(key)
                else:
                    self._readings.gone(key)

    def _point(self, key: Key, targets: Iterable[Key]) -> None:
        added, dropped = self._references.point(key, targets)
        self._readings.named(added)
        self._readings.unnamed(dropped)

    def _tell(
        self,
        key: Key,
        project: Callable[[Mapping[str, Any]], Any],
        document: Mapping[str, Any] | None,
    ) -> None:
        before = self._references.shown(key)
        projection = None if document is None else project(document)
        self.wake(self._references.show(key, projection))
        watched = self._watched.get(key.kind)
        if watched is not None and watched.hosts_pods and projection != before:
            # Within two minutes all of it is over.
            for root in self._store.roots_on(key.name):
                self._queue.add(root, Priority.USER)

    def _foreign(self, resource: Resource, metadata: Mapping[str, Any]) -> bool:
        """Whether it is a user's own object, of a kind of which some are named by roots.

        An owner does not make it ours: a user may want it to go with its world. Ours is what carries our mark.
        """
        if self._watched[resource.kind].reads is None:
            return False
        marked = MANAGED_BY.items() <= metadata.get("labels", {}).items()
        marked = marked or MANIFEST_HASH in metadata.get("annotations", {})
        return not marked or self._root(metadata) is None

    def wrote(self, resource: Resource, document: Mapping[str, Any]) -> None:
        """The API server's answer to our own write; it needs no reconcile of its own."""
        entry = self._entry(resource, document)
        if entry is None:
            return
        touched = self._store.put(entry, self._clock())
        self._show(resource, touched, document)
        if isinstance(entry.value, Child):
            self._store.keep_judgement(entry.value)

    def _entry(self, resource: Resource, document: Mapping[str, Any]) -> Entry | None:
        metadata = document["metadata"]
        key = identity(resource, metadata)
        uid, version = metadata["uid"], int(metadata["resourceVersion"])
        if resource.context:
            return Entry(key=key, uid=uid, version=version, root=key, value=Foreign())
        if resource.root:
            text = json.dumps(_lean(resource, document), separators=(",", ":"))
            return Entry(key=key, uid=uid, version=version, root=key, value=Root(text.encode()))
        if self._foreign(resource, metadata):
            return Entry(key=key, uid=uid, version=version, root=key, value=Foreign())
        root = self._root(metadata)
        if root is None:
            return None
        watched = self._watched[resource.kind]
        if watched.are_pods:
            pod = self._kinds[root.kind].read_pod(document)
            return Entry(key=key, uid=uid, version=version, root=root, value=pod)
        facts = watched.project(document)
        fields = applied_fields(metadata)
        manifest_hash = metadata.get("annotations", {}).get(MANIFEST_HASH, "")
        child = Child(
            key=key,
            uid=uid,
            version=version,
            owner=controller(metadata),
            terminating="deletionTimestamp" in metadata,
            manifest_hash=manifest_hash,
            fields=fields,
            facts=facts,
        )
        mark = _mark(manifest_hash, fields)
        return Entry(key=key, uid=uid, version=version, root=root, value=child, mark=mark)

    def _root(self, metadata: Mapping[str, Any]) -> Key | None:
        """By controller owner; by label for pods, whose owner is a ReplicaSet, and where somebody removed the owner reference."""
        owner = controller(metadata)
        if owner is not None and owner.kind in self._kinds:
            return Key(owner.kind, metadata["namespace"], owner.name)
        labels = metadata.get("labels", {})
        for label, kind in self._labels.items():
            if label in labels:
                return Key(kind, metadata["namespace"], labels[label])
        return None

    def _patience(self, key: Key) -> float:
        """How long a change may wait: a child that must be checked again may have been edited."""
        entry = self._store.get(key)
        judged = entry is None or not isinstance(entry.value, Child) or entry.value.intact
        return SETTLE_SECONDS if judged else REPAIR_SECONDS

    def _enqueue(self, resource: Resource, roots: tuple[Key, ...], *, after: float) -> None:
        priority = Priority.USER if resource.root else Priority.CHILD
        for root in roots:
            # An object that is neither a root nor belongs to one only notifies its readers.
            if root.kind in self._kinds:
                self._queue.add(root, priority, after=0.0 if resource.root else after)


def identity(resource: Resource, metadata: Mapping[str, Any]) -> Key:
    """The key of an object; a cluster-scoped one has no namespace."""
    return Key(resource.kind, metadata.get("namespace", ""), metadata["name"])


def _mark(manifest_hash: str, fields: Any) -> str:
    """A digest of our managedFields entry; marshal is the cheapest way to read all of it."""
    # Version 2 has no references between equal parts, which would make equal entries differ.
    text = marshal.dumps((manifest_hash, fields), 2)
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def _lean(resource: Resource, document: Mapping[str, Any]) -> dict[str, Any]:
    """A root without what no decision uses; items of a LIST do not say their kind."""
    metadata = {
        key: value
        for key, value in document["metadata"].items()
        if key not in ("managedFields", "selfLink")
    }
    annotations = {
        name: text
        for name, text in metadata.get("annotations", {}).items()
        if name.startswith(GROUP)
    }
    return {
        **document,
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {**metadata, "annotations": annotations},
    }
