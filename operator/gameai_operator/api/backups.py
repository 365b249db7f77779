"""PURE: archives of a KnowledgeBase: where they are kept, when they are made, and from which one it begins."""

from typing import Annotated, ClassVar

from gameai_contract.archives import (
    BUCKET_PATTERN,
    ENDPOINT_PATTERN,
    FILE_PATTERN,
    MOST_KEPT,
    SLOT_PATTERN,
)
from gameai_contract.knowledge import WORLD_PATTERN
from pydantic import Field, StringConstraints

from gameai_operator.api.base import Model, ObjectName, Rule, Text
from gameai_operator.api.database import SecretKey

BucketName = Annotated[
    str,
    StringConstraints(min_length=3, max_length=63, pattern=f"^{BUCKET_PATTERN}$"),
]
Prefix = Annotated[
    str,
    StringConstraints(
        max_length=200, pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*)?$"
    ),
]
Region = Annotated[
    str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
]
Endpoint = Annotated[
    str,
    StringConstraints(
        min_length=8,
        max_length=253,
        pattern=f"^{ENDPOINT_PATTERN}$",
    ),
]
KnowledgeBaseName = Annotated[
    str, StringConstraints(min_length=3, max_length=127, pattern=f"^{WORLD_PATTERN}$")
]
FileName = Annotated[
    str, StringConstraints(max_length=100, pattern=f"^({SLOT_PATTERN}|{FILE_PATTERN})$")
]


class ClaimRepository(Model):
    """A PersistentVolumeClaim with archives."""

    claim_name: ObjectName
    """Name of the claim, in the namespace of the knowledge base. It is not created, and outlives the knowledge base. Example: lore-archives."""


class S3Secret(Model):
    """A Secret with credentials of S3."""

    name: ObjectName
    """Name of the Secret, in the namespace of the knowledge base. Example: lore-archives."""
    access_key_id_key: SecretKey = "accessKeyId"
    """Key of the access key's identifier. Example: accessKeyId."""
    secret_access_key_key: SecretKey = "secretAccessKey"  # noqa: S105 - a key's name
    """Key of the secret access key. Example: secretAccessKey."""


class S3Repository(Model):
    """A bucket of S3, or of a server that speaks its protocol."""

    bucket: BucketName
    """Name of the bucket. Example: studio-archives."""
    prefix: Prefix = ""
    """Folder in the bucket; archives are below it in <namespace>/<name> of the knowledge base. Default: none. Example: gameai."""
    region: Region
    """Region. Example: eu-central-1."""
    endpoint: Endpoint | None = None
    """URL of another server than S3 of AWS. Absent: AWS. Example: https://minio.storage.svc:9000."""
    secret_ref: S3Secret | None = None
    """Credentials. Absent: the identity of the ServiceAccount <name>-memory (EKS Pod Identity). Example: {name: lore-archives}."""


class Repository(Model):
    """Where archives are kept."""

    persistent_volume_claim: ClaimRepository | None = None
    """A volume. Example: {claimName: lore-archives}."""
    s3: S3Repository | None = None
    """A bucket. Example: {bucket: studio-archives, region: eu-central-1}."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.persistentVolumeClaim) != has(self.s3)",
            "exactly one of persistentVolumeClaim, s3 must be set",
        ),
    )


class Backup(Model):
    """Archives of events, concepts, relations and reviews, which no source brings back."""

    schedule: Annotated[str, StringConstraints(min_length=9, max_length=100)]
    """When: minute, hour, day of month, month, day of week. The first archive is made at once, and a time that was missed is made up for once. Example: 0 3 * * *."""
    time_zone: Text = "UTC"
    """IANA time zone of the schedule. Example: Europe/Paris."""
    keep: Annotated[int, Field(ge=1, le=MOST_KEPT)] = 14
    """Number of archives to keep, those made on demand included. After a loss of history none is removed. Example: 14."""
    repository: Repository
    """Where archives are kept. Example: {persistentVolumeClaim: {claimName: lore-archives}}."""


class Restore(Model):
    """An archive that the memory begins with. It adds what is missing and replaces nothing. A database is restored once for each value of this field."""

    repository: Repository
    """Where the archive is. Example: {persistentVolumeClaim: {claimName: lore-archives}}."""
    knowledge_base: KnowledgeBaseName | None = None
    """Knowledge base that the archive was made of, namespace/name. Absent: this one. Example: games/lore."""
    archive: FileName | None = None
    """Name of the archive, or its time alone. Absent: the newest; after a loss of history the Job asks for one by name. Example: 20261129T030000Z."""
