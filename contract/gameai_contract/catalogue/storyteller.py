"""PURE: `storyteller` as the catalogue knows it."""

from types import MappingProxyType

from gameai_contract.settings import CatalogueService, Setting

SERVICE = CatalogueService(
    module="gameai.services.storyteller",
    text="Story arcs and their next beats, answers and chronicles from the world's memory, with sources.",
    needs_memory=True,
    resources=MappingProxyType({1: ("50m", "128Mi")}),
    settings=MappingProxyType(
        {
            "answerSeconds": Setting(
                kind="Integer",
                default="30",
                least=2,
                most=600,
                text="Longest time for a language model, in seconds; a call with an earlier deadline waits until that.",
            ),
            "answerTokens": Setting(
                kind="Integer",
                default="400",
                least=64,
                most=2048,
                text="Longest reply of a language model, in tokens.",
            ),
            "role": Setting(
                kind="Role",
                default="story",
                text="Role of the world whose tier writes.",
            ),
            "sourceCharacters": Setting(
                kind="Integer",
                default="6000",
                least=1000,
                most=30_000,
                text="Characters of lore and history in a prompt; about four of them are a token.",
            ),
        }
    ),
)
