"""PURE: what counts as the reply of a language model: JSON of the schema, which cites sources that were given."""

import json
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from gameai.services.storyteller.rules.prompts import Task
from gameai.services.storyteller.rules.sources import Source

_MOST_SHOWN = 20


class _Reply(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    text: str
    sources: list[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A text and the sources that it cites, each once; both empty where the sources say nothing of the question."""

    text: str
    sources: tuple[Source, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Why a reply does not count, as part of a sentence; `reply` is what was said."""

    text: str
    reply: str


def written(reply: str, task: Task) -> Written | Fault:
    """What a reply holds. Words before and after the JSON object are left out."""
    body = reply[reply.find("{") : reply.rfind("}") + 1]
    try:
        found = _Reply.model_validate(json.loads(body))
    except (ValidationError, ValueError, RecursionError):
        return Fault(text="it is no JSON object of the schema", reply=reply)
    text = " ".join("".join(c if c.isprintable() else " " for c in found.text).split())
    numbers = tuple(dict.fromkeys(found.sources))
    fault = _fault(text, numbers, task)
    if fault:
        return Fault(text=fault, reply=reply)
    return Written(text=text, sources=tuple(task.sources[each - 1] for each in numbers))


def _fault(text: str, numbers: tuple[int, ...], task: Task) -> str:
    unknown = [each for each in numbers if not 1 <= each <= len(task.sources)]
    if unknown:
        return f"source {str(unknown[0])[:_MOST_SHOWN]} was not given"
    if len(text) > task.most:
        return f"text has {len(text)} characters, at most {task.most} are allowed"
    if task.may_decline and not text and not numbers:
        return ""
    if not text:
        return "text is empty"
    if task.sources and not numbers:
        return "it cites no source"
    return ""
