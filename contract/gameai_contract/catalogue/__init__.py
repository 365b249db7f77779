"""PURE: the built-in game services by name. Each module of this package holds one as `SERVICE`."""

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from gameai_contract.settings import CatalogueService


def _service(module: str) -> CatalogueService:
    found: CatalogueService = import_module(f"{__name__}.{module}").SERVICE
    return found


# The service quest-manager is the module quest_manager: a new one needs no row anywhere.
CATALOGUE: Mapping[str, CatalogueService] = MappingProxyType(
    {
        each.name.replace("_", "-"): _service(each.name)
        for each in sorted(pkgutil.iter_modules(__path__), key=lambda each: each.name)
    }
)
