"""PURE: the revisions of the pod template of game services, and what a world's pods are made of now."""

from collections.abc import Iterable

from gameai_operator.api.world import GameWorld
from gameai_operator.resources import template_inputs
from gameai_operator.resources.template_inputs import Inputs, Remembering, Used

# 2: pull secrets of the chart stand in the pod template, and a container's last log lines are its termination message.
# 3: a token for the gateway, and one for the API only where apiToken asks for it.
# 4: a token for the memory of a knowledge base.
# 5: a token for the event bus.
REVISIONS = (1, 2, 3, 4, 5)
GATEWAY_TOKEN_REVISION, MEMORY_TOKEN_REVISION, BUS_TOKEN_REVISION = 3, 4, 5
NEWEST = REVISIONS[-1]


def inputs(
    world: GameWorld, current: Inputs, live: Iterable[Remembering | None] = (), *, turn: bool
) -> Inputs:
    """The inputs of a world's pods now; `live` are its Deployments. Raises `UnknownRevisionError`."""
    used = Used(
        image=world.status.workloads_image,
        revision=world.status.template_revision,
        asked=world.spec.template_revision,
    )
    return template_inputs.inputs(used, current, live, REVISIONS, turn=turn)
