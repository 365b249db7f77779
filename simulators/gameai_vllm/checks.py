"""PURE: what vLLM refuses, and with which words."""

import json
from dataclasses import dataclass
from typing import Any

from gameai_vllm import text, wire

# vLLM rejects by characters before it tokenises: its longest token has so many.
_CHARACTERS_PER_TOKEN = 13
_DEFAULT_TOKENS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused(Exception):  # noqa: N818 - it is an answer, not a failure of ours
    """A request that is answered with an error."""

    status: int
    body: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A request that may run: its prompts, tokens of them, tokens to generate, and the form of the answer."""

    chat: bool
    prompts: tuple[str, ...]
    prompt_tokens: int
    answers: tuple[tuple[str, ...], ...]
    finish: str
    stream: bool
    usage: bool
    priority: int
    logprobs: int


def body_of(kind: str, raw: bytes) -> dict[str, Any]:
    """The JSON object of a request. Raises `Refused`."""
    if kind != "application/json":
        raise _invalid("  Unsupported Media Type: Only 'application/json' is allowed", None)
    try:
        body = json.loads(raw)
    except ValueError as error:
        place = f"body.{getattr(error, 'pos', 0)}"
        raise _invalid(
            f"  {{'type': 'json_invalid', 'loc': '{place}', 'msg': 'JSON decode error', "
            "'input': '<dict of 0 items>', 'ctx': {'error': 'Expecting value'}}",
            place,
        ) from error
    if not isinstance(body, dict):
        raise _invalid("  Input should be a valid dictionary", "body")
    return body


def asked(body: dict[str, Any], model: str, context: int, *, chat: bool) -> Asked:
    """What a body asks for. Raises `Refused`."""
    wanted = "messages" if chat else "prompt"
    if wanted not in body:
        raise _invalid(
            f"  {{'type': 'missing', 'loc': 'body.{wanted}', 'msg': 'Field required', "
            f"'input': '<dict of {len(body)} items>'}}",
            f"body.{wanted}",
        )
    if body.get("model", model) != model:
        message = f"The model `{body['model']}` does not exist. Valid aliases: {model}."
        raise Refused(status=404, body=wire.error(404, message, "NotFoundError", "model"))
    _check_numbers(body, context)
    if chat and body.get("tool_choice") == "auto":
        raise _bad(
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
        )
    prompts, used = _prompts(body, chat=chat)
    _check_length(prompts, used, context)
    most = body.get("max_tokens") or (context - used if chat else _DEFAULT_TOKENS)
    answers, finish = _answers(body, prompts, min(int(most), max(1, context - used)))
    return Asked(
        chat=chat,
        prompts=prompts,
        prompt_tokens=used,
        answers=answers,
        finish=finish,
        stream=bool(body.get("stream")),
        usage=bool((body.get("stream_options") or {}).get("include_usage")),
        priority=int(body.get("priority") or 0),
        logprobs=int(body.get("top_logprobs") or 0) if body.get("logprobs") else 0,
    )


def _check_numbers(body: dict[str, Any], context: int) -> None:
    heat = body.get("temperature")
    if heat is not None and heat < 0:
        heat = float(heat)
        message = (
            f"temperature must be non-negative, got {heat}. (parameter=temperature, value={heat})"
        )
        raise _bad(message, "temperature")
    most = body.get("max_tokens")
    if most is not None and most > context:
        raise _bad(
            f"max_tokens={most} cannot be greater than max_model_len={context}. "
            f"Please request fewer output tokens. (parameter=max_tokens, value={most})",
            "max_tokens",
        )


def _check_length(prompts: tuple[str, ...], used: int, context: int) -> None:
    characters, bound = sum(map(len, prompts)), context * _CHARACTERS_PER_TOKEN
    start = (
        f"This model's maximum context length is {context} tokens. However, your prompt contains"
    )
    end = "Please reduce the length of the input prompt. (parameter=input_text, value="
    if characters > bound:
        many = f"{characters} characters (more than {bound} characters, which is the upper bound for {context} input tokens)"
        raise _bad(f"{start} {many}. {end}{characters})", "input_text")
    if used >= context:
        raise _bad(
            f"{start} at least {used} input tokens. {end}{used})".replace(
                "input_text", "input_tokens"
            ),
            "input_tokens",
        )


def _prompts(body: dict[str, Any], *, chat: bool) -> tuple[tuple[str, ...], int]:
    if chat:
        messages = list(body["messages"])
        whole = "".join(_templated(each) for each in messages)
        return (whole + "<|im_start|>assistant\n",), text.chat_tokens(messages)
    held = body["prompt"]
    prompts = tuple(held) if isinstance(held, list) else (str(held),)
    return prompts, sum(map(text.count, prompts))


def _templated(message: Any) -> str:
    speaker = message.get("role", "") if isinstance(message, dict) else ""
    return f"<|im_start|>{speaker}\n{text.content(message)}<|im_end|>\n"


def _answers(
    body: dict[str, Any], prompts: tuple[str, ...], most: int
) -> tuple[tuple[tuple[str, ...], ...], str]:
    """The tokens of every answer, and why they end."""
    try:
        form = text.structured(text.wanted_structure(body), prompts[0])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _bad(str(error)) from error
    if form is None and len(prompts) == 1:
        form = text.described(prompts[0])
    if form is None:
        made = (tuple(text.tokens(each, most, body.get("seed"))) for each in prompts)
        return tuple(made), "length"
    pieces = form.split(" ")
    whole = (*(f"{each} " for each in pieces[:-1]), pieces[-1])
    return (whole[:most],), "stop" if len(whole) < most else "length"


def _bad(message: str, param: str | None = None) -> Refused:
    return Refused(status=400, body=wire.error(400, message, "BadRequestError", param))


def _invalid(fault: str, param: str | None) -> Refused:
    message = f"1 validation error:\n{fault}"
    return Refused(status=400, body=wire.error(400, message, "Bad Request", param))
