"""An API server and a reconciler in memory, as far as a reconcile can tell."""

import datetime
import json
from collections.abc import Mapping
from typing import Any

from gameai_operator.engine.errors import ApiError
from gameai_operator.engine.events import Recorder
from gameai_operator.engine.intake import Intake
from gameai_operator.engine.manifest import Key, Manifest, Resource
from gameai_operator.engine.reconcile import Outcome, Reconciler
from gameai_operator.engine.references import References
from gameai_operator.engine.store import Store
from gameai_operator.engine.turns import Turns
from gameai_operator.engine.workqueue import Workqueue
from gameai_operator.kinds import WATCHED, kinds
from gameai_operator.settings import Settings

KINDS = kinds(Settings())
TIERS = KINDS["ModelTier"].resource
ROOT = Key("ModelTier", "eldermoor", "gold")
NOW = datetime.datetime(2026, 11, 22, 10, 0, tzinfo=datetime.UTC)


def fields_of(value: Any) -> dict[str, Any]:
    """A managedFields tree that owns all of a value; lists as atomic."""
    if not isinstance(value, dict):
        return {}
    return {f"f:{name}": fields_of(each) for name, each in value.items()}


class FakeCluster:
    """Keeps objects in a dict, as far as a reconcile can tell like an API server; remembers every call."""

    def __init__(self) -> None:
        self.objects: dict[Key, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.errors: dict[str, ApiError] = {}
        self.version = 100
        self.pinned: list[str] = []

    def _note(self, call: str) -> None:
        self.calls.append(call)
        error = self.errors.pop(call, None)
        if error is not None:
            raise error

    def put(self, document: Mapping[str, Any], **metadata: Any) -> dict[str, Any]:
        self.version += 1
        made: dict[str, Any] = json.loads(json.dumps(document))
        made["metadata"] |= {"resourceVersion": str(self.version), **metadata}
        self.objects[Key(made["kind"], made["metadata"]["namespace"], made["metadata"]["name"])] = (
            made
        )
        return made

    async def get(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        self._note(f"get {resource.kind}/{name}")
        return self.objects.get(Key(resource.kind, namespace, name))

    async def apply(self, resource: Resource, manifest: Manifest, *, force: bool) -> dict[str, Any]:
        metadata = manifest["metadata"]
        self._note(f"apply {resource.kind}/{metadata['name']}{' force' if force else ''}")
        self.pinned += [metadata["resourceVersion"]] if "resourceVersion" in metadata else []
        body = {k: v for k, v in manifest.items() if k not in ("apiVersion", "kind")}
        entry = {
            "manager": "gameai-operator",
            "operation": "Apply",
            "fieldsV1": fields_of(body),
        }
        return self.put(manifest, uid=f"uid-{metadata['name']}", managedFields=[entry])

    async def replace_spec(
        self, resource: Resource, manifest: Manifest, version: str
    ) -> dict[str, Any]:
        self._note(f"replace {resource.kind}/{manifest['metadata']['name']}")
        return {}

    async def apply_status(self, resource: Resource, manifest: Manifest) -> dict[str, Any]:
        self._note("status")
        root = self.objects[Key(resource.kind, "eldermoor", manifest["metadata"]["name"])]
        return self.put(root | {"status": manifest["status"]})

    async def delete(
        self,
        resource: Resource,
        key: Key,
        *,
        preconditions: Mapping[str, str],
        grace_seconds: int | None = None,
    ) -> None:
        self._note(f"delete {key.kind}/{key.name} {sorted(preconditions)} {grace_seconds}")
        self.objects.pop(key, None)


class World:
    """A reconciler over a fake cluster, with all that it needs."""

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.clock = 0.0
        self.store = Store()
        self.queue = Workqueue(lambda: 0.0)
        references = References()
        self.intake = Intake(
            KINDS,
            WATCHED,
            store=self.store,
            references=references,
            queue=self.queue,
            clock=lambda: 0.0,
        )
        self.turns = Turns(1)
        self.events: list[str] = []
        recorder = Recorder(self._never)
        recorder.offer = lambda document: self.events.append(document["reason"])  # type: ignore[method-assign] # heard here
        self.reconciler = Reconciler(
            KINDS,
            WATCHED,
            store=self.store,
            references=references,
            turns=self.turns,
            intake=self.intake,
            cluster=self.cluster,
            recorder=recorder,
            now=lambda: NOW,
            clock=lambda: self.clock,
        )

    async def _never(self, *_: Any) -> None:
        raise AssertionError("the recorder is not run")

    def see(self, document: dict[str, Any], **metadata: Any) -> None:
        found = self.cluster.put(document, **metadata)
        resource = TIERS if found["kind"] == "ModelTier" else WATCHED[found["kind"]].resource
        self.intake.see(resource, found)

    async def reconcile(self) -> tuple[list[str], Outcome]:
        self.cluster.calls.clear()
        outcome = await self.reconciler.reconcile(ROOT)
        return list(self.cluster.calls), outcome

    def condition(self, kind: str) -> dict[str, Any]:
        status = self.cluster.objects[ROOT]["status"]
        return next(each for each in status["conditions"] if each["type"] == kind)
