"""PURE: ModelTier.spec.scaling: between which bounds, by which signals and how fast a tier is scaled."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from gameai_operator.api.base import Model, Rule, Text, list_map


class Driver(StrEnum):
    """What carries the decision out."""

    BUILT_IN = "BuiltIn"
    KEDA = "KEDA"


class Mode(StrEnum):
    """Whether a decision is carried out."""

    ACT = "Act"
    RECOMMEND = "Recommend"


class Freeze(StrEnum):
    """Which changes are held back."""

    NONE = "None"
    IN = "In"
    ALL = "All"


class QueueSignal(Model):
    """Questions that wait or run, per replica: the primary signal."""

    target_per_replica: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Questions queued and in flight per replica that the tier is scaled for. Absent: 77.5 percent of the measured concurrency (status.performance), or 8 as long as nothing is measured. Example: 8."""


class GpuSignal(Model):
    """GPU utilisation: a secondary signal, at most one replica more per minute."""

    target_percent: Annotated[int, Field(ge=10, le=95)] = 77
    """Mean GPU utilisation that the tier is scaled for, in percent. Example: 77."""


class LatencyGuard(Model):
    """Additional replicas while p95 is above the target of the tier and questions wait."""

    max_extra_percent: Annotated[int, Field(ge=0, le=100)] = 20
    """Replicas added at once, in percent of the current number. 0 switches the guard off. Example: 20."""


class PlayersSignal(Model):
    """Players as a forecast: replicas are there before their questions are."""

    requests_per_player_per_minute: Annotated[
        str, StringConstraints(max_length=8, pattern=r"^[0-9]{1,4}(\.[0-9]{1,3})?$")
    ] = "2"
    """Engine requests per player and minute, after cache and fallback. The scaler learns the real number, from a twentieth to twice this one. Example: "2"."""


class ScheduledFloor(Model):
    """A minimum number of replicas for an announced event."""

    name: Text
    """Name. Example: raid-night."""
    cron: Annotated[str, StringConstraints(min_length=9, max_length=100)]
    """Start: minute, hour, day of month, month, day of week. Example: 0 19 * * 5."""
    time_zone: Text = "UTC"
    """IANA time zone of the start. Example: Europe/Paris."""
    duration_minutes: Annotated[int, Field(ge=1, le=10080)]
    """Duration, in minutes. Example: 240."""
    min_replicas: Annotated[int, Field(ge=1, le=1000)]
    """Minimum number of replicas in that time, at most spec.scaling.maxReplicas. Example: 12."""


class ScaleOut(Model):
    """Limits of scaling out: the larger of pods and percent per period."""

    window_seconds: Annotated[int, Field(ge=0, le=3600)] = 0
    """The lowest recommendation of so many seconds holds. Example: 0."""
    pods: Annotated[int, Field(ge=1, le=1000)] = 4
    """Pods added per period. Example: 4."""
    percent: Annotated[int, Field(ge=1, le=1000)] = 100
    """Percent of the replicas added per period. Example: 100."""
    period_seconds: Annotated[int, Field(ge=1, le=1800)] = 15
    """Period, in seconds. Example: 15."""


class ScaleIn(Model):
    """Limits of scaling in."""

    window_seconds: Annotated[int, Field(ge=0, le=3600)] = 900
    """The highest recommendation of so many seconds holds. Example: 900."""
    pods: Annotated[int, Field(ge=1, le=1000)] = 1
    """Pods removed per period. Example: 1."""
    period_seconds: Annotated[int, Field(ge=1, le=1800)] = 60
    """Period, in seconds. Example: 60."""


class Scaling(Model):
    """Bounds, signals and speed of automatic scaling."""

    driver: Driver = Driver.BUILT_IN
    """BuiltIn: the scaler of this operator writes the scale subresource. KEDA: the operator creates a ScaledObject, and a
    HorizontalPodAutoscaler writes the number that the scaler recommends; needs KEDA 2.20 or later."""
    mode: Mode = Mode.ACT
    """Act, or Recommend: the decision is only reported in status.scaling. The bounds hold in both."""
    freeze: Freeze = Freeze.NONE
    """None, In (the scaler removes no replica) or All (it changes nothing). For an event or an incident. The bounds hold
    all the same: a changed minReplicas or maxReplicas is applied at once."""
    min_replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Minimum number of replicas. 0, for class Bronze and driver BuiltIn: the tier has no replica while no job and no question waits or runs (it goes after scaleIn.windowSeconds), and players are not counted. Example: 1."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)]
    """Maximum number of replicas. Example: 50."""
    queue: QueueSignal = QueueSignal()
    """The primary signal. Default: what a replica was measured to serve, or 8 questions."""
    gpu: GpuSignal | None = None
    """The secondary signal. Absent: GPU utilisation is not used."""
    latency_guard: LatencyGuard = LatencyGuard()
    """The guard. Default: 20 percent."""
    players: PlayersSignal = PlayersSignal()
    """The forecast. Default: 2 requests per player and minute."""
    schedule: Annotated[
        tuple[ScheduledFloor, ...], Field(max_length=16, json_schema_extra=list_map("name"))
    ] = ()
    """Announced events. Default: none."""
    scale_out: ScaleOut = ScaleOut()
    """Speed of scaling out. Default: 4 pods or 100 percent per 15 s, without a window."""
    scale_in: ScaleIn = ScaleIn()
    """Speed of scaling in. Default: 1 pod per minute, after 15 minutes."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.minReplicas <= self.maxReplicas", "minReplicas must not be above maxReplicas"),
        Rule(
            "!has(self.schedule) || self.schedule.all(e, e.minReplicas <= self.maxReplicas)",
            "schedule[].minReplicas must not be above maxReplicas",
        ),
    )


class ScalingSignal(Model):
    """One signal of a decision."""

    name: Text
    """queue, gpu, players, schedule, latency or engine. The last is what the engines themselves say; it asks for nothing."""
    value: Text
    """Its value. Example: 312."""
    target: Text
    """What the tier is scaled for. Example: 8 per replica."""
    wants: Annotated[int, Field(ge=0)]
    """Replicas that it asks for; 0 where it asks for none."""
    state: Text
    """Fresh, Stale, Missing or NotUsed. A stale or missing signal never removes a replica."""
    observed_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """Time of the measurement, in UTC. Absent: never measured."""


class ScalingChange(Model):
    """One change of the number of replicas."""

    at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """Time, in UTC."""
    from_: Annotated[int, Field(alias="from")]
    """Replicas before."""
    to: int
    """Replicas after."""
    reason: Text
    """The signal that asked for it. Example: queue."""


class ScalingStatus(Model):
    """The last scaling decision."""

    desired_replicas: Annotated[int, Field(ge=0)]
    """Replicas that the scaler decided on."""
    reason: Text
    """The signal that won. Example: players."""
    message: Annotated[str, Field(max_length=1024)]
    """The decision in one sentence, with its inputs."""
    limited: Text
    """DesiredWithinRange, TooFewReplicas, TooManyReplicas, ScaleUpLimit or ScaleDownLimit."""
    decided_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """Time of the decision, in UTC. Written at least every 30 s while the scaler runs."""
    requests_per_player_per_minute: Text | None = None
    """Engine requests per player and minute, as learned. Example: "1.35"."""
    players: Annotated[int, Field(ge=0)] | None = None
    """Players of the worlds that use this tier. Absent: unknown."""
    signals: Annotated[
        tuple[ScalingSignal, ...], Field(max_length=8, json_schema_extra=list_map("name"))
    ] = ()
    """The signals of the decision."""
    history: Annotated[tuple[ScalingChange, ...], Field(max_length=10)] = ()
    """The last ten changes, newest first."""
