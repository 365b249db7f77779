"""PURE: what a world's pods are made of in addition to its spec: revision of the template, image of the catalogue, chart settings."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from gameai_operator.api.world import GameWorld
from gameai_operator.resources.deployment import TEMPLATE_INPUTS, Deployment
from gameai_operator.resources.template_revision import chosen
from gameai_operator.settings import PodSettings

# 2: pull secrets of the chart stand in the pod template, and a container's last log lines are its termination message.
# 3: a token for the gateway, and one for the API only where apiToken asks for it.
REVISIONS = (1, 2, 3)
NEWEST = REVISIONS[-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """Revision of the template, image of the catalogue's services, and chart settings of pods."""

    revision: int
    image: str
    pods: PodSettings = field(default_factory=PodSettings)

    def text(self) -> str:
        """One line of JSON, for the annotation of each Deployment; image and revision stand in status."""
        return json.dumps(self.pods.document(), sort_keys=True)


def inputs(
    world: GameWorld, current: Inputs, live: Iterable[Deployment | None] = (), *, turn: bool
) -> Inputs:
    """The inputs a world has now: those it was made with, and all of the newest once a new image has its `turn`.

    `live` are its Deployments, which remember the chart settings. Raises `UnknownRevisionError`.
    """
    used = world.status.workloads_image
    image = current.image if turn or used is None else used
    renewed = image != used
    kept = (current.revision if renewed else None) or world.status.template_revision
    number = chosen(world.spec.template_revision, kept or current.revision, REVISIONS)
    found = replace(current, revision=number, image=image)
    if renewed or number != world.status.template_revision:
        return found
    texts = (each.remembered.get(TEMPLATE_INPUTS, "") for each in live if each)
    remembered = next(filter(None, map(_parsed, texts)), None)
    return replace(found, pods=remembered) if remembered else found


def _parsed(text: str) -> PodSettings | None:
    try:
        return PodSettings.parse(json.loads(text))
    except ValueError:
        return None
