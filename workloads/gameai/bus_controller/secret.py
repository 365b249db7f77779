"""EDGE: the Secret with the credentials of the bus's own servers and programs. It is created once, and never changed."""

import argparse
import base64
import secrets  # noqa: TID251 - the edge: credentials are made here
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from gameai_contract.names import MANAGED_BY, PART_OF

from gameai.bus.login import Password
from gameai.bus_controller.credentials import SEED_BYTES, Issuer
from gameai.cluster.api import ApiError, Server

_NOT_FOUND, _CONFLICT = 404, 409
_PASSWORD_BYTES = 32
# The user of the servers' own configuration that may do everything.
STREAMS_USER = "streams"
SYSTEM_USER = "system"
# Keys of the Secret. Servers get the public key of the issuer and the passwords; the seed stays with this program.
SEED, ISSUER = "issuer-seed", "issuer"
CALLOUT, STREAMS, CLUSTER = "callout-password", "streams-password", "cluster-password"
SYSTEM = "system-password"
_PASSWORDS = (CALLOUT, STREAMS, CLUSTER, SYSTEM)


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """The issuer of users, and the passwords with which this program connects as `callout`, `streams` and `system`."""

    issuer: Issuer
    callout: str
    streams: str
    system: str

    def login(self, ca_file: Path | None) -> Password:
        """Of the user that may do everything with the streams."""
        return Password(user=STREAMS_USER, password=self.streams, ca_file=ca_file)

    def system_login(self, ca_file: Path | None) -> Password:
        """Of the user that may ask servers to read their files again."""
        return Password(user=SYSTEM_USER, password=self.system, ca_file=ca_file)

    def __repr__(self) -> str:
        return f"Credentials({self.issuer.public_key})"


class SecretError(Exception):
    """The Secret is not what this program creates; the message says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretName:
    """Where the Secret is."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def secret_name(text: str) -> SecretName:
    """For `type` of a flag: `namespace/name`."""
    namespace, slash, name = text.partition("/")
    if not namespace or not slash or not name or "/" in name:
        raise argparse.ArgumentTypeError(f"{text!r} must be namespace/name")
    return SecretName(namespace=namespace, name=name)


async def existing(server: Server, name: SecretName) -> Credentials:
    """Those of the Secret. Raises `SecretError` if it is missing, `ApiError`, and what connections raise."""
    path = f"/api/v1/namespaces/{name.namespace}/secrets/{name.name}"
    async with server.session() as session:
        found = await _found(server, session, path)
    if found is None:
        raise SecretError(f"Secret {name} does not exist: the bus's controller creates it")
    return _read(found, str(name))


async def credentials(server: Server, of: SecretName) -> Credentials:
    """Those of the Secret, which is created if it is missing. Raises `SecretError`, `ApiError`, and what connections raise."""
    namespace, name = of.namespace, of.name
    collection = f"/api/v1/namespaces/{namespace}/secrets"
    async with server.session() as session:
        found = await _found(server, session, f"{collection}/{name}")
        if found is None:
            found = await _created(server, session, collection, _new(namespace, name))
        if found is None:
            # Another replica was first.
            found = await server.document(session, f"{collection}/{name}")
    return _read(found, f"{namespace}/{name}")


async def _found(server: Server, session: aiohttp.ClientSession, path: str) -> Any:
    try:
        return await server.document(session, path)
    except ApiError as error:
        if error.status != _NOT_FOUND:
            raise
        return None


async def _created(
    server: Server, session: aiohttp.ClientSession, path: str, document: dict[str, Any]
) -> Any:
    try:
        return await server.create(session, path, document)
    except ApiError as error:
        if error.status != _CONFLICT:
            raise
        return None


def _new(namespace: str, name: str) -> dict[str, Any]:
    seed = secrets.token_bytes(SEED_BYTES)
    texts = {
        SEED: seed.hex(),
        ISSUER: Issuer.of(seed).public_key,
        # The servers read passwords as values of their configuration, where a text must not look like a number.
        **{each: f"p{secrets.token_hex(_PASSWORD_BYTES)}" for each in _PASSWORDS},
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": {**MANAGED_BY, **PART_OF}},
        "immutable": True,
        "type": "Opaque",
        "data": {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()},
    }


def _read(document: dict[str, Any], name: str) -> Credentials:
    try:
        held = {
            key: base64.b64decode(text).decode()
            for key, text in (document.get("data") or {}).items()
        }
        issuer = Issuer.of(bytes.fromhex(held[SEED]))
        if issuer.public_key != held[ISSUER]:
            raise ValueError(f"{ISSUER} does not belong to {SEED}")
        if min(len(held[each]) for each in _PASSWORDS) < _PASSWORD_BYTES:
            raise ValueError("a password is too short")
        return Credentials(
            issuer=issuer, callout=held[CALLOUT], streams=held[STREAMS], system=held[SYSTEM]
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise SecretError(
            f"Secret {name} cannot be used ({type(error).__name__}): delete it, and restart the bus's servers once it exists again"
        ) from error
