"""PURE: the built-in game services by name, one module each."""

from collections.abc import Mapping
from types import MappingProxyType

from gameai_contract.catalogue import time_manager, weather_manager
from gameai_contract.settings import CatalogueService

CATALOGUE: Mapping[str, CatalogueService] = MappingProxyType(
    {
        "time-manager": time_manager.SERVICE,
        "weather-manager": weather_manager.SERVICE,
    }
)
