"""PURE: the ModelTier kind."""

from enum import StrEnum
from typing import Annotated, ClassVar

from gameai_contract.inference import MOST_DEADLINE_MS, LatencyClass
from pydantic import Field, StringConstraints

from gameai_operator.api.access import Access
from gameai_operator.api.base import (
    LIST_SET,
    Condition,
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
from gameai_operator.api.engine import Engine, Vllm
from gameai_operator.api.model_files import ModelFiles
from gameai_operator.api.scaling import Scaling, ScalingStatus

DEFAULT_GPU_RESOURCE = "nvidia.com/gpu"


class TolerationOperator(StrEnum):
    """How a toleration matches a taint."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """Effect of a taint."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(Model):
    """A taint that the pods tolerate."""

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
    """Hardware of one replica."""

    gpus: Annotated[int, Field(ge=0, le=16)] = 1
    """GPUs of one replica. More than 1 splits the model by tensor parallelism; 0 is for CPU engines."""
    gpu_resource: Annotated[
        str, StringConstraints(max_length=253, pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")
    ] = DEFAULT_GPU_RESOURCE
    """Extended resource name of the GPU. The taint with the same key is tolerated. Example: amd.com/gpu."""
    instance_types: Annotated[
        tuple[Text, ...], Field(max_length=32, json_schema_extra=LIST_SET)
    ] = ()
    """Allowed instance types. The first one with a known price determines the reported cost. Default: any. Example: [g5.xlarge, g6.xlarge]."""
    cpu: Quantity | None = None
    """CPU request of one replica, in cores. No CPU limit is set from it. Default by class: Gold 3, Silver and Bronze 6. Example: "3"."""
    cpu_limit: Quantity | None = None
    """CPU limit of one replica, in cores, for namespaces where a ResourceQuota or LimitRange requires one. A limit can throttle the process that feeds the GPU. Default: none. Example: "8"."""
    memory: Quantity | None = None
    """Memory request and limit of one replica, in bytes. Default by class: Gold 11Gi, Silver and Bronze 24Gi. Example: 11Gi."""
    node_selector: Annotated[dict[str, LabelValue], Field(max_length=32)] = {}
    """Node labels that the pods require. Default: none. Example: {workload: inference}."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=16)] = ()
    """Taints that the pods tolerate, in addition to the taint of the GPU. Default: none. Example: [{key: dedicated}]."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass of the pods. Absent: the cluster's default. Example: nvidia."""


class Latency(Model):
    """Latency target."""

    target_ms: Annotated[int, Field(ge=1, le=MOST_DEADLINE_MS)] | None = None
    """Target p95 latency of responses from the engine or a fresh cache, measured at the gateway, in milliseconds. Also the default deadline of roles. Default by class: Gold 16, Silver 250, Bronze 30000. Example: 16."""


class Capacity(Model):
    """Split between on-demand and spot nodes."""

    spot_percent: Annotated[int, Field(ge=0, le=100)] = 0
    """Percentage of replicas on spot nodes, rounded down. With 0 the pods do not select a capacity type. Example: 80."""
    minimum_on_demand: Annotated[int, Field(ge=0, le=1000)] = 1
    """Minimum number of on-demand replicas, regardless of spotPercent. The tier is Ready when this many replicas (at least 1) are ready."""
    lend_after_seconds: Annotated[int, Field(ge=0, le=86_400)] = 90
    """Time that a spot replica may wait for a node, in seconds. After it another one runs on demand in its place, until the spot replica has a node. 0 switches that off. Example: 90."""
    headroom_replicas: Annotated[int, Field(ge=0, le=50)] = 0
    """Number of placeholder pods of low priority. Each holds a node for a replica to come, with the images pulled, and costs as much as a replica. At most what is left up to scaling.maxReplicas. Example: 2."""


class Rollout(Model):
    """How pods are replaced. The two Deployments of a tier are updated one after the other."""

    max_surge: Annotated[int, Field(ge=0, le=50)] = 1
    """Maximum number of pods above the desired number during a rollout. Each needs its own GPU."""
    max_unavailable: Annotated[int, Field(ge=0, le=50)] = 0
    """Maximum number of pods below the desired number during a rollout."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.maxSurge > 0 || self.maxUnavailable > 0",
            "maxSurge and maxUnavailable must not both be 0, because then no pod can be replaced",
        ),
    )


class InstancePrice(Model):
    """Price of an instance type."""

    instance_type: Text
    """Instance type. Example: g5.xlarge."""
    on_demand_per_hour: Price
    """On-demand price, in USD per hour. Example: "1.006"."""
    spot_per_hour: Price | None = None
    """Spot price, in USD per hour. Absent: the on-demand price. Example: "0.48"."""


_HAS_EXTERNAL = "(has(self.engine) && has(self.engine.external))"
_OWN_PREFIXES = "!k.startsWith('gameai.dev/') && !k.startsWith('app.kubernetes.io/')"


class ModelTierSpec(Model):
    """Desired state: a model, a latency class, and the hardware it runs on."""

    class_: Annotated[LatencyClass, Field(alias="class")]
    """Latency class: Gold (real-time, under 16 ms), Silver (interactive, under 250 ms), Bronze (asynchronous). Immutable."""
    model: ModelFiles | None = None
    """The model and its files. Required, unless engine.external is set. Example: {source: {huggingFace: {repository: Qwen/Qwen2.5-3B-Instruct-AWQ}}}."""
    engine: Engine = Engine(vllm=Vllm())
    """The inference engine. Default: vLLM with the image of the vLLM project."""
    hardware: Hardware = Hardware()
    """Hardware of one replica. Default: one GPU; CPU and memory by class."""
    latency: Latency = Latency()
    """Latency target. Default: by class."""
    capacity: Capacity = Capacity()
    """Split between on-demand and spot nodes. Default: no capacity type is selected."""
    rollout: Rollout = Rollout()
    """How pods are replaced. Default: maxSurge 1, maxUnavailable 0."""
    replicas: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Desired replicas. The scale subresource writes this field: omit it in Git if an autoscaler is used. Absent: the operator fills in the current number, initially 1. To set it later by server-side apply, use --force-conflicts once."""
    scaling: Scaling | None = None
    """Automatic scaling between bounds. Absent: the number of replicas is fixed."""
    pricing: Annotated[
        tuple[InstancePrice, ...], Field(max_length=32, json_schema_extra=list_map("instanceType"))
    ] = ()
    """Prices that override the built-in table (us-east-1), keyed by instanceType. Default: the built-in table."""
    access: Access = Access()
    """Namespaces whose GameWorlds may reference this tier. The tier's own namespace is always allowed. Default: {from: Same}."""
    template_revision: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Revision of the operator's pod template. A higher revision restarts the pods. Absent: the revision in status is kept. Example: 1."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of the pods. Absent: the operator creates one named after the tier, without permissions. Example: inference."""
    image_pull_secrets: Annotated[
        tuple[LocalReference, ...], Field(max_length=8, json_schema_extra=list_map("name"))
    ] = ()
    """Image pull Secrets. Default: none. Example: [{name: registry}]."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pods. Absent: the cluster's default. Example: inference."""
    pod_labels: Annotated[dict[str, LabelValue], Field(max_length=32)] = {}
    """Additional labels of the pods. Default: none. Example: {team: npc}."""
    pod_annotations: Annotated[
        dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=32)
    ] = {}
    """Additional annotations of the pods. Default: none. Example: {karpenter.sh/do-not-disrupt: "true"}."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.class == oldSelf.class",
            "class is immutable: create a new ModelTier and change tierRef of the roles",
            ".class",
            "FieldValueForbidden",
        ),
        Rule(
            "!has(self.scaling) || !has(self.scaling.minReplicas) || self.scaling.minReplicas > 0 || (self.class == 'Bronze' && (!has(self.scaling.driver) || self.scaling.driver == 'BuiltIn'))",
            "scaling.minReplicas 0 needs class Bronze and scaling.driver BuiltIn: set it to 1 or more",
            ".scaling.minReplicas",
        ),
        Rule(
            "has(self.model) != (has(self.engine) && has(self.engine.external))",
            "model is required, and must be absent with engine.external, which names its own model",
            ".model",
        ),
        Rule(
            f"!{_HAS_EXTERNAL} || self.class == 'Bronze'",
            "engine.external needs class Bronze: answers of other networks take seconds",
            ".engine.external",
        ),
        Rule(
            f"!{_HAS_EXTERNAL} || !has(self.scaling)",
            "scaling does not go with engine.external: set replicas and engine.external.maxConcurrentRequests",
            ".scaling",
        ),
        Rule(
            f"!{_HAS_EXTERNAL} || !has(self.capacity) || !has(self.capacity.headroomReplicas) || self.capacity.headroomReplicas == 0",
            "capacity.headroomReplicas does not go with engine.external, whose pods need no GPU: remove it",
            ".capacity.headroomReplicas",
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

    @property
    def files(self) -> ModelFiles:
        """The model's files, of a tier of vLLM. The schema requires them there."""
        assert self.model is not None  # noqa: S101 - the schema allows it with engine.external alone
        return self.model

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return 0 if self.engine.external else self.hardware.gpus


class CapacityStatus(Model):
    """Number of pods by requested capacity type."""

    on_demand: int
    """Pods of the on-demand Deployment."""
    spot: int
    """Pods of the spot Deployment."""
    any: int = 0
    """Pods that do not select a capacity type (capacity.spotPercent is 0). They may run on any node."""
    lent: int = 0
    """On-demand pods that stand in for spot replicas without a node."""
    headroom: int = 0
    """Placeholder pods with a node (capacity.headroomReplicas)."""


class CostStatus(Model):
    """Cost of the tier."""

    per_hour: Text
    """Cost of the scheduled pods, placeholders included, by the price table, in USD per hour. Pods without a capacity type count at the on-demand price. Example: "2.892"."""
    wanted_per_hour: Text | None = None
    """Cost of the desired replicas and placeholders, in USD per hour. Example: "3.898"."""
    instance_type: Text | None = None
    """Instance type that the cost is based on: the first of hardware.instanceTypes with a known price, or the default of the class. Example: g5.xlarge."""


class PerformanceStatus(Model):
    """What one replica can do, as measured with synthetic questions: at Gold one of eight actions, else 64 tokens. Tiers with a latency target above 1,000 ms are not measured."""

    template_hash: Text
    """Hash of everything the engine was started with: image, arguments, environment and resources."""
    gpu_product: Text
    """Product name of the GPUs, or "unknown". Example: NVIDIA A10G."""
    target_ms: int
    """Latency target of the measurement, in milliseconds. Another latency.targetMs makes another measurement."""
    requests_per_second: Text
    """Requests per second with p95 within the target. Example: "61.50"."""
    concurrency: int
    """Concurrent requests at that rate. Example: 16."""
    idle_p95_ms: Text
    """p95 of one request at a time, in milliseconds. Example: "11.2"."""
    measured_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """Time of the measurement, in UTC."""


class ModelTierStatus(Model):
    """Observed state, written by the operator."""

    observed_generation: int | None = None
    """Generation of the spec that was last reconciled; -1 before the first reconcile."""
    template_revision: int | None = None
    """Revision of the pod template in use."""
    operator: Annotated[str, Field(max_length=512)] | None = None
    """Lease (namespace/name) of the operator that manages this tier. Example: gameai-system/gameai-operator."""
    wanted_replicas: int | None = None
    """Desired replicas of the last reconcile. Used if spec.replicas is absent."""
    replicas: int | None = None
    """Number of existing pods."""
    ready_replicas: int | None = None
    """Number of ready pods."""
    selector: Annotated[str, Field(max_length=1024)] | None = None
    """Label selector of the pods, for the scale subresource."""
    capacity: CapacityStatus | None = None
    """Number of pods by requested capacity type."""
    endpoint: Annotated[str, Field(max_length=512)] | None = None
    """URL of the tier inside the cluster. Example: http://gold.eldermoor.svc:8000."""
    cost: CostStatus | None = None
    """Cost of the tier. Absent if no price is known."""
    scaling: ScalingStatus | None = None
    """The last scaling decision, written by the scaler. Absent without spec.scaling."""
    performance: Annotated[
        tuple[PerformanceStatus, ...],
        Field(max_length=8, json_schema_extra=list_map("templateHash", "gpuProduct")),
    ] = ()
    """Measured capacity of a replica, written by the scaler, which has one replica measured while at least two are ready and have room. Absent without spec.scaling."""
    conditions: Annotated[
        tuple[Condition, ...], Field(max_length=16, json_schema_extra=list_map("type"))
    ] = ()
    """Ready, Reconciling, Stalled, ArgumentsChecked; of a tier that is scaled also ScalingActive and WithinLatency."""


class ModelTier(Model):
    """A model served at a latency class."""

    metadata: Metadata
    """Object metadata."""
    spec: ModelTierSpec
    """Desired state."""
    status: ModelTierStatus = ModelTierStatus()
    """Observed state, written by the operator."""
