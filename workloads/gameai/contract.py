"""PURE: names and numbers that the operator and the workloads share; imports the standard library only."""

from types import MappingProxyType

HEALTH_PORT = 8080
VLLM_PORT = 8000
VLLM_CONTAINER = "vllm"

LABEL_PREFIX = "gameai.dev"
TIER_LABEL = f"{LABEL_PREFIX}/tier"
CAPACITY_LABEL = f"{LABEL_PREFIX}/capacity"

ENVIRONMENT_PREFIX = "GAMEAI_"

MANAGED_BY = MappingProxyType({"app.kubernetes.io/managed-by": "gameai-operator"})
PART_OF = MappingProxyType({"app.kubernetes.io/part-of": "gameai"})
