"""PURE: names and numbers that the operator and the workloads share; imports the standard library only."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from types import MappingProxyType
from typing import Literal

HEALTH_PORT = 8080
GRPC_PORT = 50051
VLLM_PORT = 8000
VLLM_CONTAINER = "vllm"
# What tells the pods of engines, of whichever tier.
VLLM_NAME = "vllm"
SERVICE_CONTAINER = "service"

LABEL_PREFIX = "gameai.dev"
TIER_LABEL = f"{LABEL_PREFIX}/tier"
CAPACITY_LABEL = f"{LABEL_PREFIX}/capacity"
WORLD_LABEL = f"{LABEL_PREFIX}/world"
SERVICE_LABEL = f"{LABEL_PREFIX}/service"
MODEL_REVISION_LABEL = f"{LABEL_PREFIX}/model-revision"

ENVIRONMENT_PREFIX = "GAMEAI_"
WORLD_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}WORLD"
NAMESPACE_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}NAMESPACE"
SERVICE_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}SERVICE"
CONFIG_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}CONFIG"
SETTINGS_HASH_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}SETTINGS_HASH"

# The folder, not the file: a file mounted alone is never updated.
CONFIG_FOLDER = "/etc/gameai"
# The token with which a world's service asks the gateway: its folder in the pod, and the file's name there.
TOKEN_ENVIRONMENT = f"{ENVIRONMENT_PREFIX}GATEWAY_TOKEN"
TOKEN_FOLDER = "/var/run/gameai"  # noqa: S105 - a folder
TOKEN_KEY = "token"  # noqa: S105 - a file's name
TOKEN_AUDIENCE = "gameai-gateway"  # noqa: S105 - no token
CONFIG_KEY = "world.json"
# Beside it: the certificate of the gateways' authority.
GATEWAY_CA_KEY = "gateway-ca.crt"
# A world's archetypes, checked by the operator: all files in one document.
ARCHETYPES_KEY = "archetypes.json"

# The pods of the gateway, in the operator's namespace.
GATEWAY_LABELS = MappingProxyType({"app.kubernetes.io/name": "gameai-gateway"})
# Who may call vLLM, which asks nobody for a name: the gateway, and those who read its metrics on the same port.
VLLM_CALLERS: tuple[Literal["Namespace", "Metrics", "Gateway"], ...] = ("Gateway", "Metrics")
# vLLM's batch slots where a tier's arguments name none, and its context where a tier names none.
DEFAULT_SLOTS = 128
DEFAULT_CONTEXT_TOKENS = 4096
# Most that a manifest, a laptop's file or a question may name; as the CRDs say.
MOST_DEADLINE_MS = 600_000
# Of one answer, and of one game server.
MOST_TOKENS = 2048
MOST_PLAYERS = 100_000
MOST_ROLES = 32
MOST_WEIGHT = 100
MOST_IN_FLIGHT = 4096

MANAGED_BY = MappingProxyType({"app.kubernetes.io/managed-by": "gameai-operator"})
PART_OF = MappingProxyType({"app.kubernetes.io/part-of": "gameai"})


GROUP_PREFIX = f"{LABEL_PREFIX}/"


def selector(labels: Mapping[str, str]) -> str:
    """The label selector that finds what carries these labels."""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def config_name(world: str) -> str:
    """A world's configuration object; its account and network policy too."""
    return f"{world}-world"


def archetypes_name(world: str) -> str:
    """The object with a world's archetypes, as they were last right."""
    return f"{world}-world-archetypes"


class LatencyClass(StrEnum):
    """How fast an answer is wanted."""

    GOLD = "Gold"
    SILVER = "Silver"
    BRONZE = "Bronze"


# What a tier promises where it says nothing else, in milliseconds.
TARGETS_MS = MappingProxyType(
    {LatencyClass.GOLD: 16, LatencyClass.SILVER: 250, LatencyClass.BRONZE: 30_000}
)


class Rung(StrEnum):
    """What may answer in the engine's place."""

    FRESH_CACHE = "FreshCache"
    STALE_CACHE = "StaleCache"
    DEFAULT = "Default"


# All of them, in the order in which they are asked where nothing else is said.
LADDER = (Rung.FRESH_CACHE, Rung.STALE_CACHE, Rung.DEFAULT)

_WORD = re.compile(r"[A-Za-z0-9-]{1,32}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One start-time setting of a service: its type, default and bounds, all as text.

    Words are a list with commas; `choices` bound a Choice, `least` and `most` an Integer or the number of Words.
    """

    kind: Literal["Choice", "Integer", "Words"]
    default: str
    text: str
    choices: tuple[str, ...] = ()
    least: int = 0
    most: int = 0

    def fault(self, value: str) -> str | None:
        """What is wrong with a value, as the end of a sentence; None if nothing is."""
        if self.kind == "Choice":
            return None if value in self.choices else f"must be one of {', '.join(self.choices)}"
        if self.kind == "Integer":
            good = value.isascii() and value.isdigit() and self.least <= int(value) <= self.most
            return None if good else f"must be a whole number from {self.least} to {self.most}"
        words = split_words(value)
        good = all(_WORD.fullmatch(word) for word in words)
        enough = self.least <= len(words) <= self.most and len(set(words)) == len(words)
        wanted = f"{self.least} to {self.most} different words of at most 32 letters, digits or '-'"
        return None if good and enough else f"must be {wanted}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogueService:
    """One built-in game service: its module, what a replica asks for, and its settings by name.

    `resources` are CPU and memory by the pod template's revision that brought them: a live world keeps those it has.
    """

    module: str
    text: str
    resources: Mapping[int, tuple[str, str]]
    settings: Mapping[str, Setting]

    def resources_of(self, revision: int) -> tuple[str, str]:
        """CPU and memory under a template revision."""
        return self.resources[max(each for each in self.resources if each <= revision)]

    def with_defaults(self, given: Mapping[str, str]) -> dict[str, str]:
        """Settings in full. A service fills them in itself, so that a default is its image's and no template's."""
        return {name: given.get(name, each.default) for name, each in self.settings.items()}


CATALOGUE: Mapping[str, CatalogueService] = MappingProxyType(
    {
        "time-manager": CatalogueService(
            module="gameai.services.time_manager",
            text="The world's calendar and the phases of its day.",
            resources=MappingProxyType({1: ("20m", "96Mi")}),
            settings=MappingProxyType(
                {
                    "dawnHour": Setting(
                        kind="Integer",
                        default="6",
                        least=1,
                        most=11,
                        text="Hour at which dawn begins.",
                    ),
                    "duskHour": Setting(
                        kind="Integer",
                        default="20",
                        least=13,
                        most=22,
                        text="Hour at which dusk begins.",
                    ),
                }
            ),
        ),
        "weather-manager": CatalogueService(
            module="gameai.services.weather_manager",
            text="The weather of the world's regions, and its forecast.",
            resources=MappingProxyType({1: ("20m", "96Mi")}),
            settings=MappingProxyType(
                {
                    "climate": Setting(
                        kind="Choice",
                        default="Temperate",
                        choices=("Temperate", "Maritime", "Arid", "Tropical", "Polar"),
                        text="What weather is likely in each season.",
                    ),
                    "regions": Setting(
                        kind="Words",
                        default="heartland",
                        least=1,
                        most=64,
                        text="Regions, each with a weather of its own.",
                    ),
                    "stepMinutes": Setting(
                        kind="Integer",
                        default="60",
                        least=10,
                        most=1440,
                        text="World minutes between two changes.",
                    ),
                }
            ),
        ),
    }
)


def split_words(value: str) -> tuple[str, ...]:
    """The words of a list with commas."""
    return tuple(word.strip() for word in value.split(",") if word.strip())


def settings_hash(seed: int, settings: Mapping[str, str]) -> str:
    """What a service was started with, in short: a pod waits until its configuration tells the same.

    Settings are those that were given: were defaults among them, a new one would restart every world.
    """
    text = json.dumps([seed, dict(settings)], sort_keys=True)
    return blake2b(text.encode(), digest_size=6).hexdigest()


def listening(address: str, port: int) -> str:
    """An address for gRPC to listen on: empty is every one of this pod, and an IPv6 address stands in brackets."""
    if not address:
        return f"[::]:{port}"
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
