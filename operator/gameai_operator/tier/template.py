"""PURE: the pod of a tier: vLLM's arguments, environment, probes, volumes and place.

Why it looks as it does (all observed on vLLM 0.32.0): the port is refused while a model loads, so a startup probe comes
first; `/health` answers 200 while draining, so an agent (before revision 5 a preStop sleep) takes the pod out of every
set before SIGTERM; the engine's death ends the process with exit code 0, so the pod's restart policy, not an exit code, brings it back.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from gameai_contract.names import TIER_LABEL, VLLM_CONTAINER, VLLM_PORT

from gameai_operator.api.engine import DEFAULT_IMAGE
from gameai_operator.api.model_files import EmptyDirectory
from gameai_operator.api.tier import ModelTier, ModelTierSpec
from gameai_operator.controller.manifest import Document
from gameai_operator.resources.pod_template import RESTRICTED, spread
from gameai_operator.tier import agent, external
from gameai_operator.tier.revisions import (
    AGENT_SINCE,
    REVISIONS,
    SETTINGS_SINCE,
    TENANTS_SINCE,
    Inputs,
    Profile,
)

ON_DEMAND = "on-demand"
SPOT = "spot"

USER = 2000
PRE_STOP_SECONDS = 5
_LOADS = 7
_PRE_STOP = f"""\
python3 -c "
import socket, sys
try:
    socket.create_connection(('127.0.0.1', {VLLM_PORT}), 1)
except ConnectionRefusedError:
    sys.exit({_LOADS})
"
if [ $? -eq {_LOADS} ]; then
  while :; do kill -9 -1 2>/dev/null; sleep 1; done
fi
sleep {PRE_STOP_SECONDS}
"""
# Measured: 5 to 12 s from the last answer to the end of the process.
TEARDOWN_SECONDS = 15
# A gateway drops idle connections after 60 s; vLLM must keep them longer than that, or one is reset under a request.
KEEP_ALIVE_SECONDS = 75
_PROBE_SECONDS = 5

_HOME = "/home/vllm"
_MODELS = "/models"
_SOURCE = "/source"


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """One of a tier's two sets of pods."""

    capacity: str
    labels: Mapping[str, str]


def template(tier: ModelTier, group: Group, inputs: Inputs) -> Document:
    """The pod template of a tier's Deployment."""
    spec = tier.spec
    profile = REVISIONS[inputs.revision][spec.class_]
    settings = inputs.revision >= SETTINGS_SINCE
    common = inputs.pods.labels if settings else {}
    fixed = inputs.pods.fixed_ids or not settings
    ids = {"runAsUser": USER, "runAsGroup": USER, "fsGroup": USER} if fixed else {}
    engine = _engine(tier, profile, inputs)
    elsewhere = spec.engine.external is not None
    return {
        "metadata": {
            "labels": {**common, **spec.pod_labels, **group.labels},
            "annotations": dict(spec.pod_annotations),
        },
        "spec": {
            "serviceAccountName": spec.service_account_name or tier.metadata.name,
            "automountServiceAccountToken": False,
            # A Service called `vllm` would set VLLM_PORT, which vLLM reads as its own.
            "enableServiceLinks": False,
            "imagePullSecrets": [{"name": each} for each in pull_secrets(spec, inputs)],
            "priorityClassName": spec.priority_class_name,
            "runtimeClassName": spec.hardware.runtime_class_name,
            "terminationGracePeriodSeconds": _grace_seconds(profile),
            "securityContext": {
                "runAsNonRoot": True,
                **ids,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "initContainers": []
            if elsewhere
            else [
                *(_cache_owner(spec, inputs) if settings and fixed else []),
                *_sidecars(tier, profile, inputs, engine),
            ],
            "containers": [engine],
            "volumes": [] if elsewhere else _volumes(tier, inputs),
            **placement(spec, group, inputs),
        },
    }


def arguments(tier: ModelTier, profile: Profile) -> list[str]:
    """The arguments after `vllm serve`: the model, what the operator owns, then the user's."""
    spec = tier.spec
    hub = spec.files.source.hugging_face
    buckets = {
        "request_latency": profile.latency_buckets,
        "time_to_first_token": profile.latency_buckets,
        "inter_token_latency": profile.token_buckets,
    }
    owned = {
        "--served-model-name": tier.metadata.name,
        "--port": VLLM_PORT,
        "--revision": hub.revision if hub else None,
        "--quantization": spec.files.quantization,
        "--max-model-len": spec.files.max_context_tokens,
        "--tensor-parallel-size": spec.gpus if spec.gpus > 1 else None,
        "--max-num-queued-reqs": profile.queued_requests,
        "--shutdown-timeout": profile.shutdown_seconds,
        "--custom-histogram-buckets": json.dumps(buckets, separators=(",", ":")),
    }
    given = [f"{flag}={value}" for flag, value in owned.items() if value is not None]
    # A kubelet would expand `$(NAME)` from the environment into a flag that was not checked.
    users = [each.replace("$(", "$$(") for each in spec.engine.effective_vllm.args]
    return [_model(spec), *given, *users]


def _model(spec: ModelTierSpec) -> str:
    source = spec.files.source
    if source.persistent_volume_claim:
        return f"{_SOURCE}/{source.persistent_volume_claim.path}"
    assert source.hugging_face is not None  # noqa: S101 - the schema allows one of two
    return source.hugging_face.repository


def _grace_seconds(profile: Profile) -> int:
    return PRE_STOP_SECONDS + profile.shutdown_seconds + TEARDOWN_SECONDS


def pull_secrets(spec: ModelTierSpec, inputs: Inputs) -> list[str]:
    """Names of pull Secrets: the tier's own, then those of the chart; each once."""
    chart = inputs.pods.pull_secrets if inputs.revision >= TENANTS_SINCE else ()
    return list(dict.fromkeys((*(each.name for each in spec.image_pull_secrets), *chart)))


def image(spec: ModelTierSpec, inputs: Inputs) -> str:
    """The tier's own image, or ours from the chart's registry."""
    named = spec.engine.effective_vllm.image
    ours = inputs.revision >= TENANTS_SINCE and named == DEFAULT_IMAGE
    return f"{inputs.pods.registry}/{named}" if ours and inputs.pods.registry else named


def start_seconds(spec: ModelTierSpec) -> int:
    """How long a pod may take to be ready, in seconds, from the start of its container."""
    if spec.engine.external is not None:
        return external.START_SECONDS
    return spec.engine.effective_vllm.start_timeout_seconds


def _engine(tier: ModelTier, profile: Profile, inputs: Inputs) -> Document:
    given = tier.spec.engine.external
    if given is None:
        return _container(tier, profile, inputs)
    return external.container(tier, given, inputs.agent_image, profile.shutdown_seconds)


def _container(tier: ModelTier, profile: Profile, inputs: Inputs) -> Document:
    spec = tier.spec
    return {
        "name": VLLM_CONTAINER,
        "image": image(spec, inputs),
        "command": ["vllm", "serve"],
        "args": arguments(tier, profile),
        "env": _environment(spec, inputs),
        "ports": [{"name": "http", "containerPort": VLLM_PORT, "protocol": "TCP"}],
        "resources": resources(spec, profile),
        **_probes(spec.engine.effective_vllm.start_timeout_seconds),
        **({"terminationMessagePolicy": "FallbackToLogsOnError"} if profile.last_words else {}),
        "lifecycle": {"preStop": _pre_stop(profile, inputs)},
        "securityContext": dict(RESTRICTED),
        "volumeMounts": _mounts(spec),
    }


def _sidecars(
    tier: ModelTier, profile: Profile, inputs: Inputs, engine: Document
) -> list[Document]:
    if inputs.revision < AGENT_SINCE:
        return []
    return [agent.sidecar(tier, inputs.agent_image, engine, profile.shutdown_seconds)]


def _cache_owner(spec: ModelTierSpec, inputs: Inputs) -> list[Document]:
    """A kubelet makes a folder of a node for root alone, where an engine without rights could keep nothing."""
    if not spec.files.effective_cache.host_path:
        return []
    return [
        {
            "name": "cache-owner",
            "image": image(spec, inputs),
            "command": ["chown", f"{USER}:{USER}", _MODELS],
            "resources": {
                "requests": {"cpu": "10m", "memory": "32Mi"},
                "limits": {"memory": "32Mi"},
            },
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": {
                "runAsUser": 0,
                "runAsNonRoot": False,
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]},
            },
            "volumeMounts": [{"name": "models", "mountPath": _MODELS}],
        }
    ]


def _pre_stop(profile: Profile, inputs: Inputs) -> Document:
    """What comes before SIGTERM: time for callers to look elsewhere; of an engine that loads, its end."""
    if inputs.revision >= AGENT_SINCE:
        return agent.pre_stop(profile.shutdown_seconds, PRE_STOP_SECONDS)
    if not profile.ends_loading:
        return {"sleep": {"seconds": PRE_STOP_SECONDS}}
    return {"exec": {"command": ["sh", "-c", _PRE_STOP]}}


def _environment(spec: ModelTierSpec, inputs: Inputs) -> list[Document]:
    hub = spec.files.source.hugging_face
    no_gpu = inputs.revision >= TENANTS_SINCE and not spec.gpus
    values = {
        "HOME": _HOME,
        "HF_HOME": _MODELS,
        "HF_HUB_OFFLINE": None if hub else "1",
        "HF_ENDPOINT": hub.endpoint if hub else None,
        "VLLM_ENGINE_READY_TIMEOUT_S": str(spec.engine.effective_vllm.start_timeout_seconds),
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(KEEP_ALIVE_SECONDS),
        "VLLM_NO_USAGE_STATS": "1",
        # Images of vLLM ask for all of a node's GPUs, which some runtimes give to pods that asked for none.
        "NVIDIA_VISIBLE_DEVICES": "void" if no_gpu else None,
    }
    entries: list[Document] = [{"name": k, "value": v} for k, v in values.items() if v is not None]
    if hub and hub.token_secret_ref:
        reference = {"name": hub.token_secret_ref.name, "key": hub.token_secret_ref.key}
        entries.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}})
    return entries + [
        {"name": each.name, "value": each.value} for each in spec.engine.effective_vllm.env
    ]


def resources(spec: ModelTierSpec, profile: Profile) -> Document:
    """Requests and limits of an engine. CPU is a request only, unless a limit is asked for: it would throttle the loop that feeds the GPU."""
    if spec.engine.external is not None:
        return external.resources(spec, spec.engine.external)
    hardware = spec.hardware
    memory = hardware.memory or profile.memory
    gpus = {hardware.gpu_resource: str(hardware.gpus)} if hardware.gpus else {}
    limit = {"cpu": hardware.cpu_limit} if hardware.cpu_limit else {}
    return {
        "requests": {"cpu": hardware.cpu or profile.cpu, "memory": memory, **gpus},
        "limits": {"memory": memory, **gpus, **limit},
    }


def _probes(start_timeout_seconds: int) -> Document:
    request = {"path": "/health", "port": "http", "scheme": "HTTP"}
    probe = {"httpGet": request, "periodSeconds": _PROBE_SECONDS, "timeoutSeconds": 3}
    return {
        "startupProbe": {**probe, "failureThreshold": -(-start_timeout_seconds // _PROBE_SECONDS)},
        "readinessProbe": {**probe, "failureThreshold": 2},
        "livenessProbe": {**probe, "failureThreshold": 6},
    }


def _host_folder(path: str, namespace: str, inputs: Inputs) -> str:
    """A folder of the namespace's own, below one that root alone may write to: no tenant changes another's weights."""
    return f"{path}/{namespace}" if inputs.revision >= TENANTS_SINCE else path


def _volumes(tier: ModelTier, inputs: Inputs) -> list[Document]:
    spec = tier.spec
    cache, claim = spec.files.effective_cache, spec.files.source.persistent_volume_claim
    files: Document
    if cache.persistent_volume_claim:
        files = {"persistentVolumeClaim": {"claimName": cache.persistent_volume_claim.claim_name}}
    elif cache.host_path:
        path = _host_folder(cache.host_path.path, tier.metadata.namespace, inputs)
        files = {"hostPath": {"path": path, "type": "DirectoryOrCreate"}}
    else:
        files = {"emptyDir": {"sizeLimit": (cache.empty_dir or EmptyDirectory()).size_limit}}
    source = {"claimName": claim.claim_name, "readOnly": True} if claim else None
    return [
        {"name": "models", **files},
        {"name": "home", "emptyDir": {"sizeLimit": "10Gi"}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "10Gi"}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
        *([{"name": "source", "persistentVolumeClaim": source}] if source else []),
    ]


def _mounts(spec: ModelTierSpec) -> list[Document]:
    source = spec.files.source.persistent_volume_claim
    return [
        {"name": "models", "mountPath": _MODELS},
        {"name": "home", "mountPath": _HOME},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the pod
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - a path inside the pod
        *([{"name": "source", "mountPath": _SOURCE, "readOnly": True}] if source else []),
    ]


def placement(spec: ModelTierSpec, group: Group, inputs: Inputs) -> Document:
    """Where pods of a group may run."""
    return {
        "nodeSelector": dict(spec.hardware.node_selector),
        "tolerations": _tolerations(spec),
        "affinity": _affinity(spec, group, inputs),
        "topologySpreadConstraints": spread({TIER_LABEL: group.labels[TIER_LABEL]}),
    }


def _tolerations(spec: ModelTierSpec) -> list[Document]:
    own = [
        {
            "key": each.key,
            "operator": each.operator.value,
            "value": each.value,
            "effect": each.effect.value if each.effect else None,
        }
        for each in spec.hardware.tolerations
    ]
    if not spec.gpus:
        return own
    gpu = {"key": spec.hardware.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}
    return [gpu, *own]


def _affinity(spec: ModelTierSpec, group: Group, inputs: Inputs) -> Document | None:
    """Nodes by capacity type and instance type, each only where it was asked for."""
    labels = inputs.capacity
    values = labels.spot if group.capacity == SPOT else labels.on_demand
    capacity = [(labels.label, values)] if spec.capacity.spot_percent else []
    types = spec.hardware.instance_types
    instance = [("node.kubernetes.io/instance-type", types)] if types else []
    wanted = [*capacity, *instance]
    if not wanted:
        return None
    terms = [{"key": key, "operator": "In", "values": list(each)} for key, each in wanted]
    required = {"nodeSelectorTerms": [{"matchExpressions": terms}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
