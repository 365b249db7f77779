"""PURE: what is sent to an engine, and what counts as its answer."""

from collections.abc import Sequence
from enum import Enum, StrEnum
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson

LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# A finish reason that is a success; "abort" came with a 200, and a stream may end without any.
_FINISHED = frozenset({"stop", "length", "tool_calls"})
_FILTERED = "content_filter"
_TEMPERATURE = 0.8
# No engine counts more; a hostile one may.
_MOST_TOKENS_REPORTED = 10_000_000
# The longest token of common vocabularies has 128 characters, and an event of a stream holds some hundred bytes beside it.
_MOST_EVENT = 64 << 10
_REPLY_BYTES, _TOKEN_BYTES, _EVENT_BYTES = 4 << 10, 256, 768
# vLLM sends an event for each token and three more; comments that keep a connection alive are events too.
_LEAST_EVENTS, _TOKEN_EVENTS = 64, 4
_OPEN, _CLOSE = "<think>", "</think>"
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
    asked: "CompletionParameters",
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


class CompletionParameters:
    """The form of an answer: its actions or most tokens, whether it is streamed; `seed` 0 leaves chance to the engine."""

    __slots__ = ("actions", "seed", "streams", "tokens")

    def __init__(
        self, actions: Sequence[str] = (), tokens: int = 1, seed: int = 0, *, streams: bool = False
    ) -> None:
        self.actions = actions
        self.tokens = tokens
        self.seed = seed
        self.streams = streams


class Completion:
    """An engine's answer: its text, whether the limit of tokens ended it, and tokens of prompt and answer."""

    __slots__ = ("completion_tokens", "prompt_tokens", "text", "truncated")

    def __init__(
        self, text: str, prompt_tokens: int, completion_tokens: int, *, truncated: bool
    ) -> None:
        self.text = text
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = completion_tokens
        self.truncated = truncated


class Flaw(StrEnum):
    """Why a 200 is not an answer: BLANK if the text is empty, FILTERED if a service elsewhere withheld it, UNFINISHED if the engine failed."""

    BLANK = "blank"
    FILTERED = "filtered"
    UNFINISHED = "unfinished"


def completion(body: bytes, actions: Sequence[str]) -> Completion | Flaw:
    """The answer in the body of a 200, or a flaw: aborted, no finish reason, unknown action, blank, invalid JSON."""
    try:
        document = orjson.loads(body)
        choice = document["choices"][0]
        if choice["finish_reason"] not in _FINISHED:
            return Flaw.FILTERED if choice["finish_reason"] == _FILTERED else Flaw.UNFINISHED
        text = choice["message"]["content"]
        if actions:
            text = actions[_label(text, len(actions))]
        elif text is not None:
            text = without_thoughts(text)
        prompt, completion = _usage(document["usage"])
        truncated = not actions and choice["finish_reason"] == "length"
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return Flaw.UNFINISHED
    if text is None or not text.strip():
        return Flaw.BLANK
    return Completion(text, prompt, completion, truncated=truncated)


def _usage(document: Any) -> tuple[int, int]:
    """Tokens of prompt and answer. Raises `ValueError` and what wrong types raise."""
    counts = document["prompt_tokens"], document["completion_tokens"]
    if any(type(each) is not int or not 0 <= each <= _MOST_TOKENS_REPORTED for each in counts):
        raise ValueError("no count of tokens")
    return counts


def without_thoughts(text: str) -> str:
    """A text without what a reasoning model thought before it.

    The opening tag may stand in the chat template, so that only the closing one is seen; a thought without an end was
    cut by the limit of tokens. Raises `TypeError` or `AttributeError` if it is not a text.
    """
    before, found, after = text.rpartition(_CLOSE)
    if found:
        return after.lstrip()
    before, found, _ = text.partition(_OPEN)
    return before if found else text


def most_bytes(tokens: int, *, streams: bool) -> int:
    """The longest reply to a request for so many tokens."""
    return _REPLY_BYTES + tokens * (_TOKEN_BYTES + (_EVENT_BYTES if streams else 0))


def most_events(tokens: int) -> int:
    """How many events a stream of so many tokens may have: each costs time, however small it is."""
    return _LEAST_EVENTS + _TOKEN_EVENTS * tokens


class Verdict(Enum):
    """What a status other than 200 speaks about: the question, a replica that is well but full, or a faulty replica."""

    QUESTION = "question"
    BUSY = "busy"
    REPLICA = "replica"


class Refusal(NamedTuple):
    """An engine's status other than 200: its words (empty where it has none), and what follows.

    `too_long` is the caller's mistake. Whatever else an engine refuses in a question, a chat template's rule say, the
    caller cannot correct: that goes down the fallback_chain, and is not retried, because the next replica has the same rules.
    """

    words: str
    too_long: bool
    verdict: Verdict


_OF_QUESTION = frozenset({400, 413, 422})


def refusal(status: int, body: bytes) -> Refusal:
    """What is to be made of a reply that is not a 200."""
    words = _words(body)
    bad = status == HTTPStatus.BAD_REQUEST
    full = status == HTTPStatus.SERVICE_UNAVAILABLE and "busy" in words
    verdict = Verdict.REPLICA
    if status in _OF_QUESTION:
        verdict = Verdict.QUESTION
    elif full or status == HTTPStatus.TOO_MANY_REQUESTS:
        verdict = Verdict.BUSY
    too_long = bad and any(each in words.lower() for each in _OF_LENGTH)
    return Refusal(words=words, too_long=too_long, verdict=verdict)


def _words(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["error"]["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return ""


class Thoughts:
    """Passes on what is said between thoughts, part by part. What may be the beginning of a tag is held back."""

    def __init__(self) -> None:
        self._held = ""
        self._inside = False

    def feed(self, text: str) -> str:
        """What may be shown now. The time grows with the text's length alone, however many tags it has."""
        text = self._held + text
        shown, at = [], 0
        while (found := text.find(tag := _CLOSE if self._inside else _OPEN, at)) >= 0:
            if not self._inside:
                shown.append(text[at:found])
            at, self._inside = found + len(tag), not self._inside
        end = max(at, len(text) - _beginning(text, tag))
        if not self._inside:
            shown.append(text[at:end])
        self._held = text[end:]
        return "".join(shown)

    def rest(self) -> str:
        """At the end: text that was held back as the possible beginning of a tag."""
        held, self._held = self._held, ""
        return "" if self._inside else held


def _beginning(text: str, tag: str) -> int:
    """How many characters at the end of a text are the beginning of a tag."""
    return next((n for n in range(len(tag) - 1, 0, -1) if text.endswith(tag[:n])), 0)


class Events:
    """The events of a stream as they come: texts, and in the end a reason or an error.

    A stream has at most `most` events of at most 64 KiB each. After the first fault nothing more is read.
    """

    def __init__(self, most: int) -> None:
        self._left = most
        self._rest = b""
        self._thoughts = Thoughts()
        self.finish = ""
        self.faulty = False
        self.blank = True
        self.tokens = (0, 0)

    def feed(self, data: bytes) -> str:
        """The text of what came. Comments, roles and thoughts are silent; an error event makes it faulty."""
        if self.faulty:
            return ""
        *blocks, self._rest = (self._rest + data).split(b"\n\n", self._left + 1)
        if len(blocks) > self._left or max(len(self._rest), *map(len, blocks), 0) > _MOST_EVENT:
            blocks, self._rest, self.faulty = [], b"", True
        self._left -= len(blocks)
        texts = []
        for block in blocks:
            texts.append(self._text(block))
            if self.faulty:
                self._rest = b""
                break
        return self._show(self._thoughts.feed("".join(texts)))

    def end(self) -> str:
        """The remaining text at the end of the stream."""
        return self._show(self._thoughts.rest())

    def succeeded(self) -> bool:
        """Whether it ended as an answer does: [DONE] alone proves nothing."""
        return self.finish in _FINISHED and not self.faulty

    def completion(self) -> Completion | Flaw:
        """The completion without its text, which was delivered in parts; a flaw if the stream did not end correctly."""
        if not self.succeeded():
            filtered = self.finish == _FILTERED and not self.faulty
            return Flaw.FILTERED if filtered else Flaw.UNFINISHED
        if self.blank:
            return Flaw.BLANK
        prompt, completion = self.tokens
        return Completion("", prompt, completion, truncated=self.finish == "length")

    def _show(self, text: str) -> str:
        """Leading blanks are dropped, so that a blank text does not count as an answer."""
        if self.blank:
            text = text.lstrip()
            self.blank = not text
        return text

    def _text(self, block: bytes) -> str:
        if not block.startswith(b"data: ") or block == b"data: [DONE]":
            return ""
        try:
            document = orjson.loads(block[6:])
            if "error" in document:
                self.faulty = True
                return ""
            if not document["choices"]:
                self.tokens = _usage(document["usage"])
                return ""
            choice = document["choices"][0]
            finish = choice["finish_reason"] or self.finish
            text = choice["delta"].get("content") or ""
            if not isinstance(text, str) or not isinstance(finish, str):
                raise TypeError("content and finish_reason must be texts")
            self.finish = finish
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            self.faulty = True
            return ""
        return text


def _label(text: str, many: int) -> int:
    """The number of the action that a label stands for. Raises `ValueError`."""
    label = text.strip()
    if len(label) != 1:
        raise ValueError
    return LABELS.index(label, 0, many)
