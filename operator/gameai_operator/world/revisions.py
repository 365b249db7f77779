"""PURE: what a world's pods are made of beside its spec: the template's revision and the image of the catalogue."""

from dataclasses import dataclass

from gameai_operator.api.world import GameWorld

REVISIONS = (1,)
NEWEST = REVISIONS[-1]


class UnknownRevisionError(Exception):
    """A world has, or asks for, a revision that this operator cannot render; the message says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """Revision of the template, and image of the catalogue's services."""

    revision: int
    image: str


def inputs(world: GameWorld, current: Inputs, *, turn: bool) -> Inputs:
    """The inputs a world has now: those in status, a newer image once it is its `turn`.

    Raises `UnknownRevisionError`.
    """
    number = world.spec.template_revision or world.status.template_revision or current.revision
    if number not in REVISIONS:
        raise UnknownRevisionError(
            f"pod template revision {number} is not known to this operator (1 to {NEWEST}): "
            "upgrade the operator, or set spec.templateRevision to one it knows"
        )
    used = world.status.workloads_image
    return Inputs(revision=number, image=current.image if turn or used is None else used)
