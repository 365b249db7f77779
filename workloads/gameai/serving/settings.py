"""PURE: the settings of a process that no operator has started, their names and values, checked as the operator checks them."""

from collections.abc import Iterable
from pathlib import Path

from gameai_contract.catalogue import CATALOGUE
from gameai_contract.settings import nearest, setting_fault
from gameai_contract.world_config import ConfigError, WorldConfig


def check(file: Path, config: WorldConfig, service: str) -> None:
    """Raises `ConfigError` where the configuration does not name the service, or with a setting that is wrong."""
    mine = config.services.get(service)
    if mine is None:
        others = ", ".join(config.services) or "none"
        raise ConfigError(
            f'{file}: services has no {service} (it has: {others}): add "{service}": {{}} to it{_meant(service, config.services)}'
        )
    if service not in CATALOGUE:
        # A service of a studio has settings of its own, which it checks itself.
        return
    where, known = f"services.{service}.settings", CATALOGUE[service].settings
    found = [setting_fault(where, name, value, known) for name, value in mine.settings.items()]
    faults = [each.message for each in found if each]
    if faults:
        raise ConfigError(f"{file}: {'; '.join(faults)}")


def _meant(service: str, given: Iterable[str]) -> str:
    """The name in the file that may be this service, misspelt."""
    hint = nearest(service, (each for each in given if each not in CATALOGUE))
    return hint.replace("did you mean", "is this service meant by")
