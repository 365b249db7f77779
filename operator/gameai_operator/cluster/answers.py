"""PURE: what an API server says of a request that failed."""

import json

from gameai_operator.controller.errors import ApiError

_MOST_RETRY_SECONDS = 300.0


def retry_after_seconds(text: str) -> float:
    """A Retry-After header, in seconds; 0 where it has none."""
    return min(float(text), _MOST_RETRY_SECONDS) if text.isdigit() else 0.0


def api_error(status: int, answer: bytes, after_seconds: float) -> ApiError:
    """The error that an answer stands for."""
    try:
        detail = json.loads(answer)
        reason, message = detail.get("reason", ""), detail.get("message", "")
    except (ValueError, AttributeError):
        reason, message = "", answer[:300].decode(errors="replace")
    return ApiError(status, reason, message, retry_after_seconds=after_seconds)
