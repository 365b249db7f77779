"""PURE: what the double says: words that follow from the prompt, so that the same question has the same answer."""

import json
import re
import zlib
from typing import Any

_WORDS = (
    "the", "dragon", "sleeps", "under", "old", "bridge", "bring", "iron", "and", "bread", "wolves",
    "north", "road", "is", "closed", "until", "dawn", "king", "pays", "well", "beware", "traveler",
)  # fmt: skip
_PIECE = re.compile(r"\w+|[^\w\s]")
# The template's own tokens of each message, and those that begin the reply.
_MESSAGE_TOKENS = 4
_REPLY_TOKENS = 3
_SCHEMA = re.compile(r"<\|im_start\|>system\n[^|]*JSON Schema:\n(\{.*\})<\|im_end\|>")
_DESCRIBED_TOKENS = 12


def count(text: str) -> int:
    """Tokens of a text, roughly one a word."""
    return len(_PIECE.findall(text))


def content(message: Any) -> str:
    """The text of a chat message, which may come in parts."""
    held = message.get("content") if isinstance(message, dict) else None
    if isinstance(held, list):
        return " ".join(str(part.get("text", "")) for part in held if isinstance(part, dict))
    return str(held or "")


def chat_tokens(messages: list[Any]) -> int:
    """Tokens of a whole chat."""
    return sum(count(content(each)) + _MESSAGE_TOKENS for each in messages) + _REPLY_TOKENS


def tokens(prompt: str, most: int, seed: int | None) -> list[str]:
    """The tokens of a free answer; an answer never ends by itself before `most`."""
    start = zlib.crc32(f"{seed}:{prompt}".encode())
    return [
        _WORDS[(start + step * (1 + start % 7)) % len(_WORDS)] + ("" if step + 1 == most else " ")
        for step in range(most)
    ]


def structured(wanted: dict[str, Any], prompt: str) -> str | None:
    """An answer that a grammar allows: one of the choices, or a small JSON; None where nothing is asked for.

    Raises `ValueError` for what is not simulated.
    """
    if choice := wanted.get("choice"):
        return str(choice[zlib.crc32(prompt.encode()) % len(choice)])
    if "json" in wanted:
        return json.dumps(_instance(wanted["json"]))
    if wanted:
        raise ValueError(f"{', '.join(wanted)} is not simulated")
    return None


def described(prompt: str) -> str | None:
    """An answer of the JSON Schema that a system message ends with, as a model follows it; None without one."""
    found = _SCHEMA.search(prompt)
    try:
        schema = json.loads(found[1]) if found else None
        return None if schema is None else json.dumps(_filled(schema, prompt))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _filled(schema: dict[str, Any], prompt: str) -> Any:
    """A value of a schema: texts are made-up words, lists hold the first of what is allowed."""
    kind = schema["type"]
    if kind == "object":
        return {key: _filled(each, prompt) for key, each in schema["properties"].items()}
    if kind == "array":
        return schema.get("items", {}).get("enum", [])[:1]
    return "".join(tokens(prompt, _DESCRIBED_TOKENS, None)).capitalize() + "."


def wanted_structure(body: dict[str, Any]) -> dict[str, Any]:
    """What a request asks of its answer's form, in the words of `structured_outputs`. Raises `ValueError`."""
    if "structured_outputs" in body:
        return dict(body["structured_outputs"] or {})
    form = body.get("response_format") or {}
    if form.get("type") == "json_object":
        return {"json": {"type": "object"}}
    if form.get("type") == "json_schema":
        return {"json": form["json_schema"]["schema"]}
    return {}


def _instance(schema: Any) -> Any:
    """The smallest value of a schema. Raises `ValueError`."""
    schema = json.loads(schema) if isinstance(schema, str) else schema
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object")
    if kind == "object":
        return {key: _instance(each) for key, each in schema.get("properties", {}).items()}
    plain = {"string": "", "number": 0, "integer": 0, "boolean": False, "null": None, "array": []}
    if kind not in plain:
        raise ValueError(f"Grammar error: Invalid type: {kind}")
    return plain[kind]
