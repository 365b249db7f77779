"""PURE: what a storyteller's configuration lacks, and what does not work without it."""

from collections.abc import Iterator

from gameai_contract.world_config import WorldConfig

_NO_TEXT = "no text is written, beats follow the stages of their arcs"


def missing(config: WorldConfig, role: str) -> Iterator[str]:
    """A sentence for each part that is missing; `role` is the one whose tier writes."""
    if not config.memory:
        yield "the configuration has no memory, calls get UNAVAILABLE: set memory.endpoint to host:port of a knowledge base"
    if not config.gateway:
        yield f"the configuration has no gateway, {_NO_TEXT}: set gateway.endpoint to host:port"
    if role not in config.roles:
        yield f"the configuration has no role {role}, {_NO_TEXT}: add it to roles, with its tier"
