"""PURE: a knowledge base and what is there of it → its status and conditions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gameai_contract import names

from gameai_operator.api.base import Model
from gameai_operator.api.knowledge_base import KnowledgeBase, SourceState, SourceStatus
from gameai_operator.controller.conditions import Condition
from gameai_operator.controller.kind import RejectedWrite
from gameai_operator.controller.standard_conditions import (
    Problem,
    reconciling,
    rejected,
    stalled,
)
from gameai_operator.knowledge import archive_status, naming
from gameai_operator.knowledge.archives import BackupWork, RestoreWork
from gameai_operator.knowledge.naming import MEMORY_PART
from gameai_operator.knowledge.work import MISSING, Migration, SourceWork
from gameai_operator.resources.deployment import Deployment
from gameai_operator.resources.pod_faults import Fault
from gameai_operator.resources.stateful_set import StatefulSet

FIELDS = (
    "observedGeneration",
    "templateRevision",
    "image",
    "schema",
    "documents",
    "chunks",
    "quarantined",
    "sources",
    "backup",
    "lastBackup",
    "restore",
    "endpoint",
    "replicas",
    "readyReplicas",
    "selector",
)
COUNTS = frozenset({"replicas", "readyReplicas"})
CONDITIONS = (
    "Ready",
    "Reconciling",
    "Stalled",
    "DatabaseReady",
    "SchemaReady",
    "Restored",
    "SourcesIngested",
    "ServiceReady",
    "BackedUp",
)

_KEYS_UNREAD = (
    "the operator cannot read the cluster's keys of tokens, with which callers are verified: "
    "its account needs the ClusterRole system:service-account-issuer-discovery"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """All that a status is derived from.

    `rolling` says that a migration or a roll-out is unfinished, `database_pending` that a database of ours takes no
    connections yet, `keys_pending` that the keys of tokens were not read and none are written down.
    """

    database: StatefulSet | None
    memory: Deployment | None
    schema: Migration
    sources: Sequence[SourceWork]
    restore: RestoreWork
    backup: BackupWork
    revision: int | None
    image: str | None
    rolling: bool
    database_pending: bool
    keys_pending: bool
    database_fault: Fault | None
    memory_fault: Fault | None
    rejections: Sequence[RejectedWrite]
    failures: Sequence[RejectedWrite]
    halted: str = ""


def status(kb: KnowledgeBase, judged: Judged) -> dict[str, Any]:
    """The status fields without the conditions; absent where nothing is known."""
    entries = [each.status for each in judged.sources]
    known = not entries or any(each.ingested_at for each in entries)
    fields = {
        "observedGeneration": kb.metadata.generation,
        "templateRevision": judged.revision,
        "image": judged.image,
        "schema": judged.schema.status,
        **(_counts(entries) if known else {}),
        "sources": [_dumped(each) for each in entries] or None,
        "backup": _dumped(judged.backup.status),
        "lastBackup": _dumped(judged.backup.archive),
        "restore": _dumped(judged.restore.status),
        "endpoint": naming.endpoint(kb),
        "replicas": judged.memory.replicas if judged.memory else 0,
        "readyReplicas": judged.memory.ready if judged.memory else 0,
        "selector": names.selector(naming.selector(kb, MEMORY_PART)),
    }
    return {key: value for key, value in fields.items() if value is not None}


def _dumped(model: Model | None) -> dict[str, Any] | None:
    return (
        None if model is None else model.model_dump(mode="json", by_alias=True, exclude_none=True)
    )


def _counts(entries: Sequence[SourceStatus]) -> dict[str, int]:
    return {
        "documents": sum(each.documents for each in entries),
        "chunks": sum(each.chunks for each in entries),
        "quarantined": sum(each.quarantined for each in entries),
    }


def conditions(kb: KnowledgeBase, judged: Judged) -> tuple[Condition, ...]:
    """Those of `CONDITIONS`, in this order."""
    stall = stalled(_problems(judged))
    parts = (
        _database_ready(kb, judged),
        _schema_ready(judged),
        archive_status.restored(judged.restore, migrated=judged.schema.done),
        _sources_ingested(judged),
        _service_ready(kb, judged),
    )
    return (
        _ready(judged, stall, parts),
        reconciling(
            judged.failures,
            _halted(judged) or _under_way(judged),
            rolling=judged.rolling,
            is_stalled=bool(stall.status),
            because=_words(judged.memory_fault or judged.database_fault),
        ),
        stall,
        *parts,
        archive_status.backed_up(judged.backup, scheduled=kb.spec.backup is not None),
    )


def _problems(judged: Judged) -> list[Problem]:
    jobs = [
        judged.schema.job,
        *(each.job for each in judged.sources),
        judged.restore.job,
        judged.backup.job,
    ]
    faults = [judged.database_fault, judged.memory_fault, *(each.fault for each in jobs if each)]
    own = [(each.reason, each.message) for each in faults if each and each.stalled]
    missing = [
        (MISSING, f"source {each.status.name}: {each.missing}")
        for each in judged.sources
        if each.missing
    ]
    failed = [
        ("IngestionFailed", f"source {each.status.name}: {each.status.message}")
        for each in judged.sources
        if each.status.state is SourceState.FAILED
    ]
    of_archives = archive_status.problems(judged.backup)
    return rejected(judged.rejections) or [*own, *missing, *failed, *of_archives]


def _words(fault: Fault | None) -> Problem | None:
    return None if fault is None else (fault.reason, fault.message)


def _halted(judged: Judged) -> Problem | None:
    if not judged.halted:
        return None
    message = (
        f"the update to a new image of the memory is halted: {judged.halted}; correct it, "
        "or restart the operator to continue with the next knowledge bases"
    )
    return "RolloutHalted", message


def _under_way(judged: Judged) -> Problem | None:
    """What Jobs have to do: first the schema, then sources."""
    if not judged.schema.done:
        schema = _schema_ready(judged)
        return schema.reason, schema.message
    if judged.restore.job is not None:
        restored = archive_status.restored(judged.restore, migrated=True)
        return "Restoring", restored.message
    busy = [each.status.name for each in judged.sources if each.status.state in _BUSY]
    if not busy:
        return None
    moving = moves(judged.schema, judged.sources)
    former = "; until then the memory answers from the former database" if moving else ""
    return "Ingesting", f"sources to be ingested or removed: {', '.join(busy)}{former}"


def _database_ready(kb: KnowledgeBase, judged: Judged) -> Condition:
    """A database that the operator runs; of another one the schema and the memory say how it is."""
    if kb.spec.database.managed is None:
        host, port, name = naming.database_place(kb)
        message = f"{name} at {host}:{port}; SchemaReady and ServiceReady say whether it answers"
        return Condition(type="DatabaseReady", status=True, reason="External", message=message)
    if judged.database is not None and judged.database.ready:
        return Condition(type="DatabaseReady", status=True, reason="DatabaseReady")
    words = _words(judged.database_fault) or ("DatabaseStarting", "PostgreSQL is not ready yet")
    return Condition(type="DatabaseReady", status=False, reason=words[0], message=words[1])


def _schema_ready(judged: Judged) -> Condition:
    schema = judged.schema
    if schema.job is None:
        known = schema.status is not None
        reason = "Migrated" if known else "Waiting"
        return Condition(type="SchemaReady", status=known, reason=reason)
    if not (schema.job.live or schema.job.failed) and judged.database_pending:
        message = "waits for the database"
        return Condition(type="SchemaReady", status=False, reason="Waiting", message=message)
    if schema.job.failed:
        message = schema.job.failed
        return Condition(
            type="SchemaReady", status=False, reason="MigrationFailing", message=message
        )
    words = _words(schema.job.fault) or ("Migrating", "the schema is being migrated")
    return Condition(type="SchemaReady", status=False, reason=words[0], message=words[1])


def _sources_ingested(judged: Judged) -> Condition:
    """Whether the memory holds of each source what its ConfigMap has now; the message is about the worst state."""
    found: Mapping[SourceState, list[SourceWork]] = {state: [] for state in SourceState}
    for each in judged.sources:
        found[each.status.state].append(each)
    for state, known in _REASONS.items():
        if found[state]:
            faults = (each.job.fault for each in found[state] if each.job)
            reason = next((each.reason for each in faults if each), known)
            message = "; ".join(map(_named, found[state]))
            return Condition(type="SourcesIngested", status=False, reason=reason, message=message)
    reason = "SourcesIngested" if judged.sources else "NoSources"
    return Condition(type="SourcesIngested", status=True, reason=reason)


def _named(work: SourceWork) -> str:
    status = work.status
    job = f" (Job {status.running})" if status.running else ""
    words = f": {status.message}" if status.message else ""
    return f"source {status.name}{job}{words}"


_BUSY = (SourceState.INGESTING, SourceState.REMOVING, SourceState.WAITING)
# The worst first.
_REASONS: Mapping[SourceState, str] = {
    SourceState.MISSING: MISSING,
    SourceState.FAILED: "IngestionFailed",
    SourceState.INGESTING: "Ingesting",
    SourceState.REMOVING: "Removing",
    SourceState.WAITING: "Waiting",
}


def _service_ready(kb: KnowledgeBase, judged: Judged) -> Condition:
    if not kb.spec.service.replicas:
        return Condition(type="ServiceReady", status=True, reason="ScaledToZero")
    if judged.memory is not None and judged.memory.ready:
        return Condition(type="ServiceReady", status=True, reason="ServiceReady")
    if judged.keys_pending:
        return Condition(
            type="ServiceReady", status=False, reason="TokenKeysUnread", message=_KEYS_UNREAD
        )
    words = _words(judged.memory_fault) or ("ServiceStarting", "no pod of the memory is ready yet")
    return Condition(type="ServiceReady", status=False, reason=words[0], message=words[1])


def _ready(judged: Judged, stall: Condition, parts: Sequence[Condition]) -> Condition:
    """Whether the memory answers, and each source was ingested at least once.

    A source that changes, or that is broken now, is still found as it last was: it takes nothing from Ready but is in its message.
    """
    database, schema, restored, sources, service = parts
    # While a schema is migrated to that of a new image, the memory of the former one answers.
    first = judged.schema.status is None
    moving = moves(judged.schema, judged.sources)
    held = moving or all(each.held(judged.schema.database) for each in _staying(judged.sources))
    needed = (
        (database, True),
        (schema, first),
        # A memory that serves already continues while more is added.
        (restored, judged.memory is None),
        (service, True),
        (sources, not held),
    )
    for part, counts in needed:
        if counts and not part.status:
            return _not_ready(stall if stall.status else part)
    if stall.status:
        message = f"{stall.reason}: {stall.message}"
        return Condition(type="Ready", status=True, reason="Degraded", message=message)
    reason, message = "MemoryReady", "the memory answers searches"
    if service.reason == "ScaledToZero":
        reason, message = service.reason, "no pods desired"
    return Condition(type="Ready", status=True, reason=reason, message=message)


def _staying(sources: Sequence[SourceWork]) -> list[SourceWork]:
    return [each for each in sources if each.status.state is not SourceState.REMOVING]


def moves(schema: Migration, sources: Sequence[SourceWork]) -> bool:
    """Whether some source is in another database than the spec names, and not in that one yet."""
    return any(
        each.status.ingested_at and not each.held(schema.database) for each in _staying(sources)
    )


def _not_ready(why: Condition) -> Condition:
    return Condition(type="Ready", status=False, reason=why.reason, message=why.message)


# What may take long and is no part of a roll-out.
_LONG = ("Ingesting", "Restoring")


def rolls(root: Mapping[str, Any], image: str) -> bool:
    """Whether status says that a knowledge base is being updated to this image."""
    known = root.get("status", {})
    entries = known.get("conditions", ())
    under_way = any(
        e["type"] == "Reconciling" and e["status"] == "True" and e["reason"] not in _LONG
        for e in entries
    )
    return under_way and known.get("image") == image
