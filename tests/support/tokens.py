"""Tokens of ServiceAccounts, signed with keys of our own as a cluster does."""

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from gameai.serving.identity import AUDIENCE

ISSUER = "https://kubernetes.default.svc.cluster.local"
OURS, THEIRS = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))


def token(key: rsa.RSAPrivateKey = OURS, kid: str = "k1", **claims: Any) -> str:
    held = {
        "iss": ISSUER,
        "aud": [AUDIENCE],
        "sub": "system:serviceaccount:games:server",
        # Long: those among the parameters are made when tests are collected.
        "iat": time.time(),
        "exp": time.time() + 86_000,
    }
    return jwt.encode(held | claims, key, algorithm="RS256", headers={"kid": kid})


def metadata_of(account: str, audience: str, **claims: Any) -> tuple[tuple[str, str | bytes], ...]:
    """Metadata of calls by an account, `namespace/name`; empty: none."""
    if not account:
        return ()
    given = {"sub": f"system:serviceaccount:{account.replace('/', ':')}", "aud": [audience]}
    return (("authorization", f"Bearer {token(**(given | claims))}"),)


def key_set(key: rsa.RSAPrivateKey = OURS) -> dict[str, Any]:
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    return {"keys": [public | {"kid": "k1", "alg": "RS256"}]}
