"""PURE: the revisions of the pod templates of knowledge bases, and what their pods are made of now."""

from collections.abc import Iterable

from gameai_operator.api.knowledge_base import KnowledgeBase
from gameai_operator.resources import template_inputs
from gameai_operator.resources.template_inputs import Inputs, Remembering, Used

REVISIONS = (1,)
NEWEST = REVISIONS[-1]


def inputs(
    kb: KnowledgeBase, current: Inputs, live: Iterable[Remembering | None] = (), *, turn: bool
) -> Inputs:
    """The inputs of a knowledge base's pods now. Raises `UnknownRevisionError`."""
    used = Used(
        image=kb.status.image,
        revision=kb.status.template_revision,
        asked=kb.spec.template_revision,
    )
    return template_inputs.inputs(used, current, live, REVISIONS, turn=turn)
