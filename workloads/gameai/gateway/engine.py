"""PURE: what is sent to an engine, and what counts as its answer."""

from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson

LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# A finish reason that is a success; "abort" came with a 200, and a stream may end without any.
_FINISHED = frozenset({"stop", "length", "tool_calls"})
_TEMPERATURE = 0.8
# What vLLM's sentences on a prompt or an answer that is too long have in common.
_OF_LENGTH = ("context length", "max_model_len", "max_tokens")


def messages_for(messages: list[dict[str, str]], actions: Sequence[str]) -> list[dict[str, str]]:
    """The chat, which begins with the actions and their labels where there are some: what is stable comes first."""
    if not actions:
        return messages
    choice = _choice(tuple(actions))
    if messages and messages[0]["role"] == "system":
        # Chat templates differ on a second system message; all know one.
        first = {"role": "system", "content": f"{choice}\n\n{messages[0]['content']}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": choice}, *messages]


@lru_cache(maxsize=4096)
def _choice(actions: tuple[str, ...]) -> str:
    rows = "\n".join(f"{label}: {action}" for label, action in zip(LABELS, actions, strict=False))
    return f"Choose one action and answer with its letter only.\n{rows}"


def request(
    host: str,
    model: str,
    messages: list[dict[str, str]],
    asked: "Wanted",
) -> bytes:
    """The HTTP request of a chat completion, whole."""
    body: dict[str, Any] = {
        "model": model,
        "messages": messages_for(messages, asked.actions),
        "max_tokens": asked.tokens,
    }
    if asked.actions:
        body["structured_outputs"] = {"choice": list(LABELS[: len(asked.actions)])}
        body["temperature"] = _TEMPERATURE if asked.seed else 0
    if asked.seed:
        body["seed"] = asked.seed
    if asked.streams:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    text = orjson.dumps(body)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    )
    return head.encode() + text


class Wanted:
    """The form of an answer: its actions or most tokens, whether it is streamed; `seed` 0 leaves chance to the engine."""

    __slots__ = ("actions", "seed", "streams", "tokens")

    def __init__(
        self, actions: Sequence[str] = (), tokens: int = 1, seed: int = 0, *, streams: bool = False
    ) -> None:
        self.actions = actions
        self.tokens = tokens
        self.seed = seed
        self.streams = streams


class Said:
    """An engine's answer: its text, whether the limit of tokens ended it, and tokens of prompt and answer."""

    __slots__ = ("completion_tokens", "prompt_tokens", "text", "truncated")

    def __init__(
        self, text: str, prompt_tokens: int, completion_tokens: int, *, truncated: bool
    ) -> None:
        self.text = text
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = completion_tokens
        self.truncated = truncated


def said(body: bytes, actions: Sequence[str]) -> Said | None:
    """The answer that a 200 holds; None if it is none: aborted, without a reason, no action, no JSON of this form."""
    try:
        document = orjson.loads(body)
        choice = document["choices"][0]
        if choice["finish_reason"] not in _FINISHED:
            return None
        text = choice["message"]["content"] or ""
        if actions:
            text = actions[_label(text, len(actions))]
        usage = document["usage"]
        return Said(
            text,
            usage["prompt_tokens"],
            usage["completion_tokens"],
            truncated=not actions and choice["finish_reason"] == "length",
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None


class Refusal(NamedTuple):
    """An engine's status other than 200: its words (empty where it has none), and what follows.

    `too_long` is the caller's mistake. Whatever else it refuses, a chat template's rule say, the caller cannot mend:
    that goes down the ladder. `well`: it speaks against the question, or for a full engine (`--max-num-queued-reqs`),
    not against the replica. `retry`: another replica may do better; what one refuses by its rules, the next one does.
    """

    words: str
    too_long: bool
    well: bool
    retry: bool


def refusal(status: int, body: bytes) -> Refusal:
    """What is to be made of a reply that is not a 200."""
    words = _words(body)
    bad = status == HTTPStatus.BAD_REQUEST
    busy = status == HTTPStatus.SERVICE_UNAVAILABLE and "busy" in words
    return Refusal(
        words=words,
        too_long=bad and any(each in words.lower() for each in _OF_LENGTH),
        well=busy or status < HTTPStatus.INTERNAL_SERVER_ERROR,
        retry=not bad,
    )


def _words(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["error"]["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return ""


class Events:
    """The events of a stream as they come: texts, and in the end a reason or an error."""

    def __init__(self) -> None:
        self._rest = b""
        self.finish = ""
        self.faulty = False
        self.tokens = (0, 0)

    def feed(self, data: bytes) -> str:
        """The text of what came. Comments and roles are silent; an error event makes it faulty."""
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        return "".join(map(self._text, blocks))

    def succeeded(self) -> bool:
        """Whether it ended as an answer does: [DONE] alone proves nothing."""
        return self.finish in _FINISHED and not self.faulty

    def said(self) -> Said | None:
        """What was said, but for its text, which was told in parts; None if it did not end as an answer does."""
        if not self.succeeded():
            return None
        prompt, completion = self.tokens
        return Said("", prompt, completion, truncated=self.finish == "length")

    def _text(self, block: bytes) -> str:
        if not block.startswith(b"data: ") or block == b"data: [DONE]":
            return ""
        try:
            document = orjson.loads(block[6:])
            if "error" in document:
                self.faulty = True
                return ""
            if not document["choices"]:
                usage = document["usage"]
                self.tokens = usage["prompt_tokens"], usage["completion_tokens"]
                return ""
            choice = document["choices"][0]
            self.finish = choice["finish_reason"] or self.finish
            return choice["delta"].get("content") or ""
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            self.faulty = True
            return ""


def _label(text: str, many: int) -> int:
    """The number of the action that a label stands for. Raises `ValueError`."""
    label = text.strip()
    if len(label) != 1:
        raise ValueError
    return LABELS.index(label, 0, many)
