"""A question that waits for its answer."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import grpc
from gameai_contract.inference import MOST_DEADLINE_MS, MOST_TOKENS

from gameai.client.reply import (
    AskError,
    QuestionError,
    Reply,
    Source,
    ask_error,
    error_of,
    from_answer,
)
from gameai.inference.v1 import inference_pb2 as pb

_LOG = logging.getLogger(__name__)
MOST_BYTES = 900 << 10
# Codes and messages for which a default stood in, each logged once; more different ones are not.
_LOGGED: set[grpc.StatusCode] = set()
# A gateway has this long beyond a deadline before it is given up, where the caller brings no default of his own.
GRACE_SECONDS = 1.0
# Where the caller names no deadline, the role's holds, which only the gateway knows.
LONGEST_SECONDS = 660.0
# A default comes by a timer, which the loop may run so much later.
_TIMER_SECONDS = 0.005
CacheUse = Literal["declared", "off", "refresh"]
CACHE_USES: Mapping[CacheUse, pb.CacheUse.ValueType] = MappingProxyType(
    {
        "declared": pb.CACHE_USE_UNSPECIFIED,
        "off": pb.CACHE_USE_OFF,
        "refresh": pb.CACHE_USE_REFRESH,
    }
)


class Asked:
    """One question; its clock started when it was asked."""

    __slots__ = ("answer", "attempts", "began", "better", "cause", "deadline_ms", "default", "number", "question", "size", "timer")  # fmt: skip

    def __init__(
        self, question: pb.Question, default: str | None, cause: Callable[[], str] = str
    ) -> None:
        """`cause` says why no gateway can be asked, empty where one can."""
        loop = asyncio.get_running_loop()
        self.question = question
        self.number = question.id
        self.size = question.ByteSize()
        self.default = default
        self.cause = cause
        self.deadline_ms = question.deadline_ms
        self.began = time.perf_counter()
        self.answer: asyncio.Future[Reply] = loop.create_future()
        self.better: asyncio.Future[Reply | None] | None = None
        self.attempts = 0
        seconds = self.deadline_ms / 1000 if self.deadline_ms else LONGEST_SECONDS
        self.timer = loop.call_later(
            seconds + (0 if default is not None else GRACE_SECONDS), self._late
        )

    @property
    def over(self) -> bool:
        """Whether nothing more is awaited."""
        return self.answer.done() and (self.better is None or self.better.done())

    def stamp(self) -> pb.Question:
        """The question as it leaves: with the time that passed in here."""
        self.question.elapsed_us = int((time.perf_counter() - self.began) * 1_000_000)
        return self.question

    def in_time(self) -> bool:
        """Whether asking again could help."""
        left = self.deadline_ms / 1000 if self.deadline_ms else LONGEST_SECONDS
        return not self.over and time.perf_counter() - self.began < left

    def take(self, answer: pb.Answer) -> None:
        """The gateway says something of it."""
        seconds = time.perf_counter() - self.began
        if answer.supersedes:
            self._take_better(answer, seconds)
            return
        if self.answer.done():
            return
        self.timer.cancel()
        if answer.HasField("error"):
            self._fail(error_of(answer.error))
            return
        if answer.provisional:
            self.better = asyncio.get_running_loop().create_future()
        self.answer.set_result(self._reply(answer, seconds, self.better))

    def lost(
        self,
        message: str,
        code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
        reason: str = "",
    ) -> None:
        """No gateway will answer."""
        self.timer.cancel()
        if self.better is not None and not self.better.done():
            self.better.set_result(None)
        if not self.answer.done():
            self._fail(ask_error(code, message, reason))

    def _take_better(self, answer: pb.Answer, seconds: float) -> None:
        if self.better is not None and not self.better.done():
            none = answer.HasField("error")
            # A better answer has a deadline of its own, which the gateway knows.
            self.better.set_result(None if none else from_answer(answer, seconds))

    def _reply(
        self, answer: pb.Answer, seconds: float, better: "asyncio.Future[Reply | None] | None"
    ) -> Reply:
        late = bool(self.deadline_ms) and seconds > self.deadline_ms / 1000
        return from_answer(answer, seconds, better, late=late)

    def _late(self) -> None:
        if not self.answer.done():
            cause = self.cause()
            message = (
                f"no gateway in time: {cause}" if cause else "the gateway gave no answer in time"
            )
            self._fail(ask_error(grpc.StatusCode.DEADLINE_EXCEEDED, message))

    def _fail(self, error: AskError) -> None:
        """The caller's default stands in for everything but a mistake in the question itself.

        A world that is hibernated or replaced, or a token that is being renewed, must not stop a game server.
        """
        if self.default is None or error.code is grpc.StatusCode.INVALID_ARGUMENT:
            self.answer.set_exception(error)
            return
        if error.code in MISTAKES and error.code not in _LOGGED:
            _LOGGED.add(error.code)
            _LOG.warning("defaults answer, said once for each code: %s", error)
        seconds = time.perf_counter() - self.began
        self.answer.set_result(
            Reply(
                text=self.default,
                source=Source.OWN_DEFAULT,
                degraded_reason=error.reason or error.code.name,
                seconds=seconds,
                late=bool(self.deadline_ms) and seconds > self.deadline_ms / 1000 + _TIMER_SECONDS,
            )
        )


MISTAKES = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)


def clean(text: str) -> str:
    """A text that can be sent: half of a surrogate pair (a cut emoji) becomes U+FFFD. Raises `QuestionError`."""
    if not isinstance(text, str):
        raise QuestionError(f"role, npc, archetype, prompt and actions are text: {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


_SPEAKERS = ("system", "user", "assistant")


def chat(messages: Sequence[tuple[str, str]]) -> pb.Chat:
    """A chat from pairs of speaker (`system`, `user`, `assistant`) and text. Raises `QuestionError`."""
    for speaker, _ in messages:
        if speaker not in _SPEAKERS:
            raise QuestionError(
                f"messages: a speaker is one of {', '.join(_SPEAKERS)}: {speaker!r}"
            )
    return pb.Chat(
        messages=[
            pb.Message(speaker=pb.Speaker.Value(f"SPEAKER_{speaker.upper()}"), text=clean(text))
            for speaker, text in messages
        ]
    )


def check(**numbers: tuple[int, int]) -> None:
    """Numbers by the names of their fields, each with the most that it may be. Raises `QuestionError`."""
    for name, (number, most) in numbers.items():
        if type(number) is not int or not 0 <= number <= most:
            raise QuestionError(f"{name} must be 0 to {most}: {number}")


def fields_as_text(fields: Mapping[str, object]) -> dict[str, str]:
    """The values of fields as they are sent; truth is `true` and `false`."""
    return {
        clean(name): str(value).lower() if isinstance(value, bool) else clean(str(value))
        for name, value in fields.items()
    }


def question_of(
    number: int,
    *,
    texts: tuple[str, str, str],
    prompt: str | Sequence[str],
    messages: Sequence[tuple[str, str]],
    actions: Sequence[str],
    fields: Mapping[str, object],
    numbers: tuple[int, int],
    cache: CacheUse,
) -> pb.Question:
    """A question; `texts` are role, archetype and NPC, `numbers` deadline_ms and max_tokens. Raises `QuestionError`."""
    parts = [prompt] if isinstance(prompt, str) and prompt else prompt
    if bool(parts) == bool(messages):
        raise QuestionError("give one of prompt and messages")
    if isinstance(actions, str):
        raise QuestionError(f"actions are a list of texts: {actions!r}")
    if cache not in CACHE_USES:
        raise QuestionError(f"cache is one of {', '.join(CACHE_USES)}: {cache!r}")
    deadline_ms, max_tokens = numbers
    check(deadline_ms=(deadline_ms, MOST_DEADLINE_MS), max_tokens=(max_tokens, MOST_TOKENS))
    role, archetype, npc = map(clean, texts)
    question = pb.Question(
        id=number,
        role=role,
        archetype=archetype,
        npc=npc,
        prompt=pb.Prompt(parts=map(clean, parts)) if parts else None,
        chat=chat(messages) if messages else None,
        actions=map(clean, actions),
        max_tokens=max_tokens,
        deadline_ms=deadline_ms,
        fields=fields_as_text(fields),
        cache=CACHE_USES[cache],
    )
    size = question.ByteSize()
    if size > MOST_BYTES:
        raise QuestionError(f"a question has at most {MOST_BYTES} bytes, this one has {size}")
    return question
