"""PURE: `settings` as the catalogue knows it."""

from types import MappingProxyType

from gameai_contract.settings import CatalogueService, Setting

SERVICE = CatalogueService(
    module="gameai.services.settings",
    text="Typed settings that people change while the world runs: by region, player and rollout, with history and rollback.",
    needs_database=True,
    resources=MappingProxyType({1: ("50m", "384Mi")}),
    settings=MappingProxyType(
        {
            "revisions": Setting(
                kind="Integer",
                default="1000",
                least=10,
                most=10_000,
                text="Revisions that are kept for ListRevisions and RollbackTo.",
            ),
        }
    ),
)
