"""PURE: requests as gateways send them to vLLM, as services with OpenAI's API take them; and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

# An answer by a schema is an object with one label; where the limit is one of reasoning too, that needs room.
CHOICE_TOKENS, REASONED_CHOICE_TOKENS = 32, 4096
# A service withheld the answer, which is no fault of it.
_WITHHELD = "content_filter"
_KEY = "choice"
# Where a request names no limit. Gateways always do.
_DEFAULT_TOKENS = 2048


class UnacceptableError(ValueError):
    """The request cannot be forwarded; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """What is sent: the body, the labels of a choice (none: free text), the most tokens of an answer, whether it is streamed."""

    body: bytes
    labels: tuple[str, ...]
    most_tokens: int
    streams: bool


def outgoing(given: bytes, model: str, *, completion_limit: bool) -> Outgoing:
    """The request for the service's model. `completion_limit`: it takes max_completion_tokens. Raises `UnacceptableError`."""
    body = _object(given, "the body must be a JSON object")
    labels = _labels(body.pop("structured_outputs", None))
    streams = body.get("stream") is True
    if labels and streams:
        raise UnacceptableError("an answer with structured_outputs cannot be streamed")
    if body.get("n", 1) != 1:
        raise UnacceptableError("n must be 1")
    tokens = body.pop("max_tokens", body.pop("max_completion_tokens", _DEFAULT_TOKENS))
    if type(tokens) is not int or tokens < 1:
        raise UnacceptableError("max_tokens must be a whole number of at least 1")
    if labels:
        tokens = REASONED_CHOICE_TOKENS if completion_limit else CHOICE_TOKENS
        body["response_format"] = _schema(labels)
    if completion_limit:
        # Reasoning models take no other than their own.
        body.pop("temperature", None)
    body["max_completion_tokens" if completion_limit else "max_tokens"] = tokens
    if streams:
        body["stream_options"] = {"include_usage": True}
    body["model"] = model
    return Outgoing(body=orjson.dumps(body), labels=labels, most_tokens=tokens, streams=streams)


def incoming(answer: bytes, model: str, labels: Sequence[str]) -> bytes:
    """The answer under the tier's own model name, of a choice with its label alone. Raises `UnacceptableError`."""
    document = _object(answer, "the service's answer is no JSON object")
    document["model"] = model
    choice, message = _message(document)
    if choice.get("finish_reason") == _WITHHELD or message.get("refusal"):
        choice["finish_reason"] = _WITHHELD
    elif labels:
        if choice.get("finish_reason") == "length":
            raise UnacceptableError(
                "the service's answer ended before a label: its limit of tokens is too small"
            )
        message["content"] = _chosen(message.get("content"), labels)
    return orjson.dumps(document)


def usage(answer: bytes) -> tuple[int, int] | None:
    """Tokens of prompt and answer that an answer, or an event of a stream, reports; None where it does not."""
    try:
        found = orjson.loads(answer)["usage"]
        counts = found["prompt_tokens"], found["completion_tokens"]
    except (ValueError, KeyError, TypeError):
        return None
    return counts if all(type(each) is int and each >= 0 for each in counts) else None


class StreamUsage:
    """Finds the tokens that a stream reports, in one of its last events."""

    def __init__(self) -> None:
        self._rest = b""
        self.found: tuple[int, int] | None = None

    def feed(self, data: bytes) -> None:
        """A part of the stream."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_MOST_LINE:]
        for line in lines:
            if line.startswith(b"data: ") and b'"usage"' in line:
                self.found = usage(line[6:]) or self.found


_MOST_LINE = 64 << 10


def error(message: str, kind: str) -> bytes:
    """An error as vLLM and OpenAI write it."""
    return orjson.dumps({"error": {"message": message, "type": kind, "code": None}})


def said(answer: bytes, secret: str) -> tuple[str, str]:
    """Message and code of a service's error, without the key; empty where it has none."""
    try:
        found = orjson.loads(answer)["error"]
        message, code = str(found["message"]), str(found.get("code") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", ""
    return (message.replace(secret, "…") if secret else message)[:500], code


def _labels(given: Any) -> tuple[str, ...]:
    if given is None:
        return ()
    choice = given.get(_KEY) if isinstance(given, Mapping) else None
    if not (isinstance(choice, list) and choice and all(isinstance(each, str) for each in choice)):
        raise UnacceptableError("structured_outputs must have a choice: a list of texts")
    return tuple(choice)


def _schema(labels: Sequence[str]) -> dict[str, Any]:
    """A JSON Schema that OpenAI takes as strict: every property required, and no other."""
    return {
        "type": "json_schema",
        "json_schema": {
            "name": _KEY,
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {_KEY: {"type": "string", "enum": list(labels)}},
                "required": [_KEY],
                "additionalProperties": False,
            },
        },
    }


def _object(text: bytes, otherwise: str) -> dict[str, Any]:
    try:
        found = orjson.loads(text)
    except ValueError as error:
        raise UnacceptableError(otherwise) from error
    if not isinstance(found, dict):
        raise UnacceptableError(otherwise)
    return found


def _message(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        choice = document["choices"][0]
        message = choice["message"]
    except (KeyError, IndexError, TypeError) as error:
        raise UnacceptableError("the service's answer has no message") from error
    if not (isinstance(choice, dict) and isinstance(message, dict)):
        raise UnacceptableError("the service's answer has no message")
    return choice, message


def _chosen(content: Any, labels: Sequence[str]) -> str:
    """The label that was chosen."""
    try:
        label = orjson.loads(content)[_KEY]
    except (ValueError, KeyError, TypeError):
        label = content.strip() if isinstance(content, str) else ""
    if label not in labels:
        raise UnacceptableError(
            "the service chose none of the labels: its model does not keep to response_format"
        )
    return str(label)
