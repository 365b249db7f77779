"""PURE: the pod of a tier whose engine is a service elsewhere: it forwards requests, and holds the key."""

from collections.abc import Iterable

from gameai_contract.names import (
    EXTERNAL_CONTAINER,
    EXTERNAL_KEY_ENVIRONMENT,
    VLLM_PORT,
)

from gameai_operator.api.external import External
from gameai_operator.api.tier import ModelTier, ModelTierSpec
from gameai_operator.controller.manifest import Document
from gameai_operator.controller.pod_facts import Pod
from gameai_operator.resources import network_policy, tenant_policy
from gameai_operator.resources.pod_faults import Fault
from gameai_operator.resources.pod_template import RESTRICTED
from gameai_operator.resources.tenant_policy import NotAllowed
from gameai_operator.settings import Policy

# A start needs no download.
START_SECONDS = 120
# The first revision whose pods have an image of ours.
SINCE = 5
# A request and its answer, several times over.
_CPU, _MEMORY_MIB, _REQUEST_MIB = "50m", 160, 4
_WHERE = "spec.engine.external.openAI"


def container(tier: ModelTier, given: External, image: str, drain_seconds: int) -> Document:
    """The container that forwards; its key stands in no template."""
    return {
        "name": EXTERNAL_CONTAINER,
        "image": image,
        "command": ["python", "-m", "gameai.external_engine"],
        "args": _arguments(tier, given, drain_seconds),
        "env": _environment(given),
        "ports": [{"name": "http", "containerPort": VLLM_PORT, "protocol": "TCP"}],
        "resources": resources(tier.spec, given),
        **_probes(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "securityContext": dict(RESTRICTED),
    }


def resources(spec: ModelTierSpec, given: External) -> Document:
    """Requests and limits: `hardware.cpu` and `hardware.memory`, or what forwarding needs."""
    hardware = spec.hardware
    memory = hardware.memory or f"{_MEMORY_MIB + given.max_concurrent_requests * _REQUEST_MIB}Mi"
    limit = {"cpu": hardware.cpu_limit} if hardware.cpu_limit else {}
    return {
        "requests": {"cpu": hardware.cpu or _CPU, "memory": memory},
        "limits": {"memory": memory, **limit},
    }


def egress(namespace: str, given: External) -> list[Document]:
    """The service, and nothing else."""
    return [network_policy.to_host(namespace, *network_policy.place(given.open_ai.url))]


def fault(pods: Iterable[Pod]) -> Fault | None:
    """Pods that run and are not ready: only their log says why."""
    names = [each.name for each in pods if each.running and not (each.ready or each.terminating)]
    if not names:
        return None
    message = (
        "the service does not answer or refuses requests, or the budget is spent: "
        f"kubectl logs {min(names)} -c {EXTERNAL_CONTAINER}"
    )
    return Fault(reason="ExternalEngineNotReady", message=message)


def not_allowed(namespace: str, given: External, policy: Policy) -> tuple[NotAllowed | None, ...]:
    """What the cluster's owner does not let a tier ask for."""
    service = given.open_ai
    key = service.secret_ref
    host, _ = network_policy.place(service.url)
    outside = not network_policy.service_namespace(namespace, host)
    where = f"{_WHERE}.url {service.url}, outside of the cluster,"
    return (
        tenant_policy.secret(policy, f"{_WHERE}.secretRef.name", key.name) if key else None,
        tenant_policy.open_network(policy, where) if outside else None,
    )


def _arguments(tier: ModelTier, given: External, drain_seconds: int) -> list[str]:
    budget = given.budget
    found = {
        "--model": tier.metadata.name,
        "--url": given.open_ai.url,
        "--service-model": given.open_ai.model,
        "--token-limit": given.open_ai.token_limit.value,
        "--concurrent": str(given.max_concurrent_requests),
        "--drain-seconds": str(drain_seconds),
        "--usd-per-hour": budget.usd_per_hour if budget else None,
        "--input-usd": budget.input_usd_per_million_tokens if budget else None,
        "--output-usd": budget.output_usd_per_million_tokens if budget else None,
    }
    return [f"{flag}={value}" for flag, value in found.items() if value is not None]


def _environment(given: External) -> list[Document]:
    key = given.open_ai.secret_ref
    if key is None:
        return []
    reference = {"secretKeyRef": {"name": key.name, "key": key.key}}
    return [{"name": EXTERNAL_KEY_ENVIRONMENT, "valueFrom": reference}]


def _probes() -> Document:
    """A service that is away, or a budget that is spent, makes no pod start again."""
    every = {"periodSeconds": 5, "timeoutSeconds": 3}
    ready = {"httpGet": {"path": "/health", "port": "http", "scheme": "HTTP"}}
    live = {"httpGet": {"path": "/livez", "port": "http", "scheme": "HTTP"}}
    return {
        "startupProbe": {**live, **every, "failureThreshold": 24},
        "readinessProbe": {**ready, **every, "failureThreshold": 1},
        "livenessProbe": {**live, **every, "failureThreshold": 6},
    }
