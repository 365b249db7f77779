"""PURE: how a pod connects to a PostgreSQL database: its URL, its role and password from a Secret, and its authority's certificates."""

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import quote, urlencode

from gameai_contract.names import DATABASE_ENVIRONMENT

from gameai_operator.api.database import DatabaseTls, TlsMode
from gameai_operator.controller.manifest import Document

_VOLUME, _FOLDER, _FILE = "database-ca", "/etc/gameai-database", "ca.crt"
_SSL: Mapping[TlsMode, str] = MappingProxyType(
    {
        TlsMode.VERIFY_FULL: "verify-full",
        TlsMode.REQUIRE: "require",
        TlsMode.DISABLE: "disable",
    }
)

# What `environment` sets.
VARIABLES = (DATABASE_ENVIRONMENT, "PGUSER", "PGPASSWORD", "HOME")


def url(host: str, port: int, name: str, tls: DatabaseTls | None) -> str:
    """The URL of a database, without role and password."""
    options = {"sslmode": _SSL[tls.mode]} if tls else {}
    options |= {"sslrootcert": f"{_FOLDER}/{_FILE}"} if tls and tls.ca_config_map else {}
    query = f"?{urlencode(options)}" if options else ""
    return f"postgresql://{host}:{port}/{quote(name)}{query}"


def environment(address: str, user: Document, password: Document) -> list[Document]:
    """The URL of the database; role and password come from variables that libpq reads, and so stand in no template."""
    return [
        {"name": DATABASE_ENVIRONMENT, "value": address},
        {"name": "PGUSER", **user},
        {"name": "PGPASSWORD", **password},
        # Its files are below the home of the image's user, which cannot be written.
        {"name": "HOME", "value": "/tmp"},  # noqa: S108 - a path inside the pod
    ]


def from_secret(name: str, key: str) -> Document:
    """The source of a variable: a key of a Secret."""
    return {"valueFrom": {"secretKeyRef": {"name": name, "key": key}}}


def volumes(tls: DatabaseTls | None) -> list[Document]:
    """The volume with the authority's certificates; none where there are none."""
    given = tls.ca_config_map if tls else None
    if given is None:
        return []
    source = {"name": given.name, "items": [{"key": given.key, "path": _FILE}]}
    return [{"name": _VOLUME, "configMap": source}]


def mounts(tls: DatabaseTls | None) -> list[Document]:
    """Where that volume is mounted."""
    if tls is None or tls.ca_config_map is None:
        return []
    return [{"name": _VOLUME, "mountPath": _FOLDER, "readOnly": True}]
