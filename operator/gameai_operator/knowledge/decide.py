"""PURE: the whole decision for a KnowledgeBase: what is seen → what is to be. Database, then schema, then sources and service."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gameai_contract.knowledge import TokenKeys
from gameai_contract.names import GRPC_PORT

from gameai_operator.api.base import ConditionStatus, is_true
from gameai_operator.api.knowledge_base import KnowledgeBase
from gameai_operator.controller.kind import Decision, Observed, RejectedWrite, SlotUse
from gameai_operator.controller.manifest import Document, Key
from gameai_operator.controller.plan import Creation
from gameai_operator.knowledge import archives, database, memory, naming, network, permissions, work
from gameai_operator.knowledge.naming import DATABASE_PART, MEMORY, MEMORY_PART
from gameai_operator.knowledge.revisions import inputs
from gameai_operator.knowledge.status import Judged, conditions, moves, status
from gameai_operator.resources.deployment import Deployment, unfinished
from gameai_operator.resources.disruption_budget import disruption_budget
from gameai_operator.resources.job import Job
from gameai_operator.resources.pod_faults import Fault, Words, fault
from gameai_operator.resources.service import headless
from gameai_operator.resources.service_account import service_account
from gameai_operator.resources.stateful_set import StatefulSet
from gameai_operator.resources.template_inputs import Inputs
from gameai_operator.resources.template_revision import UnknownRevisionError
from gameai_operator.settings import NetworkSettings, Policy

# As long as a Deployment may make no progress.
_DEADLINE_SECONDS = 600.0
_DATABASE_WORDS = Words(
    secret_field="spec.database",  # noqa: S106 - a field's name
    volume_field="spec.database.managed.storage",
    crash_reason="DatabaseCrashing",
    program="PostgreSQL",
    hints=(
        ("Insufficient cpu", "spec.database.managed.cpu"),
        ("Insufficient memory", "spec.database.managed.memory"),
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """What a knowledge base finds in the cluster: its network, what may be asked for there, and the keys of tokens.

    Without `tokens` the operator has not read them yet: what was written of them stays.
    """

    network: NetworkSettings
    tokens: TokenKeys | None = None
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Live:
    """What is there of a knowledge base."""

    database: StatefulSet | None
    memory: Deployment | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reading:
    """A spec as far as it can be honoured; without `inputs` nothing is rendered, and `rejections` say why."""

    inputs: Inputs | None
    schema: work.Migration
    sources: tuple[work.SourceWork, ...]
    restore: archives.RestoreWork
    backup: archives.BackupWork
    rejections: tuple[RejectedWrite, ...]


def refers(root: Mapping[str, Any]) -> tuple[Key, ...]:
    """The ConfigMaps of its sources."""
    namespace = root["metadata"]["namespace"]
    names = {each["configMap"]["name"] for each in root["spec"].get("sources", ())}
    return tuple(Key("ConfigMap", namespace, name) for name in sorted(names))


def decide(observed: Observed, *, current: Inputs, cluster: Cluster) -> Decision:
    """Decide for one knowledge base; `current` are the template inputs that a new one gets.

    A mistake in an edit must not end what works: with one, everything is left as it is, but for the number of pods.
    """
    kb = KnowledgeBase.model_validate(observed.root)
    live = _Live(
        database=observed.applied("StatefulSet", naming.database_name(kb)),
        memory=observed.applied("Deployment", naming.memory_name(kb)),
    )
    read = _read(kb, observed, live, current, cluster.policy)
    wanted = _wanted(kb, live, read, cluster) if read.inputs else ()
    rolling = _rolling(kb, live, read, wanted) if read.inputs else False
    config = Key("ConfigMap", kb.metadata.namespace, naming.memory_name(kb))
    keyless = cluster.tokens is None and config not in observed.children
    judged = _judged(kb, observed, live, read, rolling=rolling, keyless=keyless)
    return Decision(
        wanted=wanted,
        creations=_creations(kb, observed) if read.inputs else (),
        keep=_kept(kb, observed, live, read, cluster) if read.inputs else tuple(observed.children),
        status=status(kb, judged),
        conditions=conditions(kb, judged),
        replicas=_replicas(kb),
        requeue_after_seconds=_again_after(read, rolling=rolling),
        turn=_turn(kb, observed, read.inputs, current, live, rolling=rolling),
        healthy=is_true(kb.status.conditions, "Ready")
        and not (live.memory and live.memory.exceeded),
    )


def _again_after(read: _Reading, *, rolling: bool) -> float | None:
    waits = (_DEADLINE_SECONDS if rolling else None, read.backup.seconds)
    return min((each for each in waits if each is not None), default=None)


def _read(
    kb: KnowledgeBase, observed: Observed, live: _Live, current: Inputs, policy: Policy
) -> _Reading:
    own = Key("KnowledgeBase", kb.metadata.namespace, kb.metadata.name)
    rejections = [
        RejectedWrite(key=own, reason=each.reason, message=each.message)
        for each in permissions.not_allowed(kb, policy)
    ]
    found: Inputs | None = None
    try:
        made = (*_migrations(kb, observed), live.database, live.memory)
        found = inputs(kb, current, made, turn=observed.turn)
    except UnknownRevisionError as error:
        rejections.append(
            RejectedWrite(key=own, reason="TemplateRevisionUnknown", message=str(error))
        )
    if found is None or rejections:
        known = tuple(work.SourceWork(status=each) for each in kb.status.sources)
        schema = work.known_migration(kb)
        return _Reading(
            inputs=None,
            schema=schema,
            sources=known,
            restore=archives.known_restore(kb),
            backup=archives.known_backup(kb, observed.now),
            rejections=tuple(rejections),
        )
    schema = work.migration(kb, observed, found)
    sources = work.sources(kb, observed, found, schema)
    restore = archives.restore(kb, observed, found, schema)
    ready = schema.done and restore.done and _takes_connections(kb, live)
    return _Reading(
        inputs=found,
        schema=schema,
        sources=sources,
        restore=restore,
        backup=archives.backup(kb, observed, found, ready=ready),
        rejections=(),
    )


def _migrations(kb: KnowledgeBase, observed: Observed) -> list[Job]:
    """Of a roll-out the first objects with the settings that go with its image are migrations, the newest first."""
    ended = kb.status.schema_.job if kb.status.schema_ else ""
    names = [key.name for key in observed.children if memory.is_migration(kb, key)]
    found = [
        observed.applied("Job", each) for each in sorted(names, key=lambda name: name == ended)
    ]
    return [each for each in found if each is not None]


def _judged(
    kb: KnowledgeBase,
    observed: Observed,
    live: _Live,
    read: _Reading,
    *,
    rolling: bool,
    keyless: bool,
) -> Judged:
    words = work.words("the memory", "MemoryCrashing", secret_field=work.secret_field(kb))
    return Judged(
        database=live.database,
        memory=live.memory,
        schema=read.schema,
        sources=read.sources,
        restore=read.restore,
        backup=read.backup,
        revision=read.inputs.revision if read.inputs else kb.status.template_revision,
        image=read.inputs.image if read.inputs else kb.status.image,
        rolling=rolling,
        database_pending=not _takes_connections(kb, live),
        keys_pending=keyless,
        database_fault=_fault(observed, DATABASE_PART, None, _DATABASE_WORDS),
        memory_fault=_fault(observed, MEMORY_PART, live.memory, words),
        rejections=(*read.rejections, *observed.rejections),
        failures=observed.failures,
        halted=observed.halted,
    )


def _fault(observed: Observed, part: str, live: Deployment | None, words: Words) -> Fault | None:
    return fault([each for each in observed.pods if each.group == part], [live], words)


def _takes_connections(kb: KnowledgeBase, live: _Live) -> bool:
    """Whether the database does, as far as that can be known here: of one of the user's own a Job finds out."""
    return kb.spec.database.managed is None or (
        live.database is not None and live.database.ready > 0
    )


def _wanted(
    kb: KnowledgeBase, live: _Live, read: _Reading, cluster: Cluster
) -> tuple[Document, ...]:
    """In the order in which they are applied: limits before pods."""
    assert read.inputs is not None  # noqa: S101 - the caller's condition
    name, managed, migration = naming.memory_name(kb), kb.spec.database.managed, read.schema.job
    made = [service_account(naming.about(kb, name, MEMORY))]
    made += network.policies(kb, cluster.network) if cluster.network.policies else ()
    made += [memory.admission(kb, cluster.tokens)] if cluster.tokens else []
    made += database.objects(kb, managed, read.inputs) if managed else ()
    made.append(_service(kb))
    if migration and (migration.live or _takes_connections(kb, live)):
        made.append(migration.document)
    made += [each.job.document for each in read.sources if each.job]
    if read.restore.job and read.schema.done:
        made.append(read.restore.job.document)
    if read.backup.job:
        made.append(read.backup.job.document)
    made += [memory.deployment(kb, read.inputs)] if _serves(live, read) else []
    if kb.spec.service.replicas > 1:
        selector = naming.selector(kb, MEMORY_PART)
        made.append(disruption_budget(naming.about(kb, name, MEMORY), selector, 1))
    return tuple(made)


def _service(kb: KnowledgeBase) -> Document:
    """Headless: a gRPC client must see every pod, for one connection would stick to one."""
    return headless(
        naming.about(kb, naming.memory_name(kb), MEMORY),
        naming.selector(kb, MEMORY_PART),
        port_name="grpc",
        port=GRPC_PORT,
        app_protocol="kubernetes.io/h2c",
    )


def _serves(live: _Live, read: _Reading) -> bool:
    """Whether the memory may have the schema, and the database, that the spec asks for.

    Another database is empty at first: the memory of the former one serves until each source is in the new one, and the
    archive to begin with: new events would get the numbers of those of the archive.
    """
    moving = live.memory is not None and moves(read.schema, read.sources)
    return read.schema.done and read.restore.done and not moving


def _creations(kb: KnowledgeBase, observed: Observed) -> tuple[Creation, ...]:
    """The password is needed before the database starts, and is set then. A Secret that is there stays as it is.

    One that was deleted, or that a lost answer kept from being made, is what the kubelet misses.
    """
    if kb.spec.database.managed is None:
        return ()
    begun = Key("StatefulSet", kb.metadata.namespace, naming.database_name(kb)) in observed.children
    fault = _fault(observed, DATABASE_PART, None, _DATABASE_WORDS)
    missed = fault is not None and fault.reason == "SecretMissing"
    return (database.secret(kb),) if missed or not begun else ()


def _kept(
    kb: KnowledgeBase, observed: Observed, live: _Live, read: _Reading, cluster: Cluster
) -> tuple[Key, ...]:
    """The last Jobs that ended, for their logs; and until all is there that it needs, the memory as it was."""
    namespace = kb.metadata.namespace
    jobs = {each.status.job for each in read.sources} | {(read.schema.status or {}).get("job", "")}
    jobs |= {each.kept for each in read.sources}
    jobs |= archives.kept_jobs(read.restore, read.backup)
    kept = [Key("Job", namespace, each) for each in sorted(jobs) if each]
    if cluster.tokens is None:
        kept.append(Key("ConfigMap", namespace, naming.memory_name(kb)))
    if not _serves(live, read):
        kept.append(Key("Deployment", namespace, naming.memory_name(kb)))
    return tuple(each for each in kept if each in observed.children)


def _replicas(kb: KnowledgeBase) -> dict[Key, int]:
    key = Key("Deployment", kb.metadata.namespace, naming.memory_name(kb))
    return {key: kb.spec.service.replicas}


def _rolling(kb: KnowledgeBase, live: _Live, read: _Reading, wanted: tuple[Document, ...]) -> bool:
    """Whether a migration or a roll-out is unfinished."""
    before = is_true(kb.status.conditions, "Reconciling")
    deployments = [each for each in wanted if each["kind"] == "Deployment"]
    pods = any(unfinished(each, live.memory, before=before) for each in deployments)
    managed = kb.spec.database.managed is not None
    starts = managed and (live.database is None or live.database.rolling)
    return pods or starts or not read.schema.done


def _turn(
    kb: KnowledgeBase,
    observed: Observed,
    found: Inputs | None,
    current: Inputs,
    live: _Live,
    *,
    rolling: bool,
) -> SlotUse:
    """A new image goes to a few knowledge bases at a time."""
    if found is None:
        return SlotUse.NONE
    if found.image != current.image:
        return SlotUse.WAITS
    if kb.status.image not in (None, current.image):
        return SlotUse.HOLDS
    exceeded = live.memory is not None and live.memory.exceeded
    if rolling and (exceeded or _overdue(kb, observed.now)):
        return SlotUse.FAILED
    return SlotUse.HOLDS if observed.holds_slot and rolling else SlotUse.NONE


def _overdue(kb: KnowledgeBase, now: datetime.datetime) -> bool:
    """Whether database or schema are not ready for so long that others must not wait for them."""
    since = [
        datetime.datetime.fromisoformat(each.last_transition_time)
        for each in kb.status.conditions
        if each.type in ("DatabaseReady", "SchemaReady") and each.status is ConditionStatus.FALSE
    ]
    return any((now - each).total_seconds() >= _DEADLINE_SECONDS for each in since)
