"""PURE: `state-manager` as the catalogue knows it."""

from types import MappingProxyType

from gameai_contract.settings import CatalogueService, Setting

SERVICE = CatalogueService(
    module="gameai.services.state_manager",
    text="Saves, inventories and sheets: objects of an owner with versions, in the world's database.",
    needs_database=True,
    resources=MappingProxyType({1: ("50m", "384Mi")}),
    settings=MappingProxyType(
        {
            "collections": Setting(
                kind="Words",
                default="saves, inventories, sheets",
                least=1,
                most=64,
                text="The collections that objects may be in.",
            ),
            "ownerObjects": Setting(
                kind="Integer",
                default="10000",
                least=1,
                most=100_000,
                text="Objects that an owner may have.",
            ),
            "valueBytes": Setting(
                kind="Integer",
                default="65536",
                least=256,
                most=262_144,
                text="Largest value of an object, in bytes.",
            ),
        }
    ),
)
