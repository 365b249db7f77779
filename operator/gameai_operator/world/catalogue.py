"""PURE: what a world's services come to: catalogue row or own image, with every default filled in."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gameai import contract

from gameai_operator.api.service import GameService, Probe
from gameai_operator.api.world import GameWorld
from gameai_operator.engine.manifest import digest

# What a replica of an own image asks for where it does not say.
OWN_CPU, OWN_MEMORY = "50m", "128Mi"
SEED_BITS = 48


class ServiceError(Exception):
    """A service that cannot be honoured; `reason` is a condition's, the text says what to write instead."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Effective:
    """A service with its defaults: `module` is None for an own image, `image` for one of the catalogue."""

    service: GameService
    module: str | None
    image: str | None
    port: int
    probe: Probe
    cpu: str
    memory: str
    settings: Mapping[str, str]

    @property
    def name(self) -> str:
        """The service's name."""
        return self.service.name


def seed(world: GameWorld) -> int:
    """What chance in this world starts from: as given, or a hash of namespace and name."""
    if world.spec.seed is not None:
        return world.spec.seed
    whole = digest([world.metadata.namespace, world.metadata.name])
    return int(whole, 16) & ((1 << SEED_BITS) - 1)


def effective(world: GameWorld, revision: int) -> tuple[Effective, ...]:
    """Every service of a world, as a template's revision has it. Raises `ServiceError` for the first that cannot be."""
    return tuple(_effective(each, revision) for each in world.spec.services)


def _effective(service: GameService, revision: int) -> Effective:
    row = contract.CATALOGUE.get(service.name)
    if row is None and service.image is None:
        known = ", ".join(contract.CATALOGUE)
        hint = _nearest(service.name, contract.CATALOGUE)
        raise ServiceError(
            "UnknownService",
            f"spec.services: {service.name} is not in the catalogue ({known}){hint}: choose one of these, or set image",
        )
    own = service.resources
    cpu, memory = row.resources_of(revision) if row else (OWN_CPU, OWN_MEMORY)
    return Effective(
        service=service,
        module=row.module if row and not service.image else None,
        image=service.image,
        port=service.port or contract.GRPC_PORT,
        probe=service.probe or Probe.GRPC,
        cpu=own.cpu or cpu,
        memory=own.memory or memory,
        settings=_checked(service, row),
    )


def _checked(service: GameService, row: contract.CatalogueService | None) -> Mapping[str, str]:
    """The settings that are given; those of an own image that is not in the catalogue are its own affair."""
    if row is None:
        return service.settings
    for name, value in service.settings.items():
        where = f"spec.services[{service.name}].settings"
        if name not in row.settings:
            known = ", ".join(row.settings)
            hint = _nearest(name, row.settings)
            raise ServiceError(
                "UnknownSetting", f"{where}: {name} is not a setting ({known}){hint}"
            )
        fault = row.settings[name].fault(value)
        if fault:
            hint = _nearest(value, row.settings[name].choices)
            raise ServiceError("InvalidSetting", f"{where}.{name}: {value!r} {fault}{hint}")
    return service.settings


def _nearest(word: str, known: Iterable[str]) -> str:
    """Did you mean …?"""
    lower = {each.lower(): each for each in known}
    found = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.5)
    return f"; did you mean {lower[found[0]]}?" if found else ""
