"""PURE: the bodies of vLLM 0.32, key for key."""

import json
from typing import Any

FINGERPRINT = "vllm-0.32.0-double"
VERSION = "0.32.0"


def error(status: int, message: str, kind: str, param: str | None = None) -> dict[str, Any]:
    """The error body of every route."""
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


def usage(prompt: int, completion: int, *, full: bool = True) -> dict[str, Any]:
    """Tokens of a request; the last chunk of a stream has less."""
    counts: dict[str, Any] = {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
    }
    if full:
        counts |= {"prompt_tokens_details": None, "completion_tokens_details": None}
    return counts


def chat(
    head: dict[str, Any], text: str, finish: str, logprobs: Any, counts: dict[str, Any]
) -> dict[str, Any]:
    """A whole chat completion."""
    message = {
        "role": "assistant",
        "content": text,
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "reasoning": None,
    }
    choice = {
        "index": 0,
        "message": message,
        "logprobs": logprobs,
        "finish_reason": finish,
        "stop_reason": None,
        "token_ids": None,
        "routed_experts": None,
    }
    return {
        "id": head["id"],
        "object": "chat.completion",
        "created": head["created"],
        "model": head["model"],
        "choices": [choice],
        "service_tier": None,
        "system_fingerprint": FINGERPRINT,
        "usage": counts,
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def completion(
    head: dict[str, Any], texts: list[str], finish: str, counts: dict[str, Any]
) -> dict[str, Any]:
    """A whole completion of one or more prompts."""
    choices = [
        {
            "index": index,
            "text": text,
            "logprobs": None,
            "finish_reason": finish,
            "stop_reason": None,
            "token_ids": None,
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "routed_experts": None,
        }
        for index, text in enumerate(texts)
    ]
    return {
        "id": head["id"],
        "object": "text_completion",
        "created": head["created"],
        "model": head["model"],
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": FINGERPRINT,
        "usage": counts,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def chat_role(head: dict[str, Any]) -> dict[str, Any]:
    """A chat stream's first chunk: the role alone."""
    choice = {
        "index": 0,
        "delta": {"role": "assistant", "content": ""},
        "logprobs": None,
        "finish_reason": None,
    }
    return _chunk(head, "chat.completion.chunk", choice) | {
        "prompt_token_ids": None,
        "prompt_text": None,
    }


def chat_chunk(
    head: dict[str, Any], text: str, finish: str | None, *, last: bool = True
) -> dict[str, Any]:
    """One token of a chat stream; the one at its end has the reason, and the fingerprint unless a usage chunk follows."""
    choice: dict[str, Any] = {
        "index": 0,
        "delta": {"content": text},
        "logprobs": None,
        "finish_reason": finish,
    }
    if finish is None:
        return _chunk(head, "chat.completion.chunk", choice | {"token_ids": None})
    chunk = _chunk(head, "chat.completion.chunk", choice | {"stop_reason": None, "token_ids": None})
    return chunk | {"system_fingerprint": FINGERPRINT} if last else chunk


def completion_chunk(
    head: dict[str, Any], text: str, finish: str | None, *, last: bool = True
) -> dict[str, Any]:
    """One token of a completion's stream, which has no fingerprint wherever it ends."""
    del last
    choice = {
        "index": 0,
        "text": text,
        "logprobs": None,
        "finish_reason": finish,
        "stop_reason": None,
        "prompt_token_ids": None,
        "token_ids": None,
    }
    return _chunk(head, "text_completion", choice)


def usage_chunk(head: dict[str, Any], kind: str, counts: dict[str, Any]) -> dict[str, Any]:
    """The chunk after the last one, where usage was asked for."""
    return _head(head, kind) | {
        "choices": [],
        "usage": counts,
        "system_fingerprint": FINGERPRINT,
    }


def event(document: dict[str, Any]) -> bytes:
    """One server-sent event. Errors are written with spaces, everything else without, as vLLM does."""
    separators = None if "error" in document else (",", ":")
    return b"data: " + json.dumps(document, separators=separators).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def models(name: str, created: int, context: int) -> dict[str, Any]:
    """The body of /v1/models."""
    permission = {
        "id": "modelperm-double",
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    model = {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "vllm",
        "root": f"/models/{name}",
        "parent": None,
        "max_model_len": context,
        "permission": [permission],
    }
    return {"object": "list", "data": [model]}


def _head(head: dict[str, Any], kind: str) -> dict[str, Any]:
    return {
        "id": head["id"],
        "object": kind,
        "created": head["created"],
        "model": head["model"],
    }


def _chunk(head: dict[str, Any], kind: str, choice: dict[str, Any]) -> dict[str, Any]:
    return _head(head, kind) | {"choices": [choice]}
