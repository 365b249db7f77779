"""asyncio: carries a plan out: server-side apply, adoption, deletion, and what to do when they are refused."""

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from gameai_operator.engine import report
from gameai_operator.engine.errors import ApiError
from gameai_operator.engine.intake import Intake
from gameai_operator.engine.kind import Refusal, Watched
from gameai_operator.engine.manifest import Key, Manifest, Owner, Resource, controller, key_of
from gameai_operator.engine.plan import Apply, Child, Plan, holder
from gameai_operator.engine.store import Store

_LOG = logging.getLogger(__name__)


class Cluster(Protocol):
    """What a reconcile needs of an API server. Every method raises `ApiError`, and writes `NotLeadingError`."""

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """A live object; None where there is none."""

    async def apply(self, resource: Resource, manifest: Manifest, *, force: bool) -> dict[str, Any]:
        """Server-side apply; the object as it is now."""

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
        """Delete if the preconditions hold; an absent object is no error."""


class Writer:
    """Writes the children of roots."""

    def __init__(
        self, watched: Mapping[str, Watched], *, store: Store, intake: Intake, cluster: Cluster
    ) -> None:
        self._watched = watched
        self._store = store
        self._intake = intake
        self._cluster = cluster

    async def act(self, owner: Owner, steps: Plan) -> tuple[Refusal, ...]:
        """Apply and delete as planned; what was refused for good. Raises `ApiError` for what may pass."""
        refusals = [_conflict(each.key, each.holder) for each in steps.conflicts]
        for step in steps.applies:
            if any(self._watched[each.key.kind].guards for each in refusals):
                break
            refusal = await self._apply(owner, step)
            refusals += [refusal] if refusal else []
        for child in steps.deletes:
            await self._delete(owner, child)
        return tuple(refusals)

    async def _apply(self, owner: Owner, step: Apply) -> Refusal | None:
        key = key_of(step.manifest)
        watched = self._watched[key.kind]
        _LOG.info("applying %s: %s", key, step.why)
        if watched.look_first and not step.force:
            return await self._adopt(owner, watched.resource, step.manifest)
        try:
            manifest = self._pinned(step.manifest) if watched.exact else step.manifest
            written = await self._cluster.apply(watched.resource, manifest, force=step.force)
        except ApiError as error:
            if watched.exact and error.status == 409:
                await self._see_live(watched.resource, key)
            return await self._after_error(owner, step, error)
        self._intake.wrote(watched.resource, written)
        return None

    def _pinned(self, manifest: Manifest) -> Manifest:
        """The manifest for the version that it was derived from: a lost answer may have made another."""
        entry = self._store.get(key_of(manifest))
        if entry is None:
            return manifest
        metadata = {**manifest["metadata"], "resourceVersion": str(entry.version)}
        return {**manifest, "metadata": metadata}

    async def _see_live(self, resource: Resource, key: Key) -> None:
        live = await self._cluster.get(resource, key.namespace, key.name)
        if live is not None:
            self._intake.see(resource, live)

    async def _after_error(self, owner: Owner, step: Apply, error: ApiError) -> Refusal | None:
        key = key_of(step.manifest)
        resource = self._watched[key.kind].resource
        if error.status == 403:
            return _refused(key, error)
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
    ) -> Refusal | None:
        """Apply what we had not in store, taking a present object only if it is our own."""
        key = key_of(manifest)
        live = await self._cluster.get(resource, key.namespace, key.name)
        if live is not None and not owner.owns(controller(live["metadata"])):
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
        self._intake.wrote(resource, written)
        return None

    async def _replace(
        self, resource: Resource, manifest: Manifest, error: ApiError
    ) -> Refusal | None:
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
        self._intake.wrote(resource, written)
        return None

    async def _delete(self, owner: Owner, child: Child) -> None:
        """Prune; what the store says is checked against the live object, and the server checks it again."""
        resource = self._watched[child.key.kind].resource
        live = await self._cluster.get(resource, child.key.namespace, child.key.name)
        if live is None or not owner.owns(controller(live["metadata"])):
            return
        metadata = live["metadata"]
        _LOG.info("deleting %s: no longer wanted", child.key)
        await self._cluster.delete(
            resource,
            child.key,
            preconditions={"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
        )


def _conflict(key: Key, owner: str) -> Refusal:
    message = f"{key.kind} {key.name} exists already and belongs to {owner}: delete or rename one of the two"
    return Refusal(key=key, reason=report.NAME_CONFLICT, message=message)


def _refused(key: Key, error: ApiError) -> Refusal:
    reason = report.FORBIDDEN if error.status == 403 else report.OBJECT_REFUSED
    return Refusal(key=key, reason=reason, message=f"{key.kind} {key.name}: {error.message}")
