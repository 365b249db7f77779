"""PURE: the ModelTier kind."""

from enum import StrEnum
from typing import Annotated, ClassVar

from gameai_contract.inference import MOST_DEADLINE_MS, LatencyClass
from pydantic import Field, StringConstraints

from gameai_operator.api.access import Access
from gameai_operator.api.base import (
    LIST_SET,
    Condition,
    EnvironmentVariable,
    LabelValue,
    LocalReference,
    Metadata,
    Model,
    ObjectName,
    Price,
    Quantity,
    Rule,
    Text,
    list_map,
)
from gameai_operator.api.model_files import ModelFiles

DEFAULT_IMAGE = "vllm/vllm-openai:v0.32.0"
DEFAULT_GPU_RESOURCE = "nvidia.com/gpu"

# Names that the operator sets itself, or that would open a door beside the fields.
RESERVED_ENVIRONMENT = (
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "HOME",
    "VLLM_API_KEY",
    "VLLM_ENGINE_READY_TIMEOUT_S",
    "VLLM_HTTP_TIMEOUT_KEEP_ALIVE",
    "VLLM_NO_USAGE_STATS",
)


def _reserved_rule() -> Rule:
    names = ", ".join(f"'{name}'" for name in RESERVED_ENVIRONMENT)
    return Rule(
        f"!has(self.env) || self.env.all(e, !e.name.startsWith('GAMEAI_') && !e.name.startsWith('NVIDIA_') && !(e.name in [{names}]))",
        "env must not set GAMEAI_*, NVIDIA_* (which could show a pod GPUs that it did not ask for), HOME, HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE, VLLM_API_KEY or a VLLM_* "
        "variable that the operator sets: use model.source, model.cache and startTimeoutSeconds",
        ".env",
        "FieldValueForbidden",
    )


class Vllm(Model):
    """vLLM pods that the operator runs."""

    image: Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^\S+$")] = (
        DEFAULT_IMAGE
    )
    """Container image; its tag tells which flags are known. Example: vllm/vllm-openai:v0.32.0."""
    args: Annotated[tuple[Annotated[str, Field(max_length=1024)], ...], Field(max_length=64)] = ()
    """Further arguments of `vllm serve`, in order; those that have a field of their own are refused. Default: none. Example: [--max-num-seqs=64]."""
    env: Annotated[
        tuple[EnvironmentVariable, ...], Field(max_length=64, json_schema_extra=list_map("name"))
    ] = ()
    """Environment variables, told apart by name. Default: none. Example: [{name: VLLM_LOGGING_LEVEL, value: DEBUG}]."""
    start_timeout_seconds: Annotated[int, Field(ge=30, le=7200)] = 1500
    """How long a pod may load before it is killed, in seconds: download, weights, compilation. Example: 1500."""
    rules: ClassVar[tuple[Rule, ...]] = (_reserved_rule(),)


class Engine(Model):
    """Who answers."""

    vllm: Vllm = Vllm()
    """vLLM pods that the operator runs. Default: vLLM's own image, no further arguments."""


class TolerationOperator(StrEnum):
    """How a toleration matches a taint."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """What a taint does."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(Model):
    """A taint that the pods put up with."""

    key: Text
    """Key of the taint. Example: dedicated."""
    operator: TolerationOperator = TolerationOperator.EXISTS
    """Exists (any value) or Equal (this value)."""
    value: LabelValue | None = None
    """Value of the taint; only with Equal. Example: inference."""
    effect: TaintEffect | None = None
    """Effect of the taint. Absent: every effect. Example: NoSchedule."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.operator == 'Equal' ? has(self.value) : !has(self.value)",
            "value goes with operator Equal, and only with it",
            ".value",
        ),
    )


class Hardware(Model):
    """What one replica needs."""

    gpus: Annotated[int, Field(ge=0, le=16)] = 1
    """GPUs of one replica; more than 1 splits the model over them (tensor parallelism), 0 is for CPU engines."""
    gpu_resource: Annotated[
        str, StringConstraints(max_length=253, pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")
    ] = DEFAULT_GPU_RESOURCE
    """Name of the GPU's extended resource; its taint of the same key is tolerated. Example: amd.com/gpu."""
    instance_types: Annotated[
        tuple[Text, ...], Field(max_length=32, json_schema_extra=LIST_SET)
    ] = ()
    """Instance types allowed, in order of price preference. Default: any. Example: [g5.xlarge, g6.xlarge]."""
    cpu: Quantity | None = None
    """CPU request of one replica, in cores; never a limit. Default by class: Gold 3, Silver and Bronze 6. Example: "3"."""
    cpu_limit: Quantity | None = None
    """CPU limit of one replica, in cores, for namespaces whose ResourceQuota or LimitRange wants one; it throttles the process that feeds the GPU. Default: none. Example: "8"."""
    memory: Quantity | None = None
    """Memory request and limit of one replica, in bytes. Default by class: Gold 11Gi, Silver and Bronze 24Gi. Example: 11Gi."""
    node_selector: Annotated[dict[str, LabelValue], Field(max_length=32)] = {}
    """Labels that a node must have. Default: none. Example: {workload: inference}."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=16)] = ()
    """Taints that the pods put up with, beside that of the GPU. Default: none. Example: [{key: dedicated}]."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass of the pods. Absent: the cluster's default. Example: nvidia."""


class Latency(Model):
    """How soon answers should come."""

    target_ms: Annotated[int, Field(ge=1, le=MOST_DEADLINE_MS)] | None = None
    """p95 of answers from the engine or a fresh cache as a client sees them, in milliseconds; the deadline of roles that give none. Default by class: Gold 16, Silver 250, Bronze 30000. Example: 16."""


class Capacity(Model):
    """Which share runs on spot nodes."""

    spot_percent: Annotated[int, Field(ge=0, le=100)] = 0
    """Share of the replicas on spot nodes, in percent, rounded down; 0 asks for no capacity type at all. Example: 80."""
    minimum_on_demand: Annotated[int, Field(ge=0, le=1000)] = 1
    """Replicas that are on demand whatever the share; as many (at least 1) must be ready for the tier to be Ready."""


class Rollout(Model):
    """How pods are replaced; one of a tier's two Deployments at a time."""

    max_surge: Annotated[int, Field(ge=0, le=50)] = 1
    """Pods above the wanted number during a roll-out; each needs a GPU of its own."""
    max_unavailable: Annotated[int, Field(ge=0, le=50)] = 0
    """Pods below the wanted number during a roll-out."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.maxSurge > 0 || self.maxUnavailable > 0",
            "maxSurge and maxUnavailable must not both be 0: no pod could ever be replaced",
        ),
    )


class InstancePrice(Model):
    """What one instance costs."""

    instance_type: Text
    """Instance type. Example: g5.xlarge."""
    on_demand_per_hour: Price
    """Price on demand, in USD per hour. Example: "1.006"."""
    spot_per_hour: Price | None = None
    """Spot price, in USD per hour. Absent: the price on demand. Example: "0.48"."""


_OWN_PREFIXES = "!k.startsWith('gameai.dev/') && !k.startsWith('app.kubernetes.io/')"


class ModelTierSpec(Model):
    """What is wanted: a model, a latency class, and the hardware it runs on."""

    class_: Annotated[LatencyClass, Field(alias="class")]
    """Latency class: Gold (real-time, under 16 ms), Silver (interactive, under 250 ms), Bronze (asynchronous). Immutable."""
    model: ModelFiles
    """What is served."""
    engine: Engine = Engine()
    """Who answers. Default: vLLM with its own image."""
    hardware: Hardware = Hardware()
    """What one replica needs. Default: one GPU, CPU and memory by class."""
    latency: Latency = Latency()
    """What answers are judged by. Default: by class."""
    capacity: Capacity = Capacity()
    """Which share runs on spot nodes. Default: none."""
    rollout: Rollout = Rollout()
    """How pods are replaced. Default: one more pod, never one less."""
    replicas: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Replicas wanted; the scale subresource writes here, so leave it out of Git when an autoscaler does. Absent: the operator fills in the number in use, 1 at first; to set it by server-side apply afterwards, use --force-conflicts once."""
    pricing: Annotated[
        tuple[InstancePrice, ...], Field(max_length=32, json_schema_extra=list_map("instanceType"))
    ] = ()
    """Prices that stand before the built-in table (us-east-1), told apart by instanceType. Default: the table."""
    access: Access = Access()
    """Worlds of which namespaces may use this tier; its own always. Default: {from: Same}."""
    template_revision: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Revision of the operator's pod template; raise it to take a newer one. Absent: the one in status is kept. Example: 1."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of the pods. Absent: one named after the tier is made, with no rights. Example: inference."""
    image_pull_secrets: Annotated[
        tuple[LocalReference, ...], Field(max_length=8, json_schema_extra=list_map("name"))
    ] = ()
    """Secrets for pulling the image. Default: none. Example: [{name: registry}]."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pods. Absent: the cluster's default. Example: inference."""
    pod_labels: Annotated[dict[str, LabelValue], Field(max_length=32)] = {}
    """Further labels of the pods. Default: none. Example: {team: npc}."""
    pod_annotations: Annotated[
        dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=32)
    ] = {}
    """Further annotations of the pods. Default: none. Example: {karpenter.sh/do-not-disrupt: "true"}."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.class == oldSelf.class",
            "class is immutable: make a new ModelTier and point the roles to it",
            ".class",
            "FieldValueForbidden",
        ),
        Rule(
            f"!has(self.podLabels) || self.podLabels.all(k, {_OWN_PREFIXES})",
            "podLabels must not use gameai.dev/ or app.kubernetes.io/: the operator sets them",
            ".podLabels",
            "FieldValueForbidden",
        ),
        Rule(
            f"!has(self.podAnnotations) || self.podAnnotations.all(k, {_OWN_PREFIXES})",
            "podAnnotations must not use gameai.dev/ or app.kubernetes.io/: the operator sets them",
            ".podAnnotations",
            "FieldValueForbidden",
        ),
    )


class CapacityStatus(Model):
    """Pods by the capacity they ask for."""

    on_demand: int
    """Pods of the on-demand Deployment."""
    spot: int
    """Pods of the spot Deployment."""
    any: int = 0
    """Pods that ask for no capacity type, as all do while capacity.spotPercent is 0: their nodes may be of either."""


class CostStatus(Model):
    """What the tier costs."""

    per_hour: Text
    """USD per hour of the pods that have a node, by the price table; pods of any capacity at the price on demand. Example: "2.892"."""
    wanted_per_hour: Text | None = None
    """USD per hour of the wanted replicas. Example: "3.898"."""
    instance_type: Text | None = None
    """Instance type whose price is taken: the first of hardware.instanceTypes with a known one, or the class's usual. Example: g5.xlarge."""


class ModelTierStatus(Model):
    """What is."""

    observed_generation: int | None = None
    """Generation of the spec that was last acted on; -1 before the first."""
    template_revision: int | None = None
    """Revision of the pod template in use."""
    operator: Annotated[str, Field(max_length=512)] | None = None
    """Operator that manages this tier, by namespace and name of its Lease. Example: gameai-system/gameai-operator."""
    wanted_replicas: int | None = None
    """Replicas last acted on; they stay where spec.replicas is left out."""
    replicas: int | None = None
    """Pods that exist."""
    ready_replicas: int | None = None
    """Pods that answer."""
    selector: Annotated[str, Field(max_length=1024)] | None = None
    """Label selector of the pods, for the scale subresource."""
    capacity: CapacityStatus | None = None
    """Pods by the capacity they ask for."""
    endpoint: Annotated[str, Field(max_length=512)] | None = None
    """Where the pods answer inside the cluster. Example: http://gold.eldermoor.svc:8000."""
    cost: CostStatus | None = None
    """What the tier costs; absent where no price is known."""
    conditions: Annotated[
        tuple[Condition, ...], Field(max_length=16, json_schema_extra=list_map("type"))
    ] = ()
    """Ready, Reconciling, Stalled, ArgumentsChecked."""


class ModelTier(Model):
    """A model served at a latency class."""

    metadata: Metadata
    """Names and generation."""
    spec: ModelTierSpec
    """What is wanted."""
    status: ModelTierStatus = ModelTierStatus()
    """What was last reported."""
