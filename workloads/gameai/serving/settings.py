"""PURE: the settings of a process that no operator has started, their names and values, checked as the operator checks them."""

from pathlib import Path

from gameai_contract.catalogue import CATALOGUE
from gameai_contract.settings import setting_fault
from gameai_contract.world_config import ConfigError, WorldConfig


def check(file: Path, config: WorldConfig, service: str) -> None:
    """Raises `ConfigError` where the configuration does not name the service, or with a setting that is wrong."""
    mine = config.services.get(service)
    if mine is None:
        others = ", ".join(config.services) or "none"
        raise ConfigError(
            f'{file}: services has no {service} (it has: {others}): add "{service}": {{}} to it'
        )
    where = f"{file}: services.{service}.settings"
    for name, value in mine.settings.items():
        found = setting_fault(where, name, value, CATALOGUE[service].settings)
        if found:
            raise ConfigError(found.message)
