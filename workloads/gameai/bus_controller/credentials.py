"""PURE: credentials in the form of NATS: public keys, and JSON Web Tokens that an account's key signs.

The form is that of NATS' ADR-14 (user JWTs) and ADR-26 (the authorization callout). The library `nkeys` is not used: it has
no wheels and brings libsodium, and what is needed of it are the few lines of `public_key`.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gameai.bus.streams import DEAD_LETTERS
from gameai.bus_controller.grants import Permissions

# The accounts of the servers for connections with a token. The streams are in another one than pods of worlds, and it takes
# events from theirs.
WORLDS_ACCOUNT, STREAMS_ACCOUNT = "WORLDS", "GAME"
SEED_BYTES = 32
_ACCOUNT_KEY = 0
_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
_VERSION = 2
# Of a connection: a consumer and a publisher have four subscriptions, and a dead letter is the largest message.
_MOST_SUBSCRIPTIONS, _MOST_PAYLOAD_BYTES = 16, DEAD_LETTERS.most_message_bytes
# Of a gateway: each request has a subscription.
_MOST_INSIDE = 256
_NO_LIMIT = -1
_PARTS = 3


class RequestError(Exception):
    """What a server asks cannot be read; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A connection that a server asks about. `user` and `server` are public keys, `token` what the client sent as such."""

    user: str
    server: str
    token: str
    host: str
    # When the server asked, in Unix seconds.
    asked_at: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Issuer:
    """Signs for the servers that have its public key in their configuration."""

    key: Ed25519PrivateKey

    @classmethod
    def of(cls, seed: bytes) -> "Issuer":
        """That of a seed of 32 bytes. Raises ValueError for another number of them."""
        return cls(key=Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def public_key(self) -> str:
        """As servers have it in `auth_callout.issuer`."""
        return public_key(_ACCOUNT_KEY, self.key.public_key().public_bytes_raw())

    def user(
        self, request: Request, account: str, allowed: Permissions, *, now: int, ends_at: int
    ) -> str:
        """A token for this connection, from `now` to `ends_at` (Unix seconds)."""
        nats = {
            "type": "user",
            "version": _VERSION,
            "pub": {"allow": list(allowed.publish)},
            "sub": {"allow": list(allowed.subscribe)},
            "subs": _MOST_INSIDE if allowed.inside else _MOST_SUBSCRIPTIONS,
            "data": _NO_LIMIT,
            "payload": _MOST_PAYLOAD_BYTES,
        }
        place = STREAMS_ACCOUNT if allowed.inside else WORLDS_ACCOUNT
        about = {"sub": request.user, "aud": place, "name": account, "exp": ends_at}
        return self._signed({**about, "iat": now, "nats": nats})

    def answer(self, request: Request, *, now: int, user: str = "", error: str = "") -> str:
        """The answer to a server: the token of the user, or why there is none."""
        nats = {"type": "authorization_response", "version": _VERSION}
        held = {"jwt": user} if user else {"error": error}
        about = {"sub": request.user, "aud": request.server, "iat": now}
        return self._signed({**about, "nats": {**nats, **held}})

    def _signed(self, claims: Mapping[str, Any]) -> str:
        named = {**claims, "iss": self.public_key}
        about = (named["sub"], named["aud"], named["iat"])
        number = hashlib.sha256(_json({"about": about})).digest()
        text = b".".join(
            (_text(_json(_HEADER)), _text(_json({**named, "jti": _base32(number).decode()})))
        )
        return b".".join((text, _text(self.key.sign(text)))).decode()


def public_key(kind: int, key: bytes) -> str:
    """A public key as NATS writes it: base32 of the kind, the key and their CRC-16."""
    held = bytes([kind]) + key
    return _base32(held + binascii.crc_hqx(held, 0).to_bytes(2, "little")).decode()


def request(token: str) -> Request:
    """What a server asks. Its signature is not checked: only servers can publish to the subject on which it came.

    Raises `RequestError`.
    """
    parts = token.split(".")
    try:
        if len(parts) != _PARTS:
            raise ValueError("it is no JSON Web Token")
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = json.loads(base64.urlsafe_b64decode(padded))
        nats = claims["nats"]
        return Request(
            user=str(nats["user_nkey"]),
            server=str(nats["server_id"]["id"]),
            token=str(nats["connect_opts"].get("auth_token", "")),
            host=str(nats["client_info"].get("host", "")),
            asked_at=int(claims.get("iat", 0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RequestError(f"a request of a server cannot be read: {error!r}") from error


def _base32(data: bytes) -> bytes:
    return base64.b32encode(data).rstrip(b"=")


def _text(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
