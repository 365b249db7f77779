"""EDGE: how a program proves to the brokers of the bus who it is."""

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Password:
    """A user of the servers' own configuration."""

    user: str
    password: str
    scoped: bool = False

    def options(self) -> dict[str, Any]:
        """User and password."""
        return {"user": self.user, "password": self.password}

    def __repr__(self) -> str:
        return f"Password(user={self.user!r})"


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenFile:
    """A projected ServiceAccount token, which the kubelet renews; a connection ends with its token."""

    file: Path
    scoped: bool = True

    def options(self) -> dict[str, Any]:
        """The token as it is at each connection, and where its account gets answers."""
        try:
            claims = jwt.decode(self._token(), options={"verify_signature": False})
            subject = str(claims["sub"])
        except (jwt.PyJWTError, KeyError) as error:
            raise ValueError(f"{self.file} holds no ServiceAccount token") from error
        account = subject.removeprefix(_SUBJECT).replace(":", "/")
        return {"token": self._token, "inbox_prefix": inbox(account)}

    def _token(self) -> str:
        return self.file.read_text().strip()
