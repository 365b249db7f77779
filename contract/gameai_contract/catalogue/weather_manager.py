"""PURE: `weather-manager` as the catalogue knows it."""

from types import MappingProxyType

from gameai_contract.settings import CatalogueService, Setting

SERVICE = CatalogueService(
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
)
