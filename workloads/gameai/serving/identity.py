"""EDGE: who calls: a projected ServiceAccount token, verified with the cluster's public keys and without a call."""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jwt
from gameai_contract.names import TOKEN_AUDIENCE

from gameai.errors import UnauthenticatedError

AUDIENCE = TOKEN_AUDIENCE
_ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256")
_SUBJECT = re.compile(r"system:serviceaccount:([a-z0-9-]{1,63}):([a-z0-9.-]{1,253})")
_MOST_KNOWN = 1024
_MOST_TOKEN = 8192
_LEEWAY_SECONDS = 10
# A token cannot be taken back before it ends, so that one that is stolen or belongs to a deleted pod must end soon.
MOST_HOURS = 24.0
_RENEW_SECONDS = 30.0
_HOUR_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Caller:
    """`namespace/account`, None where identity is switched off; when its token ends (Unix seconds); the account's UID."""

    name: str | None
    ends_at: float
    uid: str = ""

    def seconds_left(self) -> float:
        """Until its token should have been replaced."""
        return max(1.0, self.ends_at - time.time() - _RENEW_SECONDS)


class Identity(Protocol):
    """Identifies callers by the metadata of a call."""

    def caller(self, metadata: Mapping[str, str | bytes]) -> Caller:
        """Raises `UnauthenticatedError`."""


class Anybody:
    """Everybody may speak for every world: for laptops."""

    def caller(self, metadata: Mapping[str, str | bytes]) -> Caller:  # noqa: ARG002 - the protocol's
        """Accepts every caller, without identity."""
        return Caller(None, float("inf"))


class Tokens:
    """Verifies tokens of an issuer and an audience; keys are a JSON Web Key Set, which may be replaced at any time.

    Before the first keys are known all callers are rejected. A cluster that changes its issuer goes on accepting tokens of the
    former one, and so does this, for as long as a token may live.
    """

    def __init__(self, audience: str = AUDIENCE, most_hours: float = MOST_HOURS) -> None:
        self._audience = audience
        self._most_hours = most_hours
        self._issuers: dict[str, float] = {}
        self._known: OrderedDict[str, Caller] = OrderedDict()
        self._keys: dict[str, jwt.PyJWK] = {}
        # Set when a token came whose key is not known: the cluster may have new ones.
        self.unknown = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether there are keys."""
        return bool(self._keys)

    def take(self, issuer: str, keys: Mapping[str, Any]) -> None:
        """Replace issuer and keys. Tokens that were verified with other keys are verified again.

        Raises `jwt.PyJWTError` or `ValueError` for an invalid key set, and then changes nothing.
        """
        found = {key.key_id or "": key for key in jwt.PyJWKSet.from_dict(dict(keys)).keys}
        now = time.time()
        kept = {
            name: since
            for name, since in self._issuers.items()
            if now - since < self._most_hours * _HOUR_SECONDS
        }
        self._keys, self._issuers = found, kept | {issuer: now}
        self._known.clear()

    def caller(self, metadata: Mapping[str, str | bytes]) -> Caller:
        """Raises `UnauthenticatedError`, which says what to do but nothing of the token."""
        held = metadata.get("authorization", "")
        kind, _, token = (held if isinstance(held, str) else "").partition(" ")
        if kind.lower() != "bearer":
            token = ""
        return self.owner(token, "send `authorization: Bearer <token>` with")

    def owner(self, token: str, remedy: str) -> Caller:
        """Whose token this is. `remedy` begins the sentence for those without one. Raises `UnauthenticatedError`."""
        if not token or len(token) > _MOST_TOKEN:
            raise UnauthenticatedError(
                f"{remedy} a ServiceAccount token of audience {self._audience}"
            )
        known = self._known.get(token)
        if known is None:
            known = self._verify(token)
            self._known[token] = known
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        if time.time() > known.ends_at + _LEEWAY_SECONDS:
            self._known.pop(token, None)
            raise UnauthenticatedError(
                "the token has expired: read its file again before each call"
            )
        return known

    def _verify(self, token: str) -> Caller:
        try:
            key = self._keys[jwt.get_unverified_header(token).get("kid", "")]
            claims = jwt.decode(
                token,
                key,
                algorithms=_ALGORITHMS,
                audience=self._audience,
                issuer=list(self._issuers),
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "sub", "iss", "aud"]},
            )
        except KeyError as error:
            self.unknown.set()
            raise UnauthenticatedError(
                "the token is signed with a key this cluster has not"
            ) from error
        except jwt.ExpiredSignatureError as error:
            raise UnauthenticatedError(
                "the token has expired: read its file again before each call"
            ) from error
        except jwt.InvalidAudienceError as error:
            raise UnauthenticatedError(f"the token's audience is not {self._audience}") from error
        except jwt.PyJWTError as error:
            raise UnauthenticatedError("the token is not one of this cluster") from error
        subject = _SUBJECT.fullmatch(claims["sub"])
        if subject is None:
            raise UnauthenticatedError("the token is not a ServiceAccount's")
        hours = (claims["exp"] - claims["iat"]) / _HOUR_SECONDS
        if hours > self._most_hours:
            raise UnauthenticatedError(
                f"the token is valid for {hours:.0f} hours and at most {self._most_hours:.0f} are accepted: "
                "mount a projected token, which is renewed"
            )
        return Caller(f"{subject[1]}/{subject[2]}", float(claims["exp"]), _uid(claims))


def _uid(claims: Mapping[str, Any]) -> str:
    """The UID of the ServiceAccount, which Kubernetes writes into its tokens."""
    held = claims.get("kubernetes.io")
    account = held.get("serviceaccount") if isinstance(held, dict) else None
    return str(account.get("uid", "")) if isinstance(account, dict) else ""
