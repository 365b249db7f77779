"""PURE: the GameWorld kind."""

from enum import StrEnum
from typing import Annotated, ClassVar

from gameai_contract.inference import (
    FALLBACK_CHAIN,
    MOST_DEADLINE_MS,
    MOST_IN_FLIGHT,
    MOST_ROLES,
    MOST_WEIGHT,
    FallbackStep,
)
from gameai_contract.names import HEALTH_PORT
from pydantic import Field, StringConstraints

from gameai_operator.api.base import (
    Condition,
    LocalReference,
    Metadata,
    Model,
    NamespaceName,
    ObjectName,
    Rule,
    Text,
    list_map,
)
from gameai_operator.api.database import WorldDatabase
from gameai_operator.api.network import Network
from gameai_operator.api.service import GameService, ServiceName

Speed = Annotated[str, StringConstraints(max_length=8, pattern=r"^[0-9]{1,3}(\.[0-9]{1,3})?$")]

Time = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"),
    Field(json_schema_extra={"format": "date-time"}),
]


KnowledgeBaseName = Annotated[
    str, StringConstraints(min_length=1, max_length=30, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
]


class Clock(Model):
    """How world time passes. A change takes effect two minutes later, for all replicas at the same instant."""

    day_length_minutes: Annotated[int, Field(ge=1, le=10080)] = 48
    """Length of a day of the world at speed 1, in real minutes."""
    speed: Speed = "1"
    """Speed of world time, greater than 0, with up to three decimals. A string, because YAML rounds numbers."""
    paused: bool = False
    """Stops world time; services keep running."""
    start_at: Time | None = None
    """Start of world time, in UTC. Read only while status has no clock: when the world is created, or restored from a backup without status. Absent: the creation time of the object. Example: 2026-03-01T08:00:00Z."""
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
    """Namespace of the tier. In another namespace, spec.access of the tier must allow the namespace of the world. Absent: the namespace of the world. Example: shared."""


class KnowledgeBaseReference(Model):
    """A KnowledgeBase."""

    name: KnowledgeBaseName
    """Name of the knowledge base. Example: lore."""
    namespace: NamespaceName | None = None
    """Namespace of the knowledge base. In another namespace, spec.callers of the knowledge base must name the world's account (<world>-world). Absent: the namespace of the world. Example: shared."""


class Share(Model):
    """Share of a role in the capacity that its world gets of a tier."""

    weight: Annotated[int, Field(ge=1, le=MOST_WEIGHT)] = 1
    """Weight relative to the other roles of the world while the tier is full: 2 gets twice as many slots as 1. Worlds have equal shares."""
    max_in_flight: Annotated[int, Field(ge=1, le=MOST_IN_FLIGHT)] = 64
    """Maximum number of concurrent engine requests of this role, per gateway."""


class Role(Model):
    """A kind of request of game services, and the tier that serves it."""

    name: ServiceName
    """Name that game services use in requests. Example: dialogue."""
    tier_ref: TierReference
    """The tier that serves the role."""
    deadline_ms: Annotated[int, Field(ge=1, le=MOST_DEADLINE_MS)] | None = None
    """Default deadline of requests, in milliseconds. Absent: latency.targetMs of the tier. Example: 16."""
    fallback: Annotated[tuple[FallbackStep, ...], Field(max_length=3)] = FALLBACK_CHAIN
    """Alternatives to the engine, in order: FreshCache (before the engine), StaleCache and Default (if the engine is late or fails). Default: all three. Example: [FreshCache]."""
    deferred_to: ServiceName | None = None
    """Another role of this world. If the first response is a fallback, the tier of that role provides a second, better response. Absent: none. Example: dialogue."""
    share: Share = Share()
    """Share of the world's capacity while the tier is full. Default: weight 1, at most 64 in flight."""
    rules: ClassVar[tuple[Rule, ...]] = (
        # A set would be merged from several field managers, in an order that no user wrote.
        Rule(
            "!has(self.fallback) || self.fallback.all(r, self.fallback.exists_one(o, o == r))",
            "fallback must name each step at most once",
            ".fallback",
        ),
    )


class ArchetypesReference(Model):
    """Source of the archetypes of a world."""

    config_map: LocalReference
    """A ConfigMap in the world's namespace with the label `app.kubernetes.io/part-of: gameai`. Each key that ends in .yaml or .json is an archetypes file."""


class Caller(Model):
    """An account that may send requests for a world."""

    namespace: NamespaceName
    """Namespace. Example: game-servers."""
    service_account: ObjectName
    """ServiceAccount. The caller authenticates with its token (audience gameai-gateway). Example: eldermoor."""
    uid: Annotated[str, StringConstraints(max_length=63, pattern=r"^[0-9A-Za-z-]*$")] = ""
    """UID of that ServiceAccount. If set, a ServiceAccount of the same name that is created later is rejected. Example: 8f4e3c2a-6f0b-4c7e-9d3a-2b1c0d9e8f7a."""

    @property
    def account(self) -> str:
        """How gateways know it: namespace/name, or namespace/name@uid."""
        return f"{self.namespace}/{self.service_account}{f'@{self.uid}' if self.uid else ''}"


class PlayersSource(Model):
    """A gauge of one of the world's own services that counts its players."""

    service: ServiceName
    """Service of this world. The gauge is summed over its pods and over its labels. Example: session-manager."""
    gauge: Annotated[str, StringConstraints(max_length=128, pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")]
    """Name of the gauge on /metrics of the pods. Example: eldermoor_players_online."""
    port: Annotated[int, Field(ge=1, le=65535)] = HEALTH_PORT
    """Port of /metrics. The scaler is allowed to connect to it. Example: 8080."""


class Players(Model):
    """Players of the world, for the forecast of its tiers."""

    expected: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Players that are planned for while none are reported or counted. Example: 500."""
    maximum: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Reported players above this number do not count. Absent: no limit. Example: 2000."""
    source: PlayersSource | None = None
    """Where the number of players comes from. Absent: game servers report it to the gateway. Example: {service: session-manager, gauge: eldermoor_players_online}."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.maximum) || self.expected <= self.maximum",
            "expected must not be above maximum",
        ),
    )


class WorldState(StrEnum):
    """Whether a world runs."""

    RUNNING = "Running"
    HIBERNATED = "Hibernated"


class GameWorldSpec(Model):
    """Desired state: services, roles with their tiers, and a clock."""

    seed: Annotated[int, Field(ge=0, le=9_007_199_254_740_991)] | None = None
    """Seed of all random numbers of this world. A change restarts its services. Default: a hash of namespace and name. Example: 42."""
    clock: Clock = Clock()
    """How world time passes. Default: a day takes 48 minutes."""
    roles: Annotated[
        tuple[Role, ...], Field(max_length=MOST_ROLES, json_schema_extra=list_map("name"))
    ] = ()
    """Kinds of requests and the tiers that serve them, keyed by name. Default: none. Example: [{name: dialogue, tierRef: {name: silver}}]."""
    archetypes: ArchetypesReference | None = None
    """NPC archetypes: their default responses and cache rules. Absent: none; requests that name an archetype are rejected. Example: {configMap: {name: eldermoor-archetypes}}."""
    knowledge_base_ref: KnowledgeBaseReference | None = None
    """The memory of the world: lore of all worlds and the world's own history. Its services get the address and a token. Absent: none. Example: {name: lore, namespace: shared}."""
    database: WorldDatabase | None = None
    """The PostgreSQL database of built-in services that keep state, such as state-manager. A change restarts them. Absent: none; such services are refused. Example: {external: {host: games-rw.databases.svc, database: games, secretRef: {name: games-app}, tls: {mode: Require}}}."""
    callers: Annotated[
        tuple[Caller, ...],
        Field(max_length=64, json_schema_extra=list_map("namespace", "serviceAccount")),
    ] = ()
    """ServiceAccounts that may send requests for this world to the gateway, in addition to the world's own (<world>-world). Default: none. Example: [{namespace: game-servers, serviceAccount: eldermoor}]."""
    players: Players | None = None
    """Players of the world, for the forecast of its tiers. Absent: only reported players count."""
    services: Annotated[
        tuple[GameService, ...], Field(max_length=32, json_schema_extra=list_map("name"))
    ] = ()
    """Game services, keyed by name. Default: none. Example: [{name: weather-manager, settings: {climate: Maritime}}]."""
    network: Network = Network()
    """Network access of the world's pods. Default: Isolated."""
    state: WorldState = WorldState.RUNNING
    """Running, or Hibernated: the world's service pods are removed and world time stops; everything else is kept. Tiers keep running."""
    template_revision: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Revision of the operator's pod template. A higher revision restarts the pods. Absent: the revision in status is kept. Example: 1."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.roles) || self.roles.all(r, !has(r.deferredTo) || "
            "(r.deferredTo != r.name && self.roles.exists(o, o.name == r.deferredTo)))",
            "deferredTo must name another role of this world",
            ".roles",
        ),
        Rule(
            "!has(self.players) || !has(self.players.source) || "
            "(has(self.services) && self.services.exists(s, s.name == self.players.source.service))",
            "players.source.service must name a service of this world",
            ".players.source.service",
        ),
        Rule(
            "!has(self.services) || self.services.all(s, !has(s.consumes) || "
            "s.consumes.all(c, self.services.exists(o, o.name == c)))",
            "services[].consumes must name services of this world",
            ".services",
        ),
    )


class AnchorStatus(Model):
    """From `effectiveAt` on, world time starts at `worldSeconds` and passes at `speed`."""

    effective_at: Text
    """Time when the anchor takes effect, in UTC. Example: 2026-11-21T10:00:00Z."""
    world_seconds: Text
    """World time at that instant, in seconds since the world began. Example: "28800"."""
    speed: Text
    """Speed of world time; 0 means stopped. Example: "1"."""
    day_length_minutes: int
    """Length of a day at speed 1, in real minutes."""


class ClockStatus(AnchorStatus):
    """The latest anchor of the world clock."""

    earlier: Annotated[tuple[AnchorStatus, ...], Field(max_length=8)] = ()
    """Earlier anchors that a late reader may still need, oldest first."""


class ServiceStatus(Model):
    """Observed state of a service."""

    name: Text
    """Name."""
    ready: int = 0
    """Number of ready pods."""
    replicas: int = 0
    """Number of existing pods."""
    endpoint: Text
    """Address of the service inside the cluster. Example: eldermoor-weather-manager.games.svc:50051."""


class GameWorldStatus(Model):
    """Observed state, written by the operator."""

    observed_generation: int | None = None
    """Generation of the spec that was last reconciled; -1 before the first reconcile."""
    template_revision: int | None = None
    """Revision of the pod template in use."""
    operator: Annotated[str, Field(max_length=512)] | None = None
    """Lease (namespace/name) of the operator that manages this world. Example: gameai-system/gameai-operator."""
    workloads_image: Annotated[str, Field(max_length=512)] | None = None
    """Image of the built-in services in use."""
    clock: ClockStatus | None = None
    """The latest anchor of the world clock."""
    services: Annotated[
        tuple[ServiceStatus, ...], Field(max_length=32, json_schema_extra=list_map("name"))
    ] = ()
    """Observed state of each service."""
    ready_services: Annotated[str, Field(max_length=16)] | None = None
    """Ready services, of the desired ones. Example: 2/2."""
    conditions: Annotated[
        tuple[Condition, ...], Field(max_length=16, json_schema_extra=list_map("type"))
    ] = ()
    """Ready, Reconciling, Stalled, Degraded, TiersReady, KnowledgeReady, ArchetypesValid, ServicesReady, ClockStarted."""


class GameWorld(Model):
    """A game world: its services, its roles with their tiers, and its clock."""

    metadata: Metadata
    """Object metadata."""
    spec: GameWorldSpec
    """Desired state."""
    status: GameWorldStatus = GameWorldStatus()
    """Observed state, written by the operator."""
