"""EDGE: how a program proves to the brokers of the bus who it is."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jwt

from gameai.bus.subjects import inbox

_SUBJECT = "system:serviceaccount:"


class Login(Protocol):
    """Read for each connection, since tokens are replaced while a process runs.

    `scoped` says that the connection may use the subjects of its own worlds alone.
    """

    @property
    def scoped(self) -> bool:
        """Whether it may."""

    def options(self) -> dict[str, Any]:
        """Arguments of the client's `connect`. Raises OSError or ValueError where there are none."""


def encryption(ca_file: Path | None) -> dict[str, Any]:
    """Arguments of the client's `connect`: to servers whose certificate is of this authority; None: without encryption.

    The client encrypts before a server has said anything, which could be that it need not. Raises OSError.
    """
    if ca_file is None:
        return {}
    return {"tls": ssl.create_default_context(cafile=ca_file), "tls_handshake_first": True}


@dataclass(frozen=True, kw_only=True, slots=True)
class Password:
    """A user of the servers' own configuration. With a `ca_file` connections are encrypted."""

    user: str
    password: str
    scoped: bool = False
    ca_file: Path | None = None

    def options(self) -> dict[str, Any]:
        """User and password."""
        return {"user": self.user, "password": self.password, **encryption(self.ca_file)}

    def __repr__(self) -> str:
        return f"Password(user={self.user!r})"


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenFile:
    """A projected ServiceAccount token, which the kubelet renews; a connection ends with its token. `ca_file`: as of `Password`."""

    file: Path
    scoped: bool = True
    ca_file: Path | None = None

    def options(self) -> dict[str, Any]:
        """The token as it is at each connection, and where its account gets answers."""
        try:
            claims = jwt.decode(self._token(), options={"verify_signature": False})
            subject = str(claims["sub"])
        except (jwt.PyJWTError, KeyError) as error:
            raise ValueError(f"{self.file} holds no ServiceAccount token") from error
        account = subject.removeprefix(_SUBJECT).replace(":", "/")
        return {
            "token": self._token,
            "inbox_prefix": inbox(account),
            **encryption(self.ca_file),
        }

    def _token(self) -> str:
        return self.file.read_text().strip()


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldToken:
    """That of a world's pod. `authority` is a file of its configuration, which may come and change.

    It is missing where the servers do not encrypt; then the token is sent only if `insecure` says that the network is trusted.
    """

    file: Path
    authority: Path
    insecure: bool = False
    scoped: bool = True

    def options(self) -> dict[str, Any]:
        """As of `TokenFile`."""
        encrypted = self.authority.is_file()
        if not encrypted and not self.insecure:
            raise ValueError(
                f"there is no {self.authority}, so that the token would cross the network in clear: set bus.tls.mode of the operator's "
                "chart to another value than Off, or give insecure=True where you trust the network between here and the bus"
            )
        return TokenFile(file=self.file, ca_file=self.authority if encrypted else None).options()
