"""asyncio: carries a plan out: server-side apply, adoption, deletion, and what to do when they are refused or fail."""

import logging
import secrets  # noqa: TID251 - an edge: values of objects that hold secrets are made here
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gameai_operator.controller import scale, status_report
from gameai_operator.controller.cache import Cache
from gameai_operator.controller.errors import ApiError
from gameai_operator.controller.event_handler import EventHandler
from gameai_operator.controller.field_ownership import rivals
from gameai_operator.controller.kind import RejectedWrite, Watched
from gameai_operator.controller.manifest import (
    FIELD_MANAGER,
    MANIFEST_HASH,
    Key,
    Manifest,
    Owner,
    Resource,
    controller,
    key_of,
)
from gameai_operator.controller.plan import Apply, Child, Count, Creation, Plan, holder

_RANDOM_BYTES = 24
# What an API server says where a namespace is being deleted.
_ENDING = "because it is being terminated"
_LOG = logging.getLogger(__name__)


class Cluster(Protocol):
    """What a reconcile needs of an API server. Every method raises `ApiError`, and writes `NotLeadingError`."""

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """A live object; None if absent."""

    async def apply(
        self,
        resource: Resource,
        manifest: Manifest,
        *,
        force: bool,
        manager: str = FIELD_MANAGER,
    ) -> dict[str, Any]:
        """Server-side apply; the object as it is now."""

    async def create(self, resource: Resource, manifest: Manifest) -> bool:
        """Create an object; False where one of its name exists."""

    async def replace_spec(
        self, resource: Resource, manifest: Manifest, version: str
    ) -> dict[str, Any]:
        """Merge patch of `spec` alone, if the object still has this resourceVersion."""

    async def apply_status(self, resource: Resource, manifest: Manifest) -> dict[str, Any]:
        """Server-side apply of the status subresource; 409 where the resourceVersion is not the present one."""

    async def delete(
        self,
        resource: Resource,
        key: Key,
        *,
        preconditions: Mapping[str, str],
        grace_seconds: int | None = None,
    ) -> None:
        """Delete if the preconditions hold; an absent object is not an error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What did not go through: `rejections` last until somebody acts, `failures` may succeed later.

    `steps` did. `retry_after_seconds` is how long the API server asked us to wait, at least.
    """

    steps: tuple[Apply | Count | Child, ...] = ()
    rejections: tuple[RejectedWrite, ...] = ()
    failures: tuple[RejectedWrite, ...] = ()
    retry_after_seconds: float = 0.0


class Writer:
    """Writes the children of roots."""

    def __init__(
        self,
        watched: Mapping[str, Watched],
        *,
        store: Cache,
        event_handler: EventHandler,
        cluster: Cluster,
    ) -> None:
        self._watched = watched
        self._store = store
        self._event_handler = event_handler
        self._cluster = cluster

    async def act(
        self,
        owner: Owner,
        steps: Plan,
        root: Key,
        fill: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> Written:
        """Try every write of a plan, whatever becomes of the others; raises only `NotLeadingError`.

        `fill` writes what is missing of the root itself. Numbers of replicas go first, and a template waits for a
        number that only it held until now. Nothing that starts pods is created while something that guards them is not there.
        """
        attempts = _Attempts()
        attempts.rejections += [_conflict(each.key, each.holder) for each in steps.conflicts]
        attempts.missed |= {each.key for each in steps.conflicts}
        for creation in steps.creations:
            await attempts.make(creation.key, self._create(creation))
        for count in steps.counts:
            await attempts.make(count, self._set_number(count))
        waiting = {each.key for each in steps.counts if each.first} & attempts.missed
        attempts.guards = {
            each.key for each in steps.waits if self._watched[each.key.kind].apply_barrier
        }
        for step in steps.applies:
            if step.key not in waiting and not self._guarded(step, attempts):
                await attempts.make(step, self._apply(owner, step))
        for child in steps.deletes:
            await attempts.make(child, self._delete(owner, child))
        if fill is not None:
            await attempts.make(root, self._filled_in(root, fill))
        return attempts.written()

    def _guarded(self, step: Apply, attempts: "_Attempts") -> bool:
        """Whether pods would start without limits that could not be written."""
        missing = {*attempts.guards, *attempts.missed}
        absent = step.version is None and self._watched[step.key.kind].starts_pods
        return absent and any(self._is_guard(key) for key in missing)

    def _is_guard(self, key: Key) -> bool:
        """Whether pods wait for it: a limit, or an object that is not watched, for it is created once."""
        watched = self._watched.get(key.kind)
        return watched is None or watched.apply_barrier

    async def _create(self, step: Creation) -> RejectedWrite | None:
        manifest = step.render(lambda: secrets.token_hex(_RANDOM_BYTES))
        try:
            if await self._cluster.create(step.resource, manifest):
                _LOG.info("created %s", step.key)
        except ApiError as error:
            if error.permanent or error.status == 403:
                return _refused(step.key, error)
            raise
        return None

    async def _filled_in(
        self, root: Key, fill: Callable[[], Coroutine[Any, Any, None]]
    ) -> RejectedWrite | None:
        """Have the root's own missing field filled in."""
        try:
            await fill()
        except ApiError as error:
            if error.permanent or error.status == 403:
                return _refused(root, error)
            raise
        return None

    async def rivals(self, step: Apply | Count) -> tuple[str, ...]:
        """Field managers that hold what we would write; our own name stands for another operator. Raises `ApiError`."""
        key = step.key
        live = await self._cluster.get(self._watched[key.kind].resource, key.namespace, key.name)
        if live is None:
            return ()
        own = scale.FIELD_MANAGER if isinstance(step, Count) else FIELD_MANAGER
        found = rivals(step.manifest, live["metadata"].get("managedFields", ()), own)
        return found or (f"another operator with the name {own}",)

    async def _set_number(self, step: Count) -> RejectedWrite | None:
        resource = self._watched[step.key.kind].resource
        _LOG.info("scaling %s: %s", step.key, step.why)
        try:
            written = await self._cluster.apply(
                resource, step.manifest, force=True, manager=scale.FIELD_MANAGER
            )
        except ApiError as error:
            if not (error.permanent or error.status in (403, 404)):
                raise
            gone = not await self._see_live(resource, step.key)
            return None if gone else _refused(step.key, error)
        self._event_handler.wrote(resource, written)
        return None

    async def _apply(self, owner: Owner, step: Apply) -> RejectedWrite | None:
        watched = self._watched[step.key.kind]
        _LOG.info("applying %s: %s", step.key, step.why)
        if watched.get_before_apply and not step.force:
            return await self._adopt(owner, watched.resource, step.manifest)
        try:
            manifest = _pinned(step) if watched.optimistic_lock else step.manifest
            written = await self._cluster.apply(watched.resource, manifest, force=step.force)
        except ApiError as error:
            if watched.optimistic_lock and error.status == 409:
                await self._see_live(watched.resource, step.key)
            return await self._after_error(owner, step, error)
        self._event_handler.wrote(watched.resource, written)
        return None

    async def _see_live(self, resource: Resource, key: Key) -> bool:
        """Take in what is there now; False where the object is gone."""
        live = await self._cluster.get(resource, key.namespace, key.name)
        entry = self._store.get(key)
        if live is not None:
            self._event_handler.on_upsert(resource, live)
        elif entry is not None:
            self._event_handler.on_tombstone(resource, key, entry.version)
        return live is not None

    async def _after_error(
        self, owner: Owner, step: Apply, error: ApiError
    ) -> RejectedWrite | None:
        resource = self._watched[step.key.kind].resource
        if error.status == 403:
            return _refused(step.key, error)
        if error.status != 409 and not error.permanent:
            raise error
        if not step.force:
            return await self._adopt(owner, resource, step.manifest, error)
        if error.status == 409:
            raise error
        return await self._replace(resource, step.manifest, error)

    async def _adopt(
        self,
        owner: Owner,
        resource: Resource,
        manifest: Manifest,
        error: ApiError | None = None,
    ) -> RejectedWrite | None:
        """Apply what we had not in store, taking a present object only if it is our own."""
        key = key_of(manifest)
        live = await self._cluster.get(resource, key.namespace, key.name)
        if live is not None and not _takes(owner, manifest, live["metadata"]):
            return _conflict(key, holder(controller(live["metadata"])))
        if live is None and error is not None and error.permanent:
            return _refused(key, error)
        try:
            written = await self._cluster.apply(resource, manifest, force=live is not None)
        except ApiError as again:
            if again.permanent and live is not None:
                return await self._replace(resource, manifest, again)
            if again.permanent or again.status == 403:
                return _refused(key, again)
            raise
        self._event_handler.wrote(resource, written)
        return None

    async def _replace(
        self, resource: Resource, manifest: Manifest, error: ApiError
    ) -> RejectedWrite | None:
        """An edited key of a list item makes every apply a duplicate; one merge patch clears the way."""
        key = key_of(manifest)
        live = await self._cluster.get(resource, key.namespace, key.name)
        if live is None or "spec" not in manifest:
            return _refused(key, error)
        try:
            await self._cluster.replace_spec(
                resource, manifest, live["metadata"]["resourceVersion"]
            )
            written = await self._cluster.apply(resource, manifest, force=True)
        except ApiError as again:
            if again.permanent or again.status == 403:
                return _refused(key, again)
            raise
        self._event_handler.wrote(resource, written)
        return None

    async def _delete(self, owner: Owner, child: Child) -> RejectedWrite | None:
        """Prune; what the store says is checked against the live object, and the server checks it again."""
        resource = self._watched[child.key.kind].resource
        live = await self._cluster.get(resource, child.key.namespace, child.key.name)
        if live is None or not owner.owns(controller(live["metadata"])):
            return None
        metadata = live["metadata"]
        _LOG.info("deleting %s: not desired any more", child.key)
        at = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        try:
            await self._cluster.delete(resource, child.key, preconditions=at)
        except ApiError as error:
            if error.permanent or error.status == 403:
                return _refused(child.key, error)
            raise
        return None


class _Attempts:
    """Gathers what went through and what did not."""

    def __init__(self) -> None:
        self._steps: list[Apply | Count | Child] = []
        self.missed: set[Key] = set()
        self.guards: set[Key] = set()
        self.rejections: list[RejectedWrite] = []
        self.failures: list[RejectedWrite] = []
        self._retry_after_seconds = 0.0

    async def make(
        self, step: Apply | Count | Child | Key, write: Awaitable[RejectedWrite | None]
    ) -> None:
        """Await one write; keep its refusal or failure."""
        key = step if isinstance(step, Key) else step.key
        try:
            refusal = await write
        except ApiError as error:
            self.missed.add(key)
            _LOG.warning("retrying: %s: %s", key, error)
            self.failures.append(_failed(key, error))
            self._retry_after_seconds = max(self._retry_after_seconds, error.retry_after_seconds)
        else:
            if refusal is None and not isinstance(step, Key):
                self._steps.append(step)
            elif refusal is not None:
                self.missed.add(key)
                self.rejections.append(refusal)

    def written(self) -> Written:
        """All of it."""
        return Written(
            steps=tuple(self._steps),
            rejections=tuple(self.rejections),
            failures=tuple(self.failures),
            retry_after_seconds=self._retry_after_seconds,
        )


def _pinned(step: Apply) -> Manifest:
    """The manifest for the version that the decision saw: a lost answer, or a rival, may have made another."""
    if step.version is None:
        return step.manifest
    metadata = {**step.manifest["metadata"], "resourceVersion": str(step.version)}
    return {**step.manifest, "metadata": metadata}


def _takes(owner: Owner, manifest: Manifest, metadata: Mapping[str, Any]) -> bool:
    """Whether a present object is ours: by its owner, or, restored from a backup without one, by labels and hash."""
    holds = controller(metadata)
    if holds is not None:
        return owner.owns(holds)
    labels = manifest["metadata"].get("labels", {})
    marked = MANIFEST_HASH in metadata.get("annotations", {})
    return marked and labels.items() <= metadata.get("labels", {}).items()


def _conflict(key: Key, owner: str) -> RejectedWrite:
    message = f"{key.kind} {key.name} exists already and belongs to {owner}: delete or rename one of the two"
    return RejectedWrite(key=key, reason=status_report.NAME_CONFLICT, message=message)


def _failed(key: Key, error: ApiError) -> RejectedWrite:
    return RejectedWrite(
        key=key,
        reason=status_report.APPLY_FAILING,
        message=f"{key.kind} {key.name}: {error.explained}",
    )


def _refused(key: Key, error: ApiError) -> RejectedWrite:
    reason = status_report.FORBIDDEN if error.status == 403 else status_report.OBJECT_REFUSED
    if error.status == 403 and _ENDING in error.message:
        message = f"namespace {key.namespace} is being deleted: no objects can be created in it"
        return RejectedWrite(key=key, reason=status_report.NAMESPACE_TERMINATING, message=message)
    return RejectedWrite(key=key, reason=reason, message=f"{key.kind} {key.name}: {error.message}")
