"""PURE: the CustomResourceDefinitions, made from the types; `crds/*.yaml` is this module's output."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gameai_operator.api.base import CATEGORY, GROUP, VERSION, Model, Rule
from gameai_operator.api.knowledge_base import (
    KnowledgeBase,
    KnowledgeBaseSpec,
    KnowledgeBaseStatus,
)
from gameai_operator.api.schema import structural
from gameai_operator.api.schema_revisions import NEWEST
from gameai_operator.api.tier import ModelTier, ModelTierSpec, ModelTierStatus
from gameai_operator.api.world import GameWorld, GameWorldSpec, GameWorldStatus
from gameai_operator.api.worldview import WorldView, WorldViewSpec, WorldViewStatus

SCHEMA_HASH = f"{GROUP}/schema-hash"
SCHEMA_REVISION = f"{GROUP}/schema-revision"

NAME_RULE = Rule(
    "self.metadata.name.size() <= 30 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "metadata.name must have at most 30 characters: lower-case letters, digits and '-', a letter first; "
    "it becomes part of Service names",
)


def _column(name: str, kind: str, path: str, text: str, priority: int = 0) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path, "description": text}
    return entry | ({"priority": priority} if priority else {})


_TIERS = '.status.conditions[?(@.type=="TiersReady")]'
_KNOWLEDGE = '.status.conditions[?(@.type=="KnowledgeReady")]'
_ARCHETYPES = '.status.conditions[?(@.type=="ArchetypesValid")]'
_SOURCES = '.status.conditions[?(@.type=="SourcesIngested")]'
_STALLED = '.status.conditions[?(@.type=="Stalled")]'
_READY = '.status.conditions[?(@.type=="Ready")]'


# The columns of every kind that users declare.
_STATE = (
    _column("Ready", "string", f"{_READY}.status", "Status of the Ready condition."),
    _column("Reason", "string", f"{_READY}.reason", "Reason of the Ready condition."),
    _column(
        "Stalled",
        "string",
        f"{_STALLED}.status",
        "Whether the last change failed and needs an edit.",
    ),
)
_AGE = _column("Age", "date", ".metadata.creationTimestamp", "Time since creation.")
_MESSAGE = _column("Message", "string", f"{_READY}.message", "Message of the Ready condition.", 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Definition:
    """One custom resource; `scale` is the path of the replicas in its spec, and adds the scale subresource.

    A definition without a `status` is not declared by users: it has no short name and no category. `observed` is a status
    without conditions, which another program writes.
    """

    kind: str
    plural: str
    resource: type[Model]
    spec: type[Model]
    columns: tuple[dict[str, Any], ...]
    short_name: str = ""
    status: type[Model] | None = None
    observed: type[Model] | None = None
    scale: str = ""

    @property
    def name(self) -> str:
        """Name of the CustomResourceDefinition."""
        return f"{self.plural}.{GROUP}"

    @property
    def file(self) -> str:
        """Name of the generated file."""
        return f"{self.plural}.yaml"


MODEL_TIER = Definition(
    kind="ModelTier",
    plural="modeltiers",
    short_name="mt",
    resource=ModelTier,
    spec=ModelTierSpec,
    status=ModelTierStatus,
    scale=".spec.replicas",
    columns=(
        *_STATE,
        _column("Class", "string", ".spec.class", "Latency class."),
        _column("Desired", "integer", ".status.wantedReplicas", "Desired replicas."),
        _column("Available", "integer", ".status.readyReplicas", "Ready pods."),
        _column(
            "On-demand",
            "integer",
            ".status.capacity.onDemand",
            "Pods that ask for on-demand nodes.",
        ),
        _column("Spot", "integer", ".status.capacity.spot", "Pods that ask for spot nodes."),
        _column("Any", "integer", ".status.capacity.any", "Pods that ask for no capacity type."),
        _column("USD/h", "string", ".status.cost.perHour", "Cost of scheduled pods, USD per hour."),
        _AGE,
        _column(
            "Desired USD/h",
            "string",
            ".status.cost.wantedPerHour",
            "Cost of the desired replicas, USD per hour.",
            1,
        ),
        _column(
            "Priced as",
            "string",
            ".status.cost.instanceType",
            "Instance type that the cost is based on.",
            1,
        ),
        _column("Endpoint", "string", ".status.endpoint", "URL of the tier inside the cluster.", 1),
        _MESSAGE,
    ),
)
GAME_WORLD = Definition(
    kind="GameWorld",
    plural="gameworlds",
    short_name="gworld",
    resource=GameWorld,
    spec=GameWorldSpec,
    status=GameWorldStatus,
    columns=(
        *_STATE,
        _column("State", "string", ".spec.state", "Running or Hibernated."),
        _column("Services", "string", ".status.readyServices", "Ready services, of all."),
        _column("Tiers", "string", f"{_TIERS}.reason", "State of the tiers of its roles."),
        _column(
            "Archetypes", "string", f"{_ARCHETYPES}.reason", "Whether its archetypes are valid."
        ),
        _column(
            "Speed", "string", ".status.clock.speed", "Speed of the world clock; 0 means stopped."
        ),
        _AGE,
        _column(
            "Memory",
            "string",
            f"{_KNOWLEDGE}.reason",
            "Whether its memory answers its services.",
            1,
        ),
        _column("Image", "string", ".status.workloadsImage", "Image of the built-in services.", 1),
        _MESSAGE,
    ),
)
KNOWLEDGE_BASE = Definition(
    kind="KnowledgeBase",
    plural="knowledgebases",
    short_name="kb",
    resource=KnowledgeBase,
    spec=KnowledgeBaseSpec,
    status=KnowledgeBaseStatus,
    scale=".spec.service.replicas",
    columns=(
        *_STATE,
        _column("Sources", "string", f"{_SOURCES}.reason", "State of its sources."),
        _column("Documents", "integer", ".status.documents", "Documents in the memory."),
        _column("Chunks", "integer", ".status.chunks", "Chunks in the memory."),
        _column(
            "Quarantined", "integer", ".status.quarantined", "Chunks that are held for a review."
        ),
        _column("Backup", "date", ".status.lastBackup.at", "Age of the last archive."),
        _AGE,
        _column("Endpoint", "string", ".status.endpoint", "Address inside the cluster.", 1),
        _column("Image", "string", ".status.image", "Image of the memory.", 1),
        _MESSAGE,
    ),
)
WORLD_VIEW = Definition(
    kind="WorldView",
    plural="worldviews",
    resource=WorldView,
    spec=WorldViewSpec,
    observed=WorldViewStatus,
    columns=(
        _column("Roles", "string", ".spec.roles[*].name", "Roles that gateways serve."),
        _AGE,
    ),
)
# The kinds that users declare, then all kinds.
DECLARED = (MODEL_TIER, GAME_WORLD, KNOWLEDGE_BASE)
DEFINITIONS = (*DECLARED, WORLD_VIEW)


def document(definition: Definition) -> dict[str, Any]:
    """The whole CustomResourceDefinition, with its schema's hash and revision as annotations."""
    version = _version(definition)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": definition.name,
            "annotations": {
                SCHEMA_HASH: schema_hash(definition),
                SCHEMA_REVISION: str(NEWEST),
            },
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": definition.kind,
                "listKind": f"{definition.kind}List",
                "plural": definition.plural,
                "singular": definition.kind.lower(),
                **({"shortNames": [definition.short_name]} if definition.short_name else {}),
                **({"categories": [CATEGORY]} if definition.status else {}),
            },
            "versions": [version],
        },
    }


def schema_hash(definition: Definition) -> str:
    """Hash of the schema."""
    text = json.dumps(_version(definition), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fault(definition: Definition, annotations: Mapping[str, str]) -> str | None:
    """Why an installed CRD with these annotations will not do; None when it is this release's or newer."""
    revision = annotations.get(SCHEMA_REVISION, "")
    found = int(revision) if revision.isdigit() else 0
    same = found == NEWEST and annotations.get(SCHEMA_HASH) == schema_hash(definition)
    if found > NEWEST or same:
        return None
    return (
        f"the CRD {definition.name} is older than this operator; apply this release's: "
        f"kubectl apply --server-side -f crds/{definition.file}"
    )


def _version(definition: Definition) -> dict[str, Any]:
    has_status = definition.status or definition.observed
    subresources: dict[str, Any] = {"status": {}} if has_status else {}
    if definition.scale:
        # Without the selector HPA and KEDA refuse the scale.
        subresources["scale"] = {
            "specReplicasPath": definition.scale,
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        }
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _schema(definition)},
        **({"subresources": subresources} if subresources else {}),
        "additionalPrinterColumns": list(definition.columns),
    }


def _schema(definition: Definition) -> dict[str, Any]:
    return {
        "type": "object",
        "description": " ".join((definition.resource.__doc__ or "").split()),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}."},
            "kind": {"type": "string", "description": f"{definition.kind}."},
            "metadata": {"type": "object"},
            "spec": structural(definition.spec),
            **({"status": _status(definition.status)} if definition.status else {}),
            **({"status": structural(definition.observed)} if definition.observed else {}),
        },
        "x-kubernetes-validations": [NAME_RULE.document()],
    }


def _status(model: type[Model]) -> dict[str, Any]:
    status = structural(model)
    status["properties"]["conditions"].pop("default", None)
    # kstatus reads this as "in progress" before the first status write.
    status["default"] = {"observedGeneration": -1}
    return status
