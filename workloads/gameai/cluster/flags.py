"""EDGE: the flags of programs that read from a cluster, and the API server that they name."""

import argparse
import os
from pathlib import Path
from typing import Any, Protocol

from gameai.cluster.api import TOKEN_FOLDER, Server


class NoServerError(Exception):
    """No API server is known; the message names the flag."""


class _Adds(Protocol):
    def add_argument(self, *names: str, **given: Any) -> Any: ...


def add_server(parser: _Adds) -> None:
    """`--api-server`, `--api-token` and `--api-ca`."""
    add = parser.add_argument
    add("--api-server", default="", help="URL of the API server (default: in-cluster)")
    add(
        "--api-token",
        type=Path,
        default=TOKEN_FOLDER / "token",
        help="file with the token for the API server",
    )
    add(
        "--api-ca",
        type=Path,
        default=TOKEN_FOLDER / "ca.crt",
        help="file with the CA certificate of the API server",
    )


def server(given: argparse.Namespace) -> Server:
    """The API server of these flags. Raises `NoServerError`."""
    return Server(url=given.api_server or _own(), token_file=given.api_token, ca_file=given.api_ca)


def _own() -> str:
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    if not host:
        raise NoServerError("--api-server: not running in a pod; give the URL of the API server")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"
