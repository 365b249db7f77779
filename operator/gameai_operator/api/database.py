"""PURE: the database of a KnowledgeBase or of a world: one that the operator runs, or one of the user's own."""

from enum import StrEnum
from typing import Annotated, ClassVar

from gameai_contract.names import POSTGRES_PORT
from pydantic import Field, StringConstraints

from gameai_operator.api.base import Model, ObjectName, Quantity, Rule, image_rule

DEFAULT_IMAGE = "pgvector/pgvector:0.8.6-pg18"
SecretKey = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")
]
# What may stand in a URL without escapes.
DatabaseName = Annotated[
    str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$")
]
Host = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=253, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$"
    ),
]


class DeletionPolicy(StrEnum):
    """What becomes of the volume with the KnowledgeBase."""

    RETAIN = "Retain"
    DELETE = "Delete"


class ManagedDatabase(Model):
    """One PostgreSQL pod with one volume, for development and small worlds. It has no standby; spec.backup makes archives."""

    image: Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^\S+$")] = (
        DEFAULT_IMAGE
    )
    """Image with PostgreSQL 16 or later and pgvector 0.8 or later: initdb, pg_ctl, psql and postgres are on its PATH, and user 999 is in its passwd file. A change restarts the database; another major version cannot read the data."""
    storage: Quantity = "20Gi"
    """Size of the volume, in bytes. Immutable: enlarge the PersistentVolumeClaim itself."""
    storage_class_name: ObjectName | None = None
    """StorageClass of the volume. Immutable. Absent: the default class of the cluster. Example: gp3."""
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    """Retain: the volume outlives the KnowledgeBase, and a new one of the same name finds it. Delete: the volume is deleted with the KnowledgeBase, and also when its StatefulSet is deleted by hand. The Secret with the password is kept."""
    cpu: Quantity = "500m"
    """CPU request of the pod, in cores. No limit is set from it."""
    memory: Quantity = "1Gi"
    """Memory request and limit of the pod, in bytes, at least 256Mi. A quarter of it is shared_buffers; see the sizing rule in docs/knowledge.md."""
    rules: ClassVar[tuple[Rule, ...]] = (
        image_rule(DEFAULT_IMAGE),
        Rule(
            "self.storage == oldSelf.storage",
            "storage is immutable: enlarge the PersistentVolumeClaim data-<name>-db-0 itself",
            ".storage",
        ),
        Rule(
            "has(self.storageClassName) == has(oldSelf.storageClassName) && "
            "(!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
            "storageClassName is immutable: create a new KnowledgeBase, whose sources are ingested again",
            ".storageClassName",
        ),
        Rule(
            "quantity(string(self.memory)).compareTo(quantity('256Mi')) >= 0",
            "memory must be at least 256Mi: PostgreSQL and the building of an index need it",
            ".memory",
        ),
    )


class TlsMode(StrEnum):
    """How the connection to a database is protected."""

    VERIFY_FULL = "VerifyFull"
    REQUIRE = "Require"
    DISABLE = "Disable"


class CertificateReference(Model):
    """A key of a ConfigMap with the certificates of authorities, in PEM."""

    name: ObjectName
    """Name of the ConfigMap, in the namespace of the object that names it. Example: rds-ca."""
    key: SecretKey = "ca.crt"
    """Key in it. Example: ca.crt."""


class DatabaseTls(Model):
    """TLS of the connection to the database."""

    mode: TlsMode = TlsMode.VERIFY_FULL
    """VerifyFull checks certificate and host name, Require encrypts without a check, Disable sends passwords and texts in clear."""
    ca_config_map: CertificateReference | None = None
    """ConfigMap with the certificates of the database's authority. Required with VerifyFull. Example: {name: rds-ca}."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(self.mode == 'VerifyFull') == has(self.caConfigMap)",
            "caConfigMap is required with mode: VerifyFull, and not allowed otherwise",
            ".caConfigMap",
        ),
    )


class DatabaseSecret(Model):
    """A Secret with the role that connects."""

    name: ObjectName
    """Name of the Secret, in the namespace of the object that names it. Example: lore-app."""
    username_key: SecretKey = "username"
    """Key of the role's name. Example: username."""
    password_key: SecretKey = "password"  # noqa: S105 - a key's name
    """Key of its password. Example: password."""


class ExternalDatabase(Model):
    """A database that exists already: PostgreSQL 16 or later with pgvector 0.8 or later, for example Aurora or CloudNativePG."""

    host: Host
    """Host name or IPv4 address. Example: lore-rw.databases.svc."""
    port: Annotated[int, Field(ge=1, le=65535)] = POSTGRES_PORT
    """Port."""
    database: DatabaseName
    """Name of the database. Example: memory."""
    secret_ref: DatabaseSecret
    """The role's name and password. It owns the schemas memory and memory_ops, and must not be a superuser. Example: {name: lore-app}."""
    tls: DatabaseTls
    """TLS of the connection. Example: {mode: VerifyFull, caConfigMap: {name: rds-ca}}."""


class Database(Model):
    """Where texts and vectors are kept."""

    managed: ManagedDatabase | None = None
    """A database that the operator runs. Example: {storage: 20Gi, memory: 1Gi}."""
    external: ExternalDatabase | None = None
    """A database of your own. Example: {host: lore-rw.databases.svc, database: memory, secretRef: {name: lore-app}, tls: {mode: Require}}."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.managed) != has(self.external)",
            "exactly one of managed, external must be set",
        ),
    )


class ServiceDatabase(Model):
    """A database that exists already: PostgreSQL 15 or later, for example Aurora or CloudNativePG."""

    host: Host
    """Host name or IPv4 address. Example: games-rw.databases.svc."""
    port: Annotated[int, Field(ge=1, le=65535)] = POSTGRES_PORT
    """Port. A pooler must give each client a session of its own."""
    database: DatabaseName
    """Name of the database. Worlds may share one. Example: games."""
    secret_ref: DatabaseSecret
    """The role's name and password. It creates the schemas of services (svc_<service>) and must not be a superuser. Example: {name: games-app}."""
    tls: DatabaseTls
    """TLS of the connection. Example: {mode: VerifyFull, caConfigMap: {name: rds-ca}}."""


class WorldDatabase(Model):
    """Where built-in services of a world keep their state."""

    external: ServiceDatabase
    """A database of your own. Example: {host: games-rw.databases.svc, database: games, secretRef: {name: games-app}, tls: {mode: Require}}."""
