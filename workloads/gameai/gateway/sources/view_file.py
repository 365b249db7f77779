"""PURE: tiers and worlds from one YAML file, for laptops and tests: what the gateway finds by watch in a cluster."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Self

import yaml
from gameai_contract import archetypes
from gameai_contract.archetypes import ArchetypeError
from gameai_contract.inference import (
    DEFAULT_CONTEXT_TOKENS,
    FALLBACK_CHAIN,
    MOST_DEADLINE_MS,
    MOST_IN_FLIGHT,
    MOST_WEIGHT,
    TARGETS_MS,
    FallbackStep,
    LatencyClass,
)
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from gameai.gateway.routing.archetypes import NONE, Archetypes
from gameai.gateway.routing.snapshot import Endpoint, RoleView, TierView, View, WorldView
from gameai.gateway.sources import manifests
from gameai.gateway.sources.manifests import ManifestError

_MOST_PORT = 65_535


def _port(address: str) -> str:
    if int(address.rpartition(":")[2]) > _MOST_PORT:
        raise ValueError(f"{address}: a port is at most {_MOST_PORT}")
    return address


Name = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$")]
Address = Annotated[
    str, Field(pattern=r"^(\[[0-9a-f:]+\]|[A-Za-z0-9.-]+):[1-9][0-9]{0,4}$"), AfterValidator(_port)
]


class ViewError(ValueError):
    """The file is not a valid view; the message names the error."""


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class _Tier(_Part):
    name: Name
    namespace: Name = "default"
    tier_class: LatencyClass = Field(alias="class")
    model: str = Field("", description="Name of the model; the tier's.", max_length=128)
    target_ms: int | None = Field(None, ge=1, le=MOST_DEADLINE_MS)
    slots: int = Field(64, ge=1, le=MOST_IN_FLIGHT, description="Requests at once at one replica.")
    context_tokens: int = Field(DEFAULT_CONTEXT_TOKENS, ge=16, le=1_048_576)
    endpoints: Annotated[list[Address], Field(max_length=100)] = []

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    def view(self) -> TierView:
        return TierView(
            key=self.key,
            tier_class=self.tier_class,
            model=self.model or self.name,
            target_ms=self.target_ms or TARGETS_MS[self.tier_class],
            slots=self.slots,
            context_tokens=self.context_tokens,
            endpoints=tuple(Endpoint(address=each) for each in self.endpoints),
        )


class _Share(_Part):
    weight: int = Field(1, ge=1, le=MOST_WEIGHT)
    max_in_flight: int = Field(64, ge=1, le=MOST_IN_FLIGHT)


class _Role(_Part):
    name: Name
    tier: str = Field(description="`namespace/name`, or a name in the world's namespace.")
    deadline_ms: int | None = Field(None, ge=1, le=MOST_DEADLINE_MS)
    fallback: Annotated[list[FallbackStep], Field(max_length=3)] | None = None
    deferred_to: str = ""
    share: _Share = _Share()


class _World(_Part):
    name: Name
    namespace: Name = "default"
    epoch: str = Field("1", max_length=64)
    roles: Annotated[list[_Role], Field(min_length=1, max_length=64)]
    archetypes: str = Field(
        "", description="Path of an archetype document, from this file's folder."
    )
    callers: Annotated[list[str], Field(max_length=64)] = []

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = {role.name for role in self.roles}
        for role in self.roles:
            if role.deferred_to and (
                role.deferred_to not in names or role.deferred_to == role.name
            ):
                raise ValueError(f"role {role.name}: deferredTo names no other role of the world")
        return self


class _File(_Part):
    tiers: Annotated[list[_Tier], Field(max_length=100)]
    worlds: Annotated[list[_World], Field(max_length=1000)]
    gateways: int = Field(1, ge=1, le=100, description="Gateways that share the tiers' slots.")


def parse(
    text: str,
    read: Callable[[str], str],
    endpoints: manifests.Endpoints = MappingProxyType({}),
) -> View:
    """The view of a file: Kubernetes manifests, with `endpoints` for their tiers, or the short form.

    `read` gives the text of another file by its path. Raises `ViewError`.
    """
    try:
        documents = list(yaml.safe_load_all(text))
        if manifests.is_manifests(documents):
            return manifests.parse(documents, endpoints)
        if endpoints:
            raise ViewError("--endpoint needs manifests: this file has its own endpoints")
        held = _File.model_validate(documents[0] if len(documents) == 1 else None)
    except ManifestError as error:
        raise ViewError(str(error)) from error
    except ViewError:
        raise
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ViewError(f"{place or 'the file'}: {first['msg']}") from error
    except (yaml.YAMLError, ValueError, ArithmeticError, RecursionError) as error:
        raise ViewError(f"no YAML: {str(error)[:200] or type(error).__name__}") from error
    tiers = {each.key: each.view() for each in held.tiers}
    return View(
        tiers=tiers,
        worlds={each.key: _world_view(each, tiers, read) for each in held.worlds},
        gateways=held.gateways,
    )


def _world_view(
    world: _World, tiers: Mapping[str, TierView], read: Callable[[str], str]
) -> WorldView:
    return WorldView(
        key=world.key,
        epoch=world.epoch,
        roles={role.name: _role_view(world, role, tiers) for role in world.roles},
        archetypes=_archetypes(world, read),
        callers=frozenset(world.callers),
    )


def _role_view(world: _World, role: _Role, tiers: Mapping[str, TierView]) -> RoleView:
    key = role.tier if "/" in role.tier else f"{world.namespace}/{role.tier}"
    tier = tiers.get(key)
    if tier is None:
        there = ", ".join(sorted(tiers)) or "none"
        raise ViewError(f"worlds.{world.key}.roles.{role.name}: tier {key} does not exist: {there}")
    return RoleView(
        name=role.name,
        tier=key,
        deadline_ms=role.deadline_ms or tier.target_ms,
        fallback_chain=FALLBACK_CHAIN if role.fallback is None else tuple(role.fallback),
        deferred_to=role.deferred_to,
        weight=role.share.weight,
        most_in_flight=role.share.max_in_flight,
    )


def _archetypes(world: _World, read: Callable[[str], str]) -> Archetypes:
    if not world.archetypes:
        return NONE
    try:
        return Archetypes(archetypes.parse({world.archetypes: read(world.archetypes)}))
    except (OSError, UnicodeError, ArchetypeError) as error:
        raise ViewError(f"worlds.{world.key}.archetypes: {error}") from error
