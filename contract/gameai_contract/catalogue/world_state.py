"""PURE: `world-state` as the catalogue knows it."""

from types import MappingProxyType

from gameai_contract.settings import CatalogueService, Setting

SERVICE = CatalogueService(
    module="gameai.services.world_state",
    text="Facts of the world's present, such as the danger of a region: changed by events and proposals, watched by all.",
    needs_database=True,
    consumes_events=True,
    resources=MappingProxyType({1: ("50m", "512Mi")}),
    settings=MappingProxyType(
        {
            "regions": Setting(
                kind="Words",
                default="heartland",
                least=1,
                most=64,
                text="Regions, each with its own values of facts per_region.",
            ),
        }
    ),
)
