"""PURE: the configuration document of a world, as its services read it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from gameai_contract.world_time import Anchor, parse_anchor

_MOST_SHOWN = 64
_PREFIX = "no configuration of a world:"
_CLOCKS = ("clock", "clock.anchors")
_CLOCK = '"clock": {"anchors": [{"effectiveAt": "2026-11-22T09:00:00Z", "worldSeconds": "0", "speed": "1", "dayLengthMinutes": 48}]}'


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
    # Names of the services whose events it consumes.
    consumes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class BusConfig:
    """Where the event bus is (`host:port`), and the identity of the world there: its UID, and the knowledge base that it may use."""

    endpoint: str
    world: str
    # `<namespace>/<name>`; empty if absent.
    knowledge_base: str = ""


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
    # None: the cluster has no event bus.
    bus: BusConfig | None = None


class _Part(BaseModel):
    """An object of the document; keys of a newer operator are passed over."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)


class _Clock(_Part):
    anchors: list[dict[str, Any]] = Field(min_length=1)


class _Role(_Part):
    tier: str
    namespace: str
    endpoint: str = ""


def _text(value: object) -> object:
    """Whole numbers are texts without quotes, as in a manifest."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class _Service(_Part):
    # A key that is not known is refused in a document that a person wrote.
    model_config = ConfigDict(alias_generator=to_camel, extra="allow", frozen=True)

    endpoint: str = ""
    settings: dict[str, Annotated[str, BeforeValidator(_text)]] = {}
    settings_hash: str = ""
    consumes: tuple[str, ...] = ()


class _Place(_Part):
    endpoint: str = ""


class _Bus(_Part):
    endpoint: str
    world: str
    knowledge_base: str = ""


class _Document(_Part):
    world: str
    namespace: str
    seed: int
    clock: _Clock
    roles: dict[str, _Role] = {}
    services: dict[str, _Service] = {}
    gateway: _Place = _Place()
    memory: _Place = _Place()
    bus: _Bus | None = None


def parse(text: str, *, by_hand: bool = False) -> WorldConfig:
    """The configuration that a document holds. Raises `ConfigError`, which names the first field that is wrong.

    `by_hand`: a person wrote it, for one process, and may leave out roles, gateway, memory, and all of a service but its
    name. What the operator writes is whole: a part that is missing was lost.
    """
    try:
        found = _Document.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(_fault(error)) from error
    fault = _unknown(found) if by_hand else _missing(found)
    if fault:
        raise ConfigError(f"{_PREFIX} {fault}")
    return WorldConfig(
        world=found.world,
        namespace=found.namespace,
        seed=found.seed,
        anchors=_anchors(found.clock.anchors),
        roles={name: RoleConfig(**dict(each)) for name, each in found.roles.items()},
        services={name: _service(each) for name, each in found.services.items()},
        gateway=found.gateway.endpoint,
        memory=found.memory.endpoint,
        bus=BusConfig(**dict(found.bus)) if found.bus else None,
    )


def _service(found: _Service) -> ServiceConfig:
    return ServiceConfig(
        endpoint=found.endpoint,
        settings=found.settings,
        settings_hash=found.settings_hash,
        consumes=found.consumes,
    )


def _missing(found: _Document) -> str:
    """The first part that the operator always writes, and that is not there."""
    parts: list[tuple[str, BaseModel, set[str]]] = [("", found, {"roles", "services"})]
    parts += [(f"roles.{_shown(name)}.", each, {"endpoint"}) for name, each in found.roles.items()]
    own = {"endpoint", "settings", "settings_hash"}
    parts += [(f"services.{_shown(name)}.", each, own) for name, each in found.services.items()]
    gone = [
        f"{where}{to_camel(field)} is missing"
        for where, part, fields in parts
        for field in sorted(fields - part.model_fields_set)
    ]
    return gone[0] if gone else ""


def _unknown(found: _Document) -> str:
    known = ", ".join(map(to_camel, _Service.model_fields))
    for name, each in found.services.items():
        for key in each.model_extra or {}:
            return f"services.{_shown(name)}.{_shown(key)} is not known (known: {known})"
    return ""


def _anchors(documents: Sequence[Mapping[str, Any]]) -> tuple[Anchor, ...]:
    found: list[Anchor] = []
    for number, each in enumerate(documents):
        where = f"{_PREFIX} clock.anchors.{number}:"
        try:
            found.append(parse_anchor(each))
        except KeyError as error:
            raise ConfigError(f"{where} {error.args[0]} is missing") from error
        except ValueError as error:
            raise ConfigError(f"{where} {error}") from error
        if number and found[-1].effective_at < found[-2].effective_at:
            raise ConfigError(f"{where} effectiveAt must not be before that of the anchor before")
    return tuple(found)


def _fault(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(_shown, first["loc"]))
    # Of all parts this one is the hardest to write without an example.
    example = f"; for example {_CLOCK}" if first["type"] == "missing" and where in _CLOCKS else ""
    return f"{_PREFIX} {where}: {first['msg']}{example}" if where else f"{_PREFIX} {first['msg']}"


def _shown(key: object) -> str:
    """A key of the document, as it may stand in a line of a log."""
    return str(key).encode("unicode_escape").decode()[:_MOST_SHOWN]
