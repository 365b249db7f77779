"""PURE: the pod of a game service: image, environment, probes, volumes and place."""

from collections.abc import Mapping

from gameai_contract import names
from gameai_contract.knowledge import MEMORY_AUDIENCE
from gameai_contract.names import (
    BUS_AUDIENCE,
    BUS_TOKEN_ENVIRONMENT,
    BUS_TOKEN_KEY,
    CONFIG_ENVIRONMENT,
    CONFIG_FOLDER,
    CONFIG_KEY,
    HEALTH_PORT,
    MEMORY_TOKEN_ENVIRONMENT,
    MEMORY_TOKEN_KEY,
    NAMESPACE_ENVIRONMENT,
    SERVICE_CONTAINER,
    SERVICE_ENVIRONMENT,
    SERVICE_LABEL,
    SETTINGS_HASH_ENVIRONMENT,
    TOKEN_ENVIRONMENT,
    TOKEN_FOLDER,
    TOKEN_KEY,
    WORLD_ENVIRONMENT,
    WORLD_LABEL,
)
from gameai_contract.settings import settings_hash

from gameai_operator.api.service import Probe
from gameai_operator.api.world import GameWorld
from gameai_operator.controller.manifest import Document
from gameai_operator.resources import database
from gameai_operator.resources.pod_template import RESTRICTED, spread
from gameai_operator.resources.template_inputs import Inputs
from gameai_operator.world.catalogue import Effective, seed
from gameai_operator.world.revisions import (
    BUS_TOKEN_REVISION,
    GATEWAY_TOKEN_REVISION,
    MEMORY_TOKEN_REVISION,
)

# The user of our own image; own images bring theirs.
USER = 65532
GRACE_SECONDS = 45
_PATH_LIMIT = "1Gi"
_TMP_LIMIT = "64Mi"
_TOKEN = "gateway-token"  # noqa: S105 - a volume's name
_TOKEN_SECONDS = 3600
_TOKEN_MOUNT = {"name": _TOKEN, "mountPath": TOKEN_FOLDER, "readOnly": True}


def template(
    world: GameWorld, service: Effective, labels: Mapping[str, str], inputs: Inputs
) -> Document:
    """The pod template of a service's Deployment."""
    given = service.service
    # The first revision remembers no settings of the cluster.
    ours = service.module and (inputs.pods.fixed_ids or inputs.revision == 1)
    user = {"runAsUser": USER, "runAsGroup": USER} if ours else {}
    common = inputs.pods.labels if inputs.revision > 1 else {}
    return {
        "metadata": {"labels": {**common, **labels}},
        "spec": {
            "serviceAccountName": given.service_account_name or account_name(world),
            "automountServiceAccountToken": given.api_token
            or (
                inputs.revision < GATEWAY_TOKEN_REVISION and given.service_account_name is not None
            ),
            # Variables of every Service in the namespace could shadow a service's own.
            "enableServiceLinks": False,
            "imagePullSecrets": [{"name": each} for each in _pull_secrets(service, inputs)],
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": {
                "runAsNonRoot": True,
                **user,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [_container(world, service, inputs)],
            "volumes": [
                {"name": "world", "configMap": {"name": config_name(world)}},
                *([_token(inputs)] if inputs.revision >= GATEWAY_TOKEN_REVISION else []),
                *database.volumes(service.database.tls if service.database else None),
                *({"name": n, "emptyDir": {"sizeLimit": limit}} for n, _, limit in _paths(service)),
            ],
            "topologySpreadConstraints": spread(selector(world, service)),
        },
    }


def _pull_secrets(service: Effective, inputs: Inputs) -> list[str]:
    """The service's own, then those of the chart; each once."""
    own = [each.name for each in service.service.image_pull_secrets]
    chart = inputs.pods.pull_secrets if inputs.revision > 1 else ()
    return list(dict.fromkeys((*own, *chart)))


def account_name(world: GameWorld) -> str:
    """The world's own ServiceAccount."""
    return names.config_name(world.metadata.name)


def config_name(world: GameWorld) -> str:
    """The world's configuration object."""
    return names.config_name(world.metadata.name)


def selector(world: GameWorld, service: Effective) -> dict[str, str]:
    """The labels that find every pod of a service; fixed for life."""
    return {WORLD_LABEL: world.metadata.name, SERVICE_LABEL: service.name}


def _container(world: GameWorld, service: Effective, inputs: Inputs) -> Document:
    health = [{"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"}]
    return {
        "name": SERVICE_CONTAINER,
        "image": service.image or inputs.image,
        "command": ["python", "-m", service.module] if service.module else [],
        "env": _environment(world, service, inputs),
        "envFrom": [
            {"configMapRef": {"name": each.config_map_ref.name}}
            if each.config_map_ref
            else {"secretRef": {"name": each.secret_ref.name if each.secret_ref else ""}}
            for each in service.service.env_from
        ],
        "ports": [
            {"name": "grpc", "containerPort": service.port, "protocol": "TCP"},
            *(health if service.module else []),
        ],
        "resources": {
            "requests": {"cpu": service.cpu, "memory": service.memory},
            "limits": {"memory": service.memory, **_cpu_limit(service)},
        },
        **({"terminationMessagePolicy": "FallbackToLogsOnError"} if inputs.revision > 1 else {}),
        **_probes(service),
        "securityContext": dict(RESTRICTED),
        "volumeMounts": [
            {"name": "world", "mountPath": CONFIG_FOLDER, "readOnly": True},
            *([_TOKEN_MOUNT] if inputs.revision >= GATEWAY_TOKEN_REVISION else []),
            *database.mounts(service.database.tls if service.database else None),
            *({"name": name, "mountPath": path} for name, path, _ in _paths(service)),
        ],
    }


def _cpu_limit(service: Effective) -> Document:
    limit = service.service.resources.cpu_limit
    return {"cpu": limit} if limit else {}


def _token(inputs: Inputs) -> Document:
    """A token for each of the gateway, memories and the event bus, which the others do not accept; the kubelet renews them."""
    audiences = {TOKEN_KEY: inputs.pods.audience}
    if inputs.revision >= MEMORY_TOKEN_REVISION:
        audiences[MEMORY_TOKEN_KEY] = MEMORY_AUDIENCE
    if inputs.revision >= BUS_TOKEN_REVISION:
        audiences[BUS_TOKEN_KEY] = BUS_AUDIENCE
    tokens = [
        {"path": path, "audience": audience, "expirationSeconds": _TOKEN_SECONDS}
        for path, audience in audiences.items()
    ]
    sources = [{"serviceAccountToken": each} for each in tokens]
    return {"name": _TOKEN, "projected": {"sources": sources}}


def _environment(world: GameWorld, service: Effective, inputs: Inputs) -> list[Document]:
    """Ours, then the user's. The hash restarts pods when what they were started with changes, and only then."""
    values = {
        WORLD_ENVIRONMENT: world.metadata.name,
        NAMESPACE_ENVIRONMENT: world.metadata.namespace,
        SERVICE_ENVIRONMENT: service.name,
        CONFIG_ENVIRONMENT: f"{CONFIG_FOLDER}/{CONFIG_KEY}",
        SETTINGS_HASH_ENVIRONMENT: settings_hash(seed(world), service.settings),
    }
    if inputs.revision >= GATEWAY_TOKEN_REVISION:
        values[TOKEN_ENVIRONMENT] = f"{TOKEN_FOLDER}/{TOKEN_KEY}"
    if inputs.revision >= MEMORY_TOKEN_REVISION:
        values[MEMORY_TOKEN_ENVIRONMENT] = f"{TOKEN_FOLDER}/{MEMORY_TOKEN_KEY}"
    if inputs.revision >= BUS_TOKEN_REVISION:
        values[BUS_TOKEN_ENVIRONMENT] = f"{TOKEN_FOLDER}/{BUS_TOKEN_KEY}"
    own = [{"name": name, "value": value} for name, value in values.items()]
    given = [{"name": each.name, "value": each.value} for each in service.service.env]
    return [*own, *_database(service), *given]


def _database(service: Effective) -> list[Document]:
    """Of a service that keeps its state in one."""
    found = service.database
    if found is None:
        return []
    secret = found.secret_ref
    return database.environment(
        database.url(found.host, found.port, found.database, found.tls),
        database.from_secret(secret.name, secret.username_key),
        database.from_secret(secret.name, secret.password_key),
    )


def _probes(service: Effective) -> Document:
    if service.probe is Probe.NONE:
        return {}
    action: Document
    if service.module:
        ready: Document = {"httpGet": {"path": "/readyz", "port": "health", "scheme": "HTTP"}}
        action = {"httpGet": {"path": "/livez", "port": "health", "scheme": "HTTP"}}
    elif service.probe is Probe.GRPC:
        ready = action = {"grpc": {"port": service.port}}
    else:
        ready = action = {"tcpSocket": {"port": "grpc"}}
    every = {"periodSeconds": 5, "timeoutSeconds": 3}
    return {
        "startupProbe": {**ready, **every, "failureThreshold": 60},
        "readinessProbe": {**ready, **every, "failureThreshold": 2},
        "livenessProbe": {**action, **every, "failureThreshold": 6},
    }


def _paths(service: Effective) -> list[tuple[str, str, str]]:
    """Volume name, path and limit of every writable folder; /tmp always."""
    own = [each for each in service.service.writable_paths if each != "/tmp"]  # noqa: S108 - a path inside the pod
    given = [(f"writable-{number}", path, _PATH_LIMIT) for number, path in enumerate(own)]
    return [("tmp", "/tmp", _TMP_LIMIT), *given]  # noqa: S108 - same
