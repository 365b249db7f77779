"""An API server and a reconciler in memory, as far as a reconcile can tell."""

import datetime
import json
from collections.abc import Mapping
from typing import Any

from gameai_operator.controller.cache import Cache
from gameai_operator.controller.errors import ApiError
from gameai_operator.controller.event_handler import EventHandler
from gameai_operator.controller.events import Recorder
from gameai_operator.controller.foreign_reads import ForeignReads
from gameai_operator.controller.manifest import Key, Manifest, Resource
from gameai_operator.controller.object_metrics import ObjectMetrics
from gameai_operator.controller.outcome import Outcome
from gameai_operator.controller.reconciler import Reconciler
from gameai_operator.controller.references import References
from gameai_operator.controller.repairs import Repairs
from gameai_operator.controller.rollout_slots import RolloutSlots
from gameai_operator.controller.workqueue import Workqueue
from gameai_operator.kinds import WATCHED, kinds
from gameai_operator.settings import KedaSettings, Settings

KINDS = kinds(Settings(keda=KedaSettings("scaler.gameai-system.svc:6000")))
TIERS = KINDS["ModelTier"].resource
ROOT = Key("ModelTier", "eldermoor", "gold")
NOW = datetime.datetime(2026, 11, 22, 10, 0, tzinfo=datetime.UTC)


def fields_of(value: Any) -> dict[str, Any]:
    """A managedFields tree that owns all of a value; lists as atomic."""
    if not isinstance(value, dict):
        return {}
    return {f"f:{name}": fields_of(each) for name, each in value.items()}


def _entry(manager: str, manifest: Manifest) -> dict[str, Any]:
    body = {k: v for k, v in manifest.items() if k not in ("apiVersion", "kind")}
    return {"manager": manager, "operation": "Apply", "fieldsV1": fields_of(body)}


class FakeClaims:
    """Operators by name, and which of them run."""

    own = "gameai-system/gameai-operator"

    def __init__(self) -> None:
        self.running: set[str] = set()

    async def alive(self, claim: str, namespace: str) -> bool:
        return claim in self.running


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

    async def create(self, resource: Resource, manifest: Manifest) -> bool:
        metadata = manifest["metadata"]
        self._note(f"create {resource.kind}/{metadata['name']}")
        if Key(resource.kind, metadata["namespace"], metadata["name"]) in self.objects:
            return False
        self.put(manifest, uid=f"uid-{metadata['name']}")
        return True

    async def apply(
        self,
        resource: Resource,
        manifest: Manifest,
        *,
        force: bool,
        manager: str = "gameai-operator",
    ) -> dict[str, Any]:
        metadata = manifest["metadata"]
        if manager != "gameai-operator":
            return self._apply_replicas(resource, manifest, manager)
        self._note(f"apply {resource.kind}/{metadata['name']}{' force' if force else ''}")
        self.pinned += [metadata["resourceVersion"]] if "resourceVersion" in metadata else []
        live = self.objects.get(Key(resource.kind, metadata["namespace"], metadata["name"]), {})
        others = [
            each
            for each in live.get("metadata", {}).get("managedFields", [])
            if each["manager"] != "gameai-operator"
        ]
        made = json.loads(json.dumps(manifest))
        if any(each["manager"] == "gameai-operator-replicas" for each in others):
            made["spec"]["replicas"] = live["spec"]["replicas"]
            note = live["metadata"]["annotations"]["gameai.dev/replicas"]
            made["metadata"]["annotations"]["gameai.dev/replicas"] = note
        entries = [_entry("gameai-operator", manifest), *others]
        return self.put(made, uid=f"uid-{metadata['name']}", managedFields=entries)

    def _apply_replicas(
        self, resource: Resource, manifest: Manifest, manager: str
    ) -> dict[str, Any]:
        metadata, number = manifest["metadata"], manifest["spec"]["replicas"]
        notes = metadata.get("annotations", {})
        self._note(f"scale {resource.kind}/{metadata['name']} {number}")
        made = json.loads(
            json.dumps(self.objects[Key(resource.kind, metadata["namespace"], metadata["name"])])
        )
        made["spec"]["replicas"] = number
        known = made["metadata"].setdefault("annotations", {})
        known.pop("gameai.dev/nudged", None)
        known |= notes
        before = made["metadata"].get("managedFields", [])
        others = [each for each in before if each["manager"] != manager]
        return self.put(made, managedFields=[*others, _entry(manager, manifest)])

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
        self.store = Cache()
        self.queue = Workqueue(lambda: 0.0)
        references = References()
        self.readings = ForeignReads(
            WATCHED, references=references, queue=self.queue, fetch=self.cluster.get
        )
        self.event_handler = EventHandler(
            KINDS,
            WATCHED,
            store=self.store,
            references=references,
            readings=self.readings,
            queue=self.queue,
            metrics=ObjectMetrics(),
            clock=lambda: 0.0,
        )
        self.absent: set[str] = set()
        self.slots = RolloutSlots(lambda: 1)
        self.claims = FakeClaims()
        self.events: list[str] = []
        recorder = Recorder(self._never)
        recorder.offer = lambda document: self.events.append(document["reason"])  # type: ignore[method-assign] # heard here
        self.reconciler = Reconciler(
            KINDS,
            WATCHED,
            store=self.store,
            references=references,
            slots=dict.fromkeys(KINDS, self.slots),
            claims=self.claims,
            event_handler=self.event_handler,
            cluster=self.cluster,
            recorder=recorder,
            repairs=Repairs,
            served=lambda kind: kind not in self.absent,
            now=lambda: NOW,
            clock=lambda: self.clock,
        )

    async def _never(self, *_: Any) -> None:
        raise AssertionError("the recorder is not run")

    def see(self, document: dict[str, Any], **metadata: Any) -> None:
        found = self.cluster.put(document, **metadata)
        resource = TIERS if found["kind"] == "ModelTier" else WATCHED[found["kind"]].resource
        self.event_handler.on_upsert(resource, found)

    async def reconcile(self) -> tuple[list[str], Outcome]:
        await self.readings.read_due()
        self.cluster.calls.clear()
        outcome = await self.reconciler.reconcile(ROOT)
        return list(self.cluster.calls), outcome

    def condition(self, kind: str) -> dict[str, Any]:
        status = self.cluster.objects[ROOT]["status"]
        return next(each for each in status["conditions"] if each["type"] == kind)
