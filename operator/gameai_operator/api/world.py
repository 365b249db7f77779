"""PURE: the GameWorld kind."""

from enum import StrEnum
from typing import Annotated, ClassVar

from gameai_contract.inference import (
    LADDER,
    MOST_DEADLINE_MS,
    MOST_IN_FLIGHT,
    MOST_ROLES,
    MOST_WEIGHT,
    Rung,
)
from pydantic import Field, StringConstraints

from gameai_operator.api.base import (
    Condition,
    LocalReference,
    Metadata,
    Model,
    ObjectName,
    Rule,
    Text,
    list_map,
)
from gameai_operator.api.network import Network
from gameai_operator.api.service import GameService, ServiceName

Speed = Annotated[str, StringConstraints(max_length=8, pattern=r"^[0-9]{1,3}(\.[0-9]{1,3})?$")]

Time = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"),
    Field(json_schema_extra={"format": "date-time"}),
]


class Clock(Model):
    """How world time passes; a change takes effect two minutes later, at one instant for all replicas."""

    day_length_minutes: Annotated[int, Field(ge=1, le=10080)] = 48
    """Length of a world's day at speed 1, in minutes."""
    speed: Speed = "1"
    """Factor on the passing of world time, above 0, with up to three decimals; text, since YAML numbers round."""
    paused: bool = False
    """Whether world time stands still while services go on."""
    start_at: Time | None = None
    """When world time began, in UTC; read only while the world has no clock yet, as when it is made or restored from a backup without status. Absent: its creation. Example: 2026-03-01T08:00:00Z."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("double(self.speed) > 0.0", "speed must be above 0: use paused to stop", ".speed"),
        Rule(
            "!has(self.startAt) || self.startAt >= timestamp('1970-01-01T00:00:00Z')",
            "startAt must be 1970-01-01T00:00:00Z or later",
            ".startAt",
        ),
    )


class TierReference(Model):
    """A ModelTier."""

    name: ObjectName
    """Name of the tier. Example: gold."""
    namespace: Annotated[str, Field(max_length=63)] | None = None
    """Its namespace; another than the world's must be let in by the tier's access. Absent: the world's. Example: shared."""


class Share(Model):
    """A role's part of its world's part of a tier."""

    weight: Annotated[int, Field(ge=1, le=MOST_WEIGHT)] = 1
    """Weight beside the world's other roles while the tier is full: 2 gets twice as many slots as 1. Worlds have equal parts."""
    max_in_flight: Annotated[int, Field(ge=1, le=MOST_IN_FLIGHT)] = 64
    """Most questions of this role that engines work on at once, at each gateway."""


class Role(Model):
    """A part that NPCs play, and the tier that answers for it."""

    name: ServiceName
    """Name, as game services ask for it. Example: dialogue."""
    tier_ref: TierReference
    """The tier that answers."""
    deadline_ms: Annotated[int, Field(ge=1, le=MOST_DEADLINE_MS)] | None = None
    """Time for an answer, in milliseconds, where a question brings no other. Absent: the tier's latency.targetMs. Example: 16."""
    fallback: Annotated[tuple[Rung, ...], Field(max_length=3)] = LADDER
    """What may answer in the engine's place: FreshCache (asked before the engine), StaleCache and Default (asked when it is late). Default: all three. Example: [FreshCache]."""
    deferred_to: ServiceName | None = None
    """Another role of this world, whose tier gives a second, better answer after one that was not the engine's. Absent: none. Example: dialogue."""
    share: Share = Share()
    """Its part of what the world gets of a full tier. Default: weight 1, 64 in flight."""
    rules: ClassVar[tuple[Rule, ...]] = (
        # A set would be merged from several field managers, in an order that nobody wrote.
        Rule(
            "!has(self.fallback) || self.fallback.all(r, self.fallback.exists_one(o, o == r))",
            "fallback must name each rung once",
            ".fallback",
        ),
    )


class ArchetypesReference(Model):
    """Where a world's archetypes stand."""

    config_map: LocalReference
    """A ConfigMap of the world's namespace, labelled `app.kubernetes.io/part-of: gameai`; each key that ends in .yaml or .json is a file of archetypes."""


class Caller(Model):
    """Who may ask for a world."""

    namespace: Annotated[
        str, StringConstraints(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    ]
    """Namespace. Example: game-servers."""
    service_account: ObjectName
    """ServiceAccount whose tokens (audience gameai-gateway) it shows. Example: eldermoor."""
    uid: Annotated[str, StringConstraints(max_length=63, pattern=r"^[0-9A-Za-z-]*$")] = ""
    """UID of that ServiceAccount. Given, an account of the same name that is made later is not let in. Example: 8f4e3c2a-6f0b-4c7e-9d3a-2b1c0d9e8f7a."""

    @property
    def account(self) -> str:
        """How gateways know it: namespace/name, or namespace/name@uid."""
        return f"{self.namespace}/{self.service_account}{f'@{self.uid}' if self.uid else ''}"


class WorldState(StrEnum):
    """Whether a world lives."""

    RUNNING = "Running"
    HIBERNATED = "Hibernated"


class GameWorldSpec(Model):
    """What is wanted: services, the tiers behind their roles, and a clock."""

    seed: Annotated[int, Field(ge=0, le=9_007_199_254_740_991)] | None = None
    """What everything drawn by chance in this world starts from; a change restarts its services. Default: a hash of namespace and name. Example: 42."""
    clock: Clock = Clock()
    """How world time passes. Default: a day in 48 minutes."""
    roles: Annotated[
        tuple[Role, ...], Field(max_length=MOST_ROLES, json_schema_extra=list_map("name"))
    ] = ()
    """Parts that NPCs play, told apart by name. Default: none. Example: [{name: dialogue, tierRef: {name: silver}}]."""
    archetypes: ArchetypesReference | None = None
    """What kinds of NPC there are, what they answer by default, and what may be cached. Absent: none, so that only questions without an archetype are answered. Example: {configMap: {name: eldermoor-archetypes}}."""
    callers: Annotated[
        tuple[Caller, ...],
        Field(max_length=64, json_schema_extra=list_map("namespace", "serviceAccount")),
    ] = ()
    """Who may ask the gateway for this world, beside its own account (<world>-world). Default: nobody. Example: [{namespace: game-servers, serviceAccount: eldermoor}]."""
    services: Annotated[
        tuple[GameService, ...], Field(max_length=32, json_schema_extra=list_map("name"))
    ] = ()
    """Game services, told apart by name. Default: none. Example: [{name: weather-manager, settings: {climate: Maritime}}]."""
    network: Network = Network()
    """Whom the world's pods may hear and call. Default: Isolated."""
    state: WorldState = WorldState.RUNNING
    """Running, or Hibernated: no pods, world time stands still, everything else is kept."""
    template_revision: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Revision of the operator's pod template; raise it to take a newer one. Absent: the one in status is kept. Example: 1."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.roles) || self.roles.all(r, !has(r.deferredTo) || "
            "(r.deferredTo != r.name && self.roles.exists(o, o.name == r.deferredTo)))",
            "deferredTo must name another role of this world",
            ".roles",
        ),
    )


class AnchorStatus(Model):
    """From an instant on, world time stands at so much and passes at such a speed."""

    effective_at: Text
    """When it takes effect, in UTC. Example: 2026-11-21T10:00:00Z."""
    world_seconds: Text
    """World time at that instant, in seconds since the world began. Example: "28800"."""
    speed: Text
    """Factor on the passing of world time; 0 where it stands. Example: "1"."""
    day_length_minutes: int
    """Length of a day at speed 1, in minutes."""


class ClockStatus(AnchorStatus):
    """The newest anchor of the world's clock."""

    earlier: Annotated[tuple[AnchorStatus, ...], Field(max_length=8)] = ()
    """Anchors before it that still matter to a late reader, the oldest first."""


class ServiceStatus(Model):
    """One service as it is."""

    name: Text
    """Name."""
    ready: int = 0
    """Pods that answer."""
    replicas: int = 0
    """Pods that exist."""
    endpoint: Text
    """Where it answers inside the cluster. Example: eldermoor-weather-manager.games.svc:50051."""


class GameWorldStatus(Model):
    """What is."""

    observed_generation: int | None = None
    """Generation of the spec that was last acted on; -1 before the first."""
    template_revision: int | None = None
    """Revision of the pod template in use."""
    operator: Annotated[str, Field(max_length=512)] | None = None
    """Operator that manages this world, by namespace and name of its Lease. Example: gameai-system/gameai-operator."""
    workloads_image: Annotated[str, Field(max_length=512)] | None = None
    """Image of the catalogue's services in use."""
    clock: ClockStatus | None = None
    """The newest anchor of the world's clock."""
    services: Annotated[
        tuple[ServiceStatus, ...], Field(max_length=32, json_schema_extra=list_map("name"))
    ] = ()
    """Every service as it is."""
    ready_services: Annotated[str, Field(max_length=16)] | None = None
    """Services that answer, of those wanted. Example: 2/2."""
    conditions: Annotated[
        tuple[Condition, ...], Field(max_length=16, json_schema_extra=list_map("type"))
    ] = ()
    """Ready, Reconciling, Stalled, Degraded, TiersReady, ArchetypesValid, ServicesReady, ClockStarted."""


class GameWorld(Model):
    """A world: its services, the tiers behind its roles, and its clock."""

    metadata: Metadata
    """Names and generation."""
    spec: GameWorldSpec
    """What is wanted."""
    status: GameWorldStatus = GameWorldStatus()
    """What was last reported."""
