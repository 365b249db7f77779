"""PURE: what keeps services of a world from consuming events."""

from gameai_operator.api.world import GameWorld
from gameai_operator.world.revisions import BUS_TOKEN_REVISION


def unmet(world: GameWorld, bus: str, revision: int | None) -> tuple[str, str] | None:
    """Reason and message, where a service consumes events and cannot; its pods run nevertheless.

    `bus` is the address of the bus, `revision` the template revision of the world's pods.
    """
    names = [each.name for each in world.spec.services if each.consumes]
    if not names:
        return None
    said = f"spec.services[{names[0]}].consumes"
    if not bus:
        return "BusMissing", (
            f"{said}: the cluster has no event bus: set bus.mode of the chart to Managed, or remove consumes"
        )
    if revision is not None and revision < BUS_TOKEN_REVISION:
        return "TemplateRevisionTooOld", (
            f"{said}: pods of template revision {revision} have no token for the event bus: "
            f"set spec.templateRevision to {BUS_TOKEN_REVISION}, which restarts them"
        )
    return None
