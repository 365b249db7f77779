"""PURE: where a page of a list begins. A token is good for the list that it was made for alone."""

import base64
import binascii
from hashlib import blake2b

from gameai.errors import InvalidArgumentError
from gameai.services.state_manager.rules import checks

_DIGEST_BYTES = 6


def token(after: str, *asked: str) -> str:
    """The token of the page behind this key, of a list by what was asked for."""
    return base64.urlsafe_b64encode(_digest(asked) + after.encode()).decode()


def after(given: str, *asked: str) -> str:
    """The key behind which a page begins; empty for the first one. Raises `InvalidArgumentError`."""
    if not given:
        return ""
    try:
        found = base64.b64decode(given.encode(), altchars=b"-_", validate=True)
        key = checks.key(found[_DIGEST_BYTES:].decode(), "page_token")
    except (binascii.Error, UnicodeError, InvalidArgumentError):
        found, key = b"", ""
    if not key or found[:_DIGEST_BYTES] != _digest(asked):
        raise InvalidArgumentError(
            "page_token is not of this list: send next_page_token of the page before, and the same collection, owner and key_prefix",
            field="page_token",
        )
    return key


def _digest(asked: tuple[str, ...]) -> bytes:
    return blake2b("\0".join(asked).encode(), digest_size=_DIGEST_BYTES).digest()
