"""EDGE: what a watch cannot report: which kinds are served, which objects existed before, and which events were missed."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from gameai_operator import telemetry
from gameai_operator.api import crd
from gameai_operator.api.base import GROUP
from gameai_operator.cluster.client import Client
from gameai_operator.controller.cache import Cache
from gameai_operator.controller.errors import ApiError
from gameai_operator.controller.event_handler import EventHandler, identity
from gameai_operator.controller.kind import Absence
from gameai_operator.controller.manifest import Key, Resource

_LOG = logging.getLogger(__name__)
_CRDS = Resource(
    group="apiextensions.k8s.io",
    version="v1",
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
)
_JITTER = 0.2
_MOST_SECONDS = 10.0
# More objects than this are read by one LIST instead of one by one.
_MOST_GETS = 50
T = TypeVar("T")


class Discovery:
    """Which watched kinds the API server serves now, and what is wrong with our CRDs.

    Kinds of other projects are `optional`: each has a function that accepts its CustomResourceDefinition or not. Those that
    are not used are `absent`, which is no fault.
    """

    def __init__(
        self,
        client: Client,
        resources: Sequence[Resource],
        definitions: Sequence[crd.Definition],
        *,
        optional: Mapping[Resource, Callable[[Mapping[str, Any]], bool]],
        namespaces: Sequence[str],
        selector: str,
    ) -> None:
        self.optional = optional
        self._selector = selector
        self._namespaces: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self.absent: Mapping[str, Absence] = {}
        self._client = client
        self._resources = tuple(resources)
        self._definitions = tuple(definitions)
        self.served: tuple[Resource, ...] = ()
        self.faults: tuple[str, ...] = ("the API server has not been queried yet",)
        self.outdated: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything is served, by CRDs that fit."""
        return not self.faults

    async def look(self) -> None:
        """Ask the API server. Raises `ApiError`."""
        served = []
        for prefix in dict.fromkeys(each.prefix for each in self._resources):
            plurals = await self._plurals(prefix)
            served += [r for r in self._resources if r.prefix == prefix and r.plural in plurals]
        absent = {each: await self._absence(each, served) for each in self.optional}
        served = [each for each in served if absent.get(each) is None]
        allowed = [each for each in served if not each.context or await self._may_list(each)]
        missing = [e for e in self._resources if e not in served and e not in self.optional]
        faults = [
            f"{each.plural}.{each.group} is not served: kubectl apply --server-side -f crds/"
            for each in missing
        ]
        found = [await self._fault(each) for each in self._definitions if not missing]
        # A kind of our own that is missing beside another that is there: CRDs of an older release.
        ours = [each for each in self._resources if each.group == GROUP]
        if any(each in served for each in ours):
            found += [
                f"the CRDs are older than this operator: {each.plural}.{each.group} is missing"
                for each in ours
                if each in missing
            ]
        for each in served:
            if each not in allowed and (each in self.served or not self.served):
                _LOG.warning("listing %s is forbidden: their content is unknown", each.plural)
        self._note_absent({each.kind: why for each, why in absent.items() if why is not None})
        self.served = tuple(allowed)
        self.outdated = tuple(filter(None, found))
        self._say((*faults, *self.outdated))

    async def appeared(self) -> bool:
        """Whether to look again at kinds of other projects that are not used. Raises `ApiError`.

        Most clusters do not have them, and that costs one request.
        """
        absent = [each for each in self.optional if each.kind in self.absent]
        if any(self.absent[each.kind] is not Absence.MISSING for each in absent):
            return True
        return any([each.plural in await self._plurals(each.prefix) for each in absent])

    async def _absence(self, resource: Resource, served: Sequence[Resource]) -> Absence | None:
        """Why a kind of another project is not used: its trouble must not stop our own kinds.

        Its CRD may be withheld: then every version is accepted.
        """
        if resource not in served:
            return Absence.MISSING
        try:
            if not any([await self._may_list(resource, each) for each in self._namespaces]):
                return Absence.FORBIDDEN
            definition = await self._definition(resource)
        except ApiError as error:
            # Without an answer nothing is known of our own kinds either.
            if not error.status:
                raise
            if error.status == 404:
                return Absence.MISSING
            # One bad answer takes nothing away that was read before.
            return None if resource in self.served else Absence.UNREADABLE
        fits = definition is None or self.optional[resource](definition)
        return None if fits else Absence.UNSUPPORTED

    async def _definition(self, resource: Resource) -> Mapping[str, Any] | None:
        """A CustomResourceDefinition; None where it is withheld. Raises `ApiError`."""
        try:
            name = f"{resource.plural}.{resource.group}"
            found: Mapping[str, Any] = await self._client.request("GET", _CRDS.path(None, name))
        except ApiError as error:
            if error.status == 403:
                return None
            raise
        return found

    def _note_absent(self, absent: Mapping[str, Absence]) -> None:
        for kind, why in absent.items():
            if self.absent.get(kind) is not why:
                _LOG.info("%s: %s; it is needed only where a manifest asks for it", kind, why.value)
        self.absent = absent

    def _say(self, faults: tuple[str, ...]) -> None:
        for fault in faults:
            if fault not in self.faults:
                _LOG.error("%s", fault)
        if self.faults and not faults:
            _LOG.info("every watched kind is served")
        self.faults = faults

    async def _may_list(self, resource: Resource, namespace: str | None = None) -> bool:
        """Context may be withheld: then only what it would say is missing."""
        try:
            query = {"limit": 1, **({"labelSelector": self._selector} if resource.labelled else {})}
            await self._client.request("GET", resource.path(namespace), query=query)
        except ApiError as error:
            if error.status == 403:
                return False
            raise
        return True

    async def _plurals(self, prefix: str) -> frozenset[str]:
        try:
            answer = await self._client.request("GET", prefix)
        except ApiError as error:
            # Groups of other projects may be forbidden, or served by a server that is down: nothing of ours waits for that.
            theirs = all(e in self.optional for e in self._resources if e.prefix == prefix)
            if error.status == 404 or (theirs and error.status):
                return frozenset()
            raise
        return frozenset(each["name"] for each in answer["resources"])

    async def _fault(self, definition: crd.Definition) -> str | None:
        try:
            found = await self._client.request("GET", _CRDS.path(None, definition.name))
        except ApiError as error:
            if (
                error.status == 403
            ):  # namespaced mode need not grant it; then only the server's word is missing
                return None
            raise
        return crd.fault(definition, found["metadata"].get("annotations", {}))


class Lists:
    """Our own LISTs: everything at the start, and periodically a comparison with what the watch reported."""

    def __init__(
        self,
        client: Client,
        *,
        store: Cache,
        event_handler: EventHandler,
        namespaces: Sequence[str],
        selector: str,
        rewound: Callable[[], None],
    ) -> None:
        self._client = client
        self._store = store
        self._event_handler = event_handler
        self._rewound = rewound
        self._namespaces: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._selector = selector
        self._unreadable: dict[tuple[str, str], str] = {}

    @property
    def faults(self) -> tuple[str, ...]:
        """What may not be listed, in words: a namespace that is gone or has no rights for us must not stop the others."""
        return tuple(self._unreadable.values())

    async def prefill(self, resources: Sequence[Resource]) -> None:
        """Take in every object there is. Raises `ApiError`, but for a namespace that may not be read."""
        for resource in resources:
            await self._each_scope(resource, self._take_in)

    async def resync(self, resources: Sequence[Resource]) -> None:
        """Compare with a LIST of metadata; get what was missed, bury what is gone.

        Raises the last `ApiError` once everything was tried.
        """
        failed: ApiError | None = None
        for resource in resources:
            try:
                await self._each_scope(resource, self._compare)
            except ApiError as error:
                failed = error
        if failed:
            raise failed

    async def _each_scope(
        self, resource: Resource, act: Callable[[Resource, str | None], Awaitable[None]]
    ) -> None:
        """Act on every namespace; raises only what is not of one namespace alone, or where none may be read."""
        scopes = self._scopes(resource)
        refused: list[ApiError] = []
        for namespace in scopes:
            try:
                await act(resource, namespace)
            except ApiError as error:
                if error.status not in (403, 404) or namespace is None:
                    raise
                refused.append(error)
                self._note(resource, namespace, error)
            else:
                self._unreadable.pop((resource.plural, namespace or ""), None)
        if refused and len(refused) == len(scopes):
            raise refused[0]

    def _note(self, resource: Resource, namespace: str, error: ApiError) -> None:
        text = f"{resource.plural} of namespace {namespace} may not be listed: {error.explained}"
        if self._unreadable.get((resource.plural, namespace)) != text:
            _LOG.warning("%s", text)
        self._unreadable[resource.plural, namespace] = text

    def _scopes(self, resource: Resource) -> tuple[str | None, ...]:
        return (None,) if resource.context else self._namespaces

    async def _take_in(self, resource: Resource, namespace: str | None) -> None:
        path = resource.path(namespace)
        async for page in self._client.pages(path, selector=self._of(resource)):
            for document in page["items"]:
                self._see(resource, document)

    async def _compare(self, resource: Resource, namespace: str | None) -> None:
        listed: dict[Key, int] = {}
        version = 0
        within = (namespace,) if namespace else ()
        known = self._store.highest()
        path = resource.path(namespace)
        async for page in self._client.pages(path, selector=self._of(resource), metadata_only=True):
            version = version or int(page["metadata"]["resourceVersion"])
            for document in page["items"]:
                metadata = document["metadata"]
                listed[identity(resource, metadata)] = int(metadata["resourceVersion"])
        drift = self._store.drift(resource.kind, listed, version, within)
        if version < known or drift.rewound:
            self._rewind(resource)
            drift = self._store.drift(resource.kind, listed, version, within)
        if len(drift.unseen) > _MOST_GETS:
            await self._take_in(resource, namespace)
        for key in drift.unseen:
            await self._get(resource, key)
        for key in drift.ghosts:
            telemetry.RESYNC_GHOSTS.labels(resource.kind).inc()
            self._event_handler.on_tombstone(resource, key, version)

    def _rewind(self, resource: Resource) -> None:
        """The API server's versions went back: everything is read again, of every kind, and the watch starts again."""
        _LOG.warning(
            "resourceVersions of %s went backwards: listing everything again", resource.plural
        )
        telemetry.REWINDS.inc()
        self._store.rewind()
        self._rewound()

    async def _get(self, resource: Resource, key: Key) -> None:
        document = await self._client.get(resource, key.namespace, key.name)
        entry = self._store.get(key)
        known = -1 if entry is None else entry.version
        if document is None or int(document["metadata"]["resourceVersion"]) <= known:
            return
        telemetry.RESYNC_UNSEEN.labels(resource.kind).inc()
        self._see(resource, document)

    def _see(self, resource: Resource, document: Mapping[str, Any]) -> None:
        try:
            self._event_handler.on_upsert(resource, document)
        except Exception:  # noqa: BLE001 - one strange object must not keep the operator from starting
            _LOG.exception("processing one of %s failed; this is a bug", resource.plural)

    def _of(self, resource: Resource) -> str:
        return (resource.selector or self._selector) if resource.labelled else ""


async def patiently(what: str, call: Callable[[], Awaitable[T]], *, seconds: float) -> T:
    """Await `call()` until it does not raise `ApiError`, saying so when the trouble changes."""
    said = ""
    wait = seconds
    while True:
        try:
            return await call()
        except ApiError as error:
            text = f"{error.status} {error.reason}"
            if text != said:
                _LOG.warning("%s: %s; retrying", what, error)
                said = text
            await asyncio.sleep(wait * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - spreads retries
            wait = min(wait * 1.5, _MOST_SECONDS)


def jittered(seconds: float) -> float:
    """The interval ±20 %, so that several operators do not list at once."""
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load
