"""PURE: the KnowledgeBase kind."""

from enum import StrEnum
from typing import Annotated, ClassVar

from gameai_contract.knowledge import GLOBAL_TRUST, WORLD_PATTERN
from pydantic import Field, StringConstraints

from gameai_operator.api.backups import Backup, Restore
from gameai_operator.api.base import (
    LIST_SET,
    Condition,
    LocalReference,
    Metadata,
    Model,
    NamespaceName,
    ObjectName,
    Quantity,
    Rule,
    Text,
    list_map,
)
from gameai_operator.api.database import Database
from gameai_operator.api.embedding import ANOTHER_MODEL, Embedding

MOST_SOURCES = 32
SourceName = Annotated[
    str, StringConstraints(min_length=1, max_length=30, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
]
WorldName = Annotated[
    str, StringConstraints(min_length=3, max_length=127, pattern=f"^{WORLD_PATTERN}$")
]


class Source(Model):
    """A ConfigMap with documents."""

    name: SourceName
    """Name of the source; it stands in the provenance of each hit. Example: histories."""
    config_map: LocalReference
    """ConfigMap whose keys are Markdown documents (.md, .markdown, .txt). It needs the label app.kubernetes.io/part-of=gameai. Example: {name: lore-histories}."""
    world: WorldName | None = None
    """World whose history the documents are, namespace/name. No search of another world finds them. Absent: lore of all worlds. Example: games/eldermoor."""
    trust: Annotated[int, Field(ge=0, le=100)] = 90
    """Trust in the documents. Searches return hits with trust 50 or more unless they ask for less; below 80 a source is checked as a whole before new text of it is found. Example: 90."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"has(self.world) || self.trust >= {GLOBAL_TRUST}",
            f"trust must be at least {GLOBAL_TRUST} for lore of all worlds: set world, or raise trust",
            ".trust",
        ),
    )


class KnowledgeCaller(Model):
    """An account that may call the memory."""

    namespace: NamespaceName
    """Namespace. Example: game-servers."""
    service_account: ObjectName
    """ServiceAccount. The caller authenticates with its token (audience gameai-memory). Example: storyteller."""
    worlds: Annotated[tuple[WorldName, ...], Field(max_length=64, json_schema_extra=LIST_SET)] = ()
    """Worlds whose history it may read, namespace/name. Default: none. Example: [games/eldermoor]."""
    writes: bool = False
    """Whether it may append events and write concepts and relations in these worlds. Default: false."""
    reviews: bool = False
    """Whether it may see and decide what is held in quarantine, roll sources back, delete events, concepts and relations of its worlds, and write concepts of all worlds. Default: false."""


class MemoryService(Model):
    """The pods that answer searches."""

    replicas: Annotated[int, Field(ge=0, le=50)] = 2
    """Desired replicas. The scale subresource writes this field: omit it in Git if an autoscaler is used."""
    cpu: Quantity = "500m"
    """CPU request of one replica, in cores. No limit is set from it."""
    memory: Quantity = "768Mi"
    """Memory request and limit of one replica, in bytes. The embedding model takes about 300Mi of it. Ingestion Jobs get the same."""
    connections: Annotated[int, Field(ge=1, le=100)] = 4
    """Database connections of one replica. PostgreSQL does not become faster beyond two for each of its cores, over all replicas."""


class KnowledgeBaseSpec(Model):
    """Desired state of a KnowledgeBase."""

    database: Database
    """Where texts and vectors are kept. Example: {managed: {}}."""
    embedding: Embedding | None = None
    """Model that turns texts into vectors. Absent: all-MiniLM-L6-v2 with 384 dimensions, in the pods of the memory. Example: {openAI: {url: https://api.openai.com/v1, model: text-embedding-3-small, dimensions: 1536, secretRef: {name: embedding-service}}}."""
    sources: Annotated[
        tuple[Source, ...], Field(max_length=MOST_SOURCES, json_schema_extra=list_map("name"))
    ] = ()
    """Documents to ingest, keyed by name. A changed ConfigMap is ingested again; documents of a removed source are removed. Default: none. Example: [{name: histories, configMap: {name: lore-histories}}]."""
    callers: Annotated[
        tuple[KnowledgeCaller, ...],
        Field(max_length=64, json_schema_extra=list_map("namespace", "serviceAccount")),
    ] = ()
    """Accounts that may call the memory. Accounts of the own namespace may always search the lore of all worlds, and the account of a world there (<world>-world) read and write that world's history. Default: none. Example: [{namespace: game-servers, serviceAccount: storyteller, worlds: [games/eldermoor]}]."""
    service: MemoryService = MemoryService()
    """The pods that answer searches. Default: 2 replicas."""
    backup: Backup | None = None
    """Archives of events, concepts, relations and reviews. Absent: none are made. Example: {schedule: 0 3 * * *, repository: {persistentVolumeClaim: {claimName: lore-archives}}}."""
    restore_from: Restore | None = None
    """Archive that a new memory begins with: it does not serve before that. Example: {repository: {persistentVolumeClaim: {claimName: lore-archives}}}."""
    template_revision: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Revision of the pod templates. Absent: the one in use (see status), which an operator upgrade does not change. Example: 1."""
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.database.managed) || self.service.replicas * self.service.connections <= 80",
            "service.replicas times service.connections must be at most 80: a managed database takes 100 connections",
            ".service",
        ),
        Rule(
            "has(self.database.managed) == has(oldSelf.database.managed)",
            "database cannot change between managed and external: create a new KnowledgeBase, whose sources are ingested again",
            ".database",
        ),
        Rule(
            "has(self.embedding) == has(oldSelf.embedding)",
            f"embedding cannot be added or removed: {ANOTHER_MODEL}",
        ),
    )


class SourceState(StrEnum):
    """What is done about a source."""

    WAITING = "Waiting"
    INGESTING = "Ingesting"
    INGESTED = "Ingested"
    FAILED = "Failed"
    MISSING = "Missing"
    REMOVING = "Removing"


class SourceStatus(Model):
    """A source and what the memory holds of it."""

    name: Text
    """Name of the source."""
    state: SourceState
    """Waiting (for the schema, for a former Job to end, or for room), Ingesting, Ingested, Failed (see message), Missing (its ConfigMap), or Removing."""
    world: Annotated[str, Field(max_length=127)] = ""
    """World whose history it is; empty for lore of all worlds."""
    documents: int = 0
    """Number of documents in the memory."""
    chunks: int = 0
    """Number of chunks in the memory."""
    quarantined: int = 0
    """Number of chunks that are held for a review."""
    inputs: Annotated[str, Field(max_length=64)] = ""
    """Digest of content, trust, database and image of the last ingestion; empty if the memory may hold something else."""
    job: Annotated[str, Field(max_length=63)] = ""
    """Job of the last ingestion that ended."""
    database: Annotated[str, Field(max_length=64)] = ""
    """Digest of the database that it went to."""
    ingested_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """Time at which the last ingestion was seen to end, in UTC."""
    running: Annotated[str, Field(max_length=63)] = ""
    """Job that ingests or removes it now."""
    started_at: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """Time at which that Job was decided on, in UTC."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """What is wrong with it."""


class SchemaStatus(Model):
    """The schema of the database."""

    inputs: Annotated[str, Field(max_length=64)]
    """Digest of database and image of the last migration that ended."""
    job: Annotated[str, Field(max_length=63)]
    """Job of the last migration that ended."""


Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class BackupStatus(Model):
    """What is done about backups."""

    slot: Time
    """Time that the last backup was due at, in UTC: the one that runs, or the last one that ended."""
    started_at: Time
    """Time at which its Job was decided on, in UTC."""
    running: Annotated[str, Field(max_length=63)] = ""
    """Job that runs."""
    job: Annotated[str, Field(max_length=63)] = ""
    """Job that ended last."""
    repository: Annotated[str, Field(max_length=64)] = ""
    """Digest of the repository that it goes to."""
    run_now: Annotated[str, Field(max_length=256)] = ""
    """Value of the annotation gameai.dev/backup-now that it answers."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """What the last backup found wrong."""


class Archive(Model):
    """An archive, and what is in it."""

    name: Annotated[str, Field(max_length=100)]
    """Name of the file; empty: the pod was gone before its result was read, and the numbers are not known."""
    job: Annotated[str, Field(max_length=63)]
    """Job that made or read it."""
    at: Time
    """Time at which the end of that Job was seen, in UTC."""
    bytes: int
    """Size of the file, in bytes."""
    worlds: int
    """Number of worlds: in a backup those of the archive, in a restore those that were added."""
    events: int
    """Number of events, of the same."""
    concepts: int
    """Number of versions of concepts, of the same."""
    relations: int = 0
    """Number of versions of relations, of the same."""
    reviews: int
    """Number of reviews, of the same."""


class RestoreStatus(Model):
    """What was done about spec.restoreFrom."""

    inputs: Annotated[str, Field(max_length=64)]
    """Digest of what the restore depends on."""
    archive: Archive
    """The archive."""


class KnowledgeBaseStatus(Model):
    """Observed state, written by the operator."""

    observed_generation: int | None = None
    """Generation of the spec that was last reconciled; -1 before the first reconcile."""
    template_revision: int | None = None
    """Revision of the pod templates in use."""
    operator: Annotated[str, Field(max_length=512)] | None = None
    """Lease (namespace/name) of the operator that manages this knowledge base. Example: gameai-system/gameai-operator."""
    image: Annotated[str, Field(max_length=512)] | None = None
    """Image that the memory runs, or is being updated to."""
    schema_: Annotated[SchemaStatus | None, Field(alias="schema")] = None
    """The last migration that ended. Absent before the first."""
    documents: int | None = None
    """Number of documents in the memory. Absent until a source was ingested."""
    chunks: int | None = None
    """Number of chunks in the memory."""
    quarantined: int | None = None
    """Number of chunks that are held for a review."""
    sources: Annotated[
        tuple[SourceStatus, ...],
        Field(max_length=4 * MOST_SOURCES, json_schema_extra=list_map("name", "world")),
    ] = ()
    """State of each source, of those that are being removed too."""
    backup: BackupStatus | None = None
    """State of backups. Absent before the first."""
    last_backup: Archive | None = None
    """The last archive that was made and read again. Absent before the first."""
    restore: RestoreStatus | None = None
    """The last restore that ended. Absent before the first."""
    endpoint: Annotated[str, Field(max_length=512)] | None = None
    """Address of the memory inside the cluster. Example: lore-memory.eldermoor.svc:50051."""
    replicas: int | None = None
    """Number of existing pods of the memory."""
    ready_replicas: int | None = None
    """Number of ready pods of the memory."""
    selector: Annotated[str, Field(max_length=1024)] | None = None
    """Label selector of the pods of the memory, for the scale subresource."""
    conditions: Annotated[
        tuple[Condition, ...], Field(max_length=16, json_schema_extra=list_map("type"))
    ] = ()
    """Ready, Reconciling, Stalled, DatabaseReady, SchemaReady, Restored, SourcesIngested, ServiceReady, BackedUp."""


class KnowledgeBase(Model):
    """A memory of worlds: lore that all worlds share and each world's history, in PostgreSQL with pgvector, behind a gRPC service."""

    metadata: Metadata
    """Object metadata."""
    spec: KnowledgeBaseSpec
    """Desired state."""
    status: KnowledgeBaseStatus = KnowledgeBaseStatus()
    """Observed state, written by the operator."""
