"""PURE: names, ports, labels, paths and environment variables that operator and workloads share."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

HEALTH_PORT = 8080
GRPC_PORT = 50051
VLLM_PORT = 8000
KEDA_PORT = 6000
POSTGRES_PORT = 5432
BUS_PORT = 4222
# The number of a port in a URL, as a regular expression.
PORT_PATTERN = (
    "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
)
VLLM_CONTAINER = "vllm"
# In pods of a tier whose engine is elsewhere.
EXTERNAL_CONTAINER = "external"
# The `app.kubernetes.io/name` of engine pods of every tier.
VLLM_NAME = "vllm"
# The same of the pods of a memory, and the name of their container.
MEMORY_NAME = "gameai-memory"
SERVICE_CONTAINER = "service"
# The sidecar of each engine, and its port, which also serves /livez, /readyz and /metrics.
AGENT_CONTAINER = "agent"
AGENT_PORT = HEALTH_PORT

LABEL_PREFIX = "gameai.dev"
TIER_LABEL = f"{LABEL_PREFIX}/tier"
CAPACITY_LABEL = f"{LABEL_PREFIX}/capacity"
WORLD_LABEL = f"{LABEL_PREFIX}/world"
SERVICE_LABEL = f"{LABEL_PREFIX}/service"
MODEL_REVISION_LABEL = f"{LABEL_PREFIX}/model-revision"
KNOWLEDGE_LABEL = f"{LABEL_PREFIX}/knowledge-base"
# Which of a knowledge base's pods it is: the database, the memory, or the name of a Job.
PART_LABEL = f"{LABEL_PREFIX}/part"
# On the pods that write and read archives.
ARCHIVES_LABEL = f"{LABEL_PREFIX}/archives"

ENVIRONMENT_PREFIX = "GAMEAI_"
WORLD_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}WORLD"
NAMESPACE_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}NAMESPACE"
POD_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}POD"
SERVICE_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}SERVICE"
CONFIG_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}CONFIG"
SETTINGS_HASH_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}SETTINGS_HASH"
DATABASE_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}DATABASE"
# The embedding service of a memory; without a URL it uses its own model.
EMBEDDING_URL_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}EMBEDDING_URL"
EMBEDDING_MODEL_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}EMBEDDING_MODEL"
EMBEDDING_DIMENSIONS_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}EMBEDDING_DIMENSIONS"
EMBEDDING_REQUEST_DIMENSIONS_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}EMBEDDING_REQUEST_DIMENSIONS"
# API key of a service elsewhere that answers for a tier.
EXTERNAL_KEY_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}EXTERNAL_API_KEY"
EMBEDDING_KEY_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}EMBEDDING_API_KEY"

# The folder, not the file: a file mounted alone is never updated.
CONFIG_FOLDER = "/etc/gameai"
# The token with which a world's service asks the gateway: its folder in the pod, and the file's name there.
TOKEN_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}GATEWAY_TOKEN"
TOKEN_FOLDER = "/var/run/gameai"  # noqa: S105 - a folder
TOKEN_KEY = "token"  # noqa: S105 - a file's name
TOKEN_AUDIENCE = "gameai-gateway"  # noqa: S105 - no token
# In the same folder: the token with which it asks the memory of its knowledge base.
MEMORY_TOKEN_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}MEMORY_TOKEN"
MEMORY_TOKEN_KEY = "memory-token"  # noqa: S105 - a file's name
# In the same folder: the token with which it connects to the bus.
BUS_TOKEN_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}BUS_TOKEN"
BUS_TOKEN_KEY = "bus-token"  # noqa: S105 - a file's name
BUS_AUDIENCE = "gameai-bus"
# Of the bus's controller: its servers, and the Secret with their credentials (`namespace/name`), for commands in its pod.
BUS_URL_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}BUS_URL"
BUS_SECRET_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}BUS_SECRET"
BUS_CA_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}BUS_CA"
CONFIG_KEY = "world.json"
# Beside it: the certificate of the gateways' authority.
GATEWAY_CA_KEY = "gateway-ca.crt"
# In the same place: the certificate of the bus's authority.
BUS_CA_KEY = "bus-ca.crt"
# A world's archetypes, checked by the operator: all files in one document.
ARCHETYPES_KEY = "archetypes.json"

# The pods of the gateway, in the operator's namespace.
GATEWAY_LABELS = MappingProxyType({"app.kubernetes.io/name": "gameai-gateway"})
# The servers of the event bus, in the operator's namespace.
BUS_LABELS = MappingProxyType({"app.kubernetes.io/name": "gameai-bus"})
# The pods of the scaler, in the operator's namespace.
SCALER_LABELS = MappingProxyType({"app.kubernetes.io/name": "gameai-scaler"})
# Who may call vLLM, which does not authenticate callers: the gateway, and Prometheus on the same port.
VLLM_CALLERS: tuple[Literal["Namespace", "Metrics", "Gateway"], ...] = ("Gateway", "Metrics")
MANAGED_BY = MappingProxyType({"app.kubernetes.io/managed-by": "gameai-operator"})
PART_OF = MappingProxyType({"app.kubernetes.io/part-of": "gameai"})


GROUP_PREFIX = f"{LABEL_PREFIX}/"


def selector(labels: Mapping[str, str]) -> str:
    """The label selector that finds what carries these labels, in order of their keys: the same text for the same labels."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def config_name(world: str) -> str:
    """A world's configuration object; its account and network policy too."""
    return f"{world}-world"


def archetypes_name(world: str) -> str:
    """The object with a world's archetypes, as they were last right."""
    return f"{world}-world-archetypes"


def listening(address: str, port: int) -> str:
    """An address for gRPC to listen on: empty is every one of this pod, and an IPv6 address stands in brackets."""
    if not address:
        return f"[::]:{port}"
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
