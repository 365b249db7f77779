"""PURE: the configuration document of a world, as its services read it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gameai_contract.world_time import Anchor, parse_anchor


class ConfigError(ValueError):
    """The text is not a valid world configuration; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoleConfig:
    """The tier of a role; `endpoint` is empty while the tier does not exist."""

    tier: str
    namespace: str
    endpoint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceConfig:
    """A service of the world: where it answers, and what it was started with."""

    endpoint: str
    settings: Mapping[str, str]
    settings_hash: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldConfig:
    """All that a service knows of its world; `anchors` are in order and never empty."""

    world: str
    namespace: str
    seed: int
    anchors: tuple[Anchor, ...]
    roles: Mapping[str, RoleConfig]
    services: Mapping[str, ServiceConfig]
    # Where the gateways are, `host:port`; empty if absent.
    gateway: str = ""
    # Where the memory of its knowledge base answers, `host:port`; empty if absent.
    memory: str = ""


def parse(text: str) -> WorldConfig:
    """The configuration that a document holds; keys of a newer operator are passed over. Raises `ConfigError`."""
    try:
        document = json.loads(text)
        made = WorldConfig(
            world=document["world"],
            namespace=document["namespace"],
            seed=int(document["seed"]),
            anchors=tuple(parse_anchor(each) for each in document["clock"]["anchors"]),
            roles={name: _role(each) for name, each in document["roles"].items()},
            services={name: _service(each) for name, each in document["services"].items()},
            gateway=str(document.get("gateway", {}).get("endpoint", "")),
            memory=str(document.get("memory", {}).get("endpoint", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise ConfigError(
            f"no configuration of a world: {type(error).__name__}: {error}"
        ) from error
    times = [each.effective_at for each in made.anchors]
    if not times or times != sorted(times):
        raise ConfigError("clock.anchors must hold at least one anchor, and be in order")
    return made


def _role(document: Mapping[str, Any]) -> RoleConfig:
    return RoleConfig(
        tier=document["tier"], namespace=document["namespace"], endpoint=document["endpoint"]
    )


def _service(document: Mapping[str, Any]) -> ServiceConfig:
    return ServiceConfig(
        endpoint=document["endpoint"],
        settings=dict(document["settings"]),
        settings_hash=document["settingsHash"],
    )
