"""PURE: what pods of our own image are made of in addition to a spec: revision of the template, image, chart settings."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from gameai_operator.resources.deployment import TEMPLATE_INPUTS
from gameai_operator.resources.template_revision import chosen
from gameai_operator.settings import PodSettings


class Remembering(Protocol):
    """Facts of an object with a pod template."""

    @property
    def remembered(self) -> Mapping[str, str]:
        """Our own annotations, those that a hand has not touched since we wrote them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """Revision of the template, our own image, and chart settings of pods."""

    revision: int
    image: str
    pods: PodSettings = field(default_factory=PodSettings)

    def text(self) -> str:
        """One line of JSON, for the annotation of each object with a template; image and revision stand in status."""
        return json.dumps(self.pods.document(), sort_keys=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Used:
    """What an object's status says of its pods, None where nothing yet; `asked` is spec.templateRevision."""

    image: str | None
    revision: int | None
    asked: int | None


def inputs(
    used: Used,
    current: Inputs,
    live: Iterable[Remembering | None],
    known: Collection[int],
    *,
    turn: bool,
) -> Inputs:
    """The inputs an object has now: those it was made with, and all of the newest once a new image has its `turn`.

    `live` are its objects with templates, which remember the chart settings. Raises `UnknownRevisionError`.
    """
    image = current.image if turn or used.image is None else used.image
    renewed = image != used.image
    kept = (current.revision if renewed else None) or used.revision
    number = chosen(used.asked, kept or current.revision, known)
    found = replace(current, revision=number, image=image)
    if renewed or number != used.revision:
        return found
    texts = (each.remembered.get(TEMPLATE_INPUTS, "") for each in live if each)
    remembered = next(filter(None, map(_parsed, texts)), None)
    return replace(found, pods=remembered) if remembered else found


def _parsed(text: str) -> PodSettings | None:
    try:
        return PodSettings.parse(json.loads(text))
    except ValueError:
        return None
