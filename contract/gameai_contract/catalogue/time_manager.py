"""PURE: `time-manager` as the catalogue knows it."""

from types import MappingProxyType

from gameai_contract.settings import CatalogueService, Setting

SERVICE = CatalogueService(
    module="gameai.services.time_manager",
    text="The world's calendar and the phases of its day.",
    resources=MappingProxyType({1: ("20m", "96Mi")}),
    settings=MappingProxyType(
        {
            "dawnHour": Setting(
                kind="Integer",
                default="6",
                least=1,
                most=11,
                text="Hour at which dawn begins.",
            ),
            "duskHour": Setting(
                kind="Integer",
                default="20",
                least=13,
                most=22,
                text="Hour at which dusk begins.",
            ),
        }
    ),
)
