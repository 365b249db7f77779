"""PURE: what a world's services come to: catalogue row or own image, with every default filled in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gameai_contract.catalogue import CATALOGUE
from gameai_contract.names import GRPC_PORT
from gameai_contract.settings import CatalogueService, nearest, setting_fault

from gameai_operator.api.database import ServiceDatabase
from gameai_operator.api.service import GameService, Probe
from gameai_operator.api.world import GameWorld
from gameai_operator.controller.manifest import digest
from gameai_operator.resources.database import VARIABLES as DATABASE_VARIABLES
from gameai_operator.world.revisions import BUS_TOKEN_REVISION

# What a replica of an own image asks for where it does not say.
OWN_CPU, OWN_MEMORY = "50m", "128Mi"
SEED_BITS = 48


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceFault:
    """Why a service cannot be honoured; `reason` is a condition's, the message says what to write instead."""

    reason: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Effective:
    """A service with its defaults: `module` is None for an own image, `image` for one of the catalogue.

    `database` is where it keeps its state. With `faults` it cannot be rendered; what runs of it is left as it is.
    """

    service: GameService
    module: str | None
    image: str | None
    port: int
    probe: Probe
    cpu: str
    memory: str
    settings: Mapping[str, str]
    database: ServiceDatabase | None = None
    faults: tuple[ServiceFault, ...] = ()

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
    """Every service of a world, as a template's revision has it; those that cannot be honoured with all their faults."""
    return tuple(_effective(world, each, revision) for each in world.spec.services)


def _effective(world: GameWorld, service: GameService, revision: int) -> Effective:
    row = CATALOGUE.get(service.name)
    own, database = service.resources, world.spec.database
    cpu, memory = row.resources_of(revision) if row else (OWN_CPU, OWN_MEMORY)
    return Effective(
        service=service,
        module=row.module if row and not service.image else None,
        image=service.image,
        port=service.port or GRPC_PORT,
        probe=service.probe or Probe.GRPC,
        cpu=own.cpu or cpu,
        memory=own.memory or memory,
        settings=service.settings,
        database=database.external if database and row and row.needs_database else None,
        faults=(*_faults(service, row), *_needs(world, service, row, revision)),
    )


def _faults(service: GameService, row: CatalogueService | None) -> Iterator[ServiceFault]:
    """Settings of an own image that is not in the catalogue are not ours to check."""
    if row is None and service.image is None:
        known = ", ".join(CATALOGUE)
        hint = nearest(service.name, CATALOGUE)
        yield ServiceFault(
            reason="UnknownService",
            message=f"spec.services: {service.name} is not in the catalogue ({known}){hint}: "
            "choose one of these, or set image",
        )
    where = f"spec.services[{service.name}].settings"
    for name, value in service.settings.items() if row else ():
        found = setting_fault(where, name, value, row.settings if row else {})
        if found:
            yield ServiceFault(reason=found.reason, message=found.message)


def _needs(
    world: GameWorld, service: GameService, row: CatalogueService | None, revision: int
) -> Iterator[ServiceFault]:
    """What a built-in service needs of its world, and of the revision of its pods' template."""
    if row is None:
        return
    if row.needs_memory and world.spec.knowledge_base_ref is None:
        message = (
            f"spec.services: {service.name} keeps its state in a memory: set spec.knowledgeBaseRef"
        )
        yield ServiceFault(reason="MemoryMissing", message=message)
    if row.needs_database and world.spec.database is None:
        message = f"spec.services: {service.name} keeps its state in PostgreSQL: set spec.database"
        yield ServiceFault(reason="DatabaseMissing", message=message)
    taken = [each.name for each in service.env if each.name in DATABASE_VARIABLES]
    if row.needs_database and taken:
        message = (
            f"spec.services[{service.name}].env: {taken[0]} is set from spec.database: remove it"
        )
        yield ServiceFault(reason="EnvironmentReserved", message=message)
    if row.needs_database and revision < BUS_TOKEN_REVISION:
        message = (
            f"spec.services: {service.name} needs pods of template revision {BUS_TOKEN_REVISION}, and they have {revision}: "
            "set spec.templateRevision, which restarts them"
        )
        yield ServiceFault(reason="TemplateRevisionTooOld", message=message)
    roles = [each.name for each in world.spec.roles]
    for name, setting in row.settings.items():
        value = service.settings.get(name, setting.default)
        if setting.kind == "Role" and value not in roles:
            known = ", ".join(roles) or "none"
            message = (
                f"spec.services[{service.name}].settings.{name}: {value!r} is not in spec.roles ({known})"
                f"{nearest(value, roles)}: add the role, or name another one"
            )
            yield ServiceFault(reason="RoleMissing", message=message)
