"""PURE: the Jobs of a knowledge base: which are due, which run, and what they have reported.

What a Job depends on has a digest. Status remembers that of the last Job that ended, so that no Job is needed to know that
its work is done: it may be deleted. Of a source it also remembers the Job that runs, since whenever another one is
needed before that has ended, the memory may hold a part of either: `inputs` is emptied, and the source is ingested again.
"""

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gameai_contract.knowledge import SourceReport, source_names, source_report
from gameai_contract.names import PART_OF
from gameai_contract.names import selector as labels_of

from gameai_operator.api.base import GROUP
from gameai_operator.api.knowledge_base import (
    MOST_SOURCES,
    KnowledgeBase,
    SchemaStatus,
    Source,
    SourceState,
    SourceStatus,
)
from gameai_operator.api.views import ConfigMapView
from gameai_operator.controller.kind import Observed
from gameai_operator.controller.manifest import Document, Key, digest, timestamp
from gameai_operator.controller.references import Unread
from gameai_operator.knowledge import memory
from gameai_operator.resources.job import Job
from gameai_operator.resources.pod_faults import Fault, Words, fault
from gameai_operator.resources.template_inputs import Inputs

# Jobs at a time: each loads the model and writes as fast as it can.
MOST_JOBS = 4
# Another value of this annotation has the schema checked and every source ingested again.
RUN_AGAIN = f"{GROUP}/run-again"
MISSING = "SourceMissing"
_NO_REPORT = "the pod was gone before its numbers were read: they are those of before"
# Fields that name Secrets.
_DATABASE_SECRET, EMBEDDING_SECRET = (
    "spec.database.external.secretRef",
    "spec.embedding.openAI.secretRef",
)
_ENDED = (SourceState.INGESTED, SourceState.FAILED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """A Job as it stands: not complete, it is wanted; complete, it is kept for its log.

    `ending` means that it is complete and its pod does not say so yet.
    """

    document: Document
    live: bool
    complete: bool
    ending: bool = False
    failed: str = ""
    fault: Fault | None = None
    said: str = ""

    @property
    def name(self) -> str:
        """Name of the Job."""
        name: str = self.document["metadata"]["name"]
        return name

    @property
    def words(self) -> str:
        """What keeps it from its end; empty: nothing is known to."""
        return self.failed or (self.fault.message if self.fault else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Migration:
    """The schema: `inputs` is the digest of what it depends on, `database` that of the database alone.

    `job` is what brings the schema there, None once that is done. `holds` are sources that the database had at its end, by
    name and world.
    """

    inputs: str
    database: str
    status: Mapping[str, str] | None
    job: Ran | None = None
    holds: Sequence[tuple[str, str]] = ()

    @property
    def done(self) -> bool:
        """Whether the schema is that of the image in use."""
        return self.job is None


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceWork:
    """A source: what status says of it, and the Job that it needs now.

    `kept` is a running Job of which it is not known now whether it is needed. `missing` says what its user must do.
    """

    status: SourceStatus
    job: Ran | None = None
    kept: str = ""
    missing: str = ""

    def held(self, database: str) -> bool:
        """Whether it was ingested at least once into this database."""
        return self.status.ingested_at is not None and self.status.database == database


def migration(kb: KnowledgeBase, observed: Observed, inputs: Inputs) -> Migration:
    """The migration that is due, or the one that is done."""
    external = kb.spec.database.external
    database = digest(external.model_dump(mode="json") if external else None)
    again = kb.metadata.annotations.get(RUN_AGAIN, "")
    wanted = digest([inputs.image, database, again])
    before = kb.status.schema_
    if before is not None and before.inputs == wanted:
        return Migration(inputs=wanted, database=database, status=_recorded(before))
    former = before.inputs if before else ""
    job = _job(kb, memory.migration(kb, inputs, f"{wanted} {former}"), observed, "MigrationFailing")
    if job.complete:
        known = {"inputs": wanted, "job": job.name}
        holds = source_names(job.said)
        return Migration(inputs=wanted, database=database, status=known, holds=holds)
    return Migration(inputs=wanted, database=database, status=_recorded(before), job=job)


def known_migration(kb: KnowledgeBase) -> Migration:
    """What status says of the schema, where nothing may be changed."""
    before = kb.status.schema_
    databases = {each.database for each in kb.status.sources if each.ingested_at}
    return Migration(
        inputs=before.inputs if before else "",
        database=min(databases, default=""),
        status=_recorded(before),
    )


def _recorded(schema: SchemaStatus | None) -> dict[str, str] | None:
    return None if schema is None else schema.model_dump()


def sources(
    kb: KnowledgeBase, observed: Observed, inputs: Inputs, schema: Migration
) -> tuple[SourceWork, ...]:
    """Every source of the spec, then those that are to be removed."""
    works = tuple(_works(kb, observed, inputs, schema))
    return tuple(_started(works, migrated=schema.done))


def _works(
    kb: KnowledgeBase, observed: Observed, inputs: Inputs, schema: Migration
) -> Iterator[SourceWork]:
    # Status may have been lost; another knowledge base of this name may have filled the database.
    found = {
        (name, world): SourceStatus(
            name=name, world=world, state=SourceState.REMOVING, job=(schema.status or {})["job"]
        )
        for name, world in schema.holds
    }
    before = {**found, **{(each.name, each.world): each for each in kb.status.sources}}
    given = {(each.name, each.world or ""): each for each in kb.spec.sources}
    for identity, source in given.items():
        known = before.get(identity) or _new(source)
        yield _source(kb, observed, inputs, schema, source, known)
    for identity, known in before.items():
        if identity not in given and (work := _removed(kb, observed, inputs, known)):
            yield work


def _started(works: Sequence[SourceWork], *, migrated: bool) -> Iterator[SourceWork]:
    """Running Jobs continue; others start while there is room and no Job of the same name is left."""
    # One that fails waits longer and longer, and must not keep others from their turn.
    busy = sum(bool(each.status.running) and not (each.job and each.job.words) for each in works)
    room = MOST_JOBS - busy if migrated else 0
    # Status has room for so many: entries of removed sources go first.
    room = room if len(works) <= 2 * MOST_SOURCES else 0
    for work in works:
        if work.job is None or work.status.running:
            yield work
        elif room > 0 and not work.job.live:
            room -= 1
            running = {"running": work.job.name, "inputs": ""}
            yield replace(work, status=work.status.model_copy(update=running))
        else:
            waits = work.status.state is SourceState.INGESTING
            state = SourceState.WAITING if waits else work.status.state
            update = {"state": state, "started_at": None}
            yield replace(work, status=work.status.model_copy(update=update), job=None)


def _new(source: Source) -> SourceStatus:
    return SourceStatus(name=source.name, world=source.world or "", state=SourceState.WAITING)


def _source(
    kb: KnowledgeBase,
    observed: Observed,
    inputs: Inputs,
    schema: Migration,
    source: Source,
    known: SourceStatus,
) -> SourceWork:
    view = observed.references.get(Key("ConfigMap", kb.metadata.namespace, source.config_map.name))
    if isinstance(view, Unread):
        return SourceWork(status=known, kept=known.running)
    if not isinstance(view, ConfigMapView) or not view.digest:
        return _unread(kb, source, known, view)
    wanted = digest([view.digest, source.trust, schema.inputs])
    if known.inputs == wanted and not known.running and known.state in _ENDED:
        return SourceWork(status=known)
    started = known.started_at or timestamp(observed.now)
    document = memory.ingestion(kb, source, inputs, (wanted, started))
    job = _job(kb, document, observed, "IngestionFailing")
    if known.running not in ("", job.name):
        return _superseded(observed, known, SourceState.WAITING)
    if known.running and job.complete and not job.ending:
        return _ingested(known, job, wanted, schema.database, observed.now)
    # The note that this is the second run stays.
    note = known.message if known.message == _NO_REPORT else ""
    state = _changed(known, SourceState.INGESTING, job.words or note)
    return SourceWork(status=state.model_copy(update={"started_at": started}), job=job)


def _superseded(observed: Observed, known: SourceStatus, state: SourceState) -> SourceWork:
    """Another Job is needed than the one that was started: it must be gone, or it would write after the next one."""
    left = any(key.kind == "Job" and key.name == known.running for key in observed.children)
    pods = [each.name for each in observed.pods if each.group == known.running and not each.dead]
    if left or pods:
        words = f"waits for the end of {', '.join(sorted(pods)) or known.running}"
        return SourceWork(status=_changed(known, state, words).model_copy(update={"inputs": ""}))
    update = {"running": "", "started_at": None, "inputs": ""}
    return SourceWork(status=_changed(known, state).model_copy(update=update))


def _unread(
    kb: KnowledgeBase, source: Source, known: SourceStatus, view: ConfigMapView | None
) -> SourceWork:
    """Its ConfigMap is not there, or cannot be read; what was ingested stays, and a running Job continues."""
    name, namespace = source.config_map.name, kb.metadata.namespace
    if view is not None and view.unread:
        message = f"ConfigMap {name}: {view.fault}; reading it again"
        said = known.model_copy(update={"message": message[:1024]})
        return SourceWork(status=said, kept=known.running)
    message = (
        f"ConfigMap {name} does not exist in this namespace, or its label is missing: "
        f"kubectl --namespace {namespace} label configmap {name} {labels_of(PART_OF)}"
        if view is None
        else f"ConfigMap {name}: {view.fault}"
    )
    state = _changed(known, SourceState.MISSING, message)
    return SourceWork(status=state, kept=known.running, missing=message)


def _ingested(
    known: SourceStatus, job: Ran, wanted: str, database: str, now: datetime.datetime
) -> SourceWork:
    found = source_report(job.said)
    if found is None and known.message != _NO_REPORT:
        # Once more: what is unchanged is not ingested again, and says the same.
        update = {"running": "", "started_at": None, "inputs": "", "message": _NO_REPORT}
        waits = {"state": SourceState.WAITING}
        return SourceWork(status=known.model_copy(update=update | waits))
    report = found or SourceReport()
    failed = bool(report.error or report.failed_documents)
    counts = known if report.error or found is None else report
    status = SourceStatus(
        name=known.name,
        world=known.world,
        state=SourceState.FAILED if failed else SourceState.INGESTED,
        documents=counts.documents,
        chunks=counts.chunks,
        quarantined=counts.quarantined,
        inputs=wanted,
        job=job.name,
        database=database,
        ingested_at=timestamp(now),
        message=_sentence(report)[:1024] if found else _NO_REPORT,
    )
    return SourceWork(status=status)


def _sentence(report: SourceReport) -> str:
    if report.error or not report.failed_documents:
        return report.error
    number = report.failed_documents
    were = "document was" if number == 1 else "documents were"
    return f"{number} {were} not ingested: {'; '.join(report.failed)}"


def _changed(known: SourceStatus, state: SourceState, message: str = "") -> SourceStatus:
    return known.model_copy(update={"state": state, "message": message[:1024]})


def _removed(
    kb: KnowledgeBase, observed: Observed, inputs: Inputs, known: SourceStatus
) -> SourceWork | None:
    """A source that the spec has no more; None once its documents are removed, or where no Job ever worked on it."""
    if not (known.running or known.ingested_at or known.job):
        return None
    started = known.started_at or timestamp(observed.now)
    document = memory.removal(kb, known.name, known.world, inputs, started)
    job = _job(kb, document, observed, "RemovalFailing")
    if known.running not in ("", job.name):
        return _superseded(observed, known, SourceState.REMOVING)
    if known.running and job.complete:
        return None
    state = _changed(known, SourceState.REMOVING, job.words)
    return SourceWork(status=state.model_copy(update={"started_at": started}), job=job)


def _job(kb: KnowledgeBase, document: Document, observed: Observed, crash_reason: str) -> Ran:
    kind = words("the Job's program", crash_reason, secret_field=secret_field(kb))
    return ran(document, observed, kind)


def secret_field(kb: KnowledgeBase) -> str:
    """The fields that name Secrets of the memory's pods, as a message names them."""
    found = [_DATABASE_SECRET] if kb.spec.database.external else []
    if kb.spec.embedding is not None and kb.spec.embedding.open_ai.secret_ref is not None:
        found.append(EMBEDDING_SECRET)
    return " or ".join(found) or "spec.database"


def ran(document: Document, observed: Observed, kind: Words) -> Ran:
    """A Job of this manifest as it stands; `kind` names its faults."""
    name = document["metadata"]["name"]
    live: Job | None = observed.applied("Job", name)
    pods = [each for each in observed.pods if each.group == name]
    return Ran(
        document=document,
        live=live is not None,
        complete=live is not None and live.complete,
        # Two watches tell of a Job and of its pod, in any order.
        ending=any(not each.dead for each in pods),
        failed=f"Job {name}: {live.failed}; delete it to try again" if live and live.failed else "",
        fault=fault(pods, [], kind),
        said=_first(each.said for each in pods),
    )


def _first(texts: Iterable[str]) -> str:
    return next(filter(None, texts), "")


def words(
    program: str,
    crash_reason: str,
    *,
    secret_field: str,
    volume_field: str = "spec.database",
) -> Words:
    """How faults of pods of the memory are named, by the fields that ask for what they need."""
    return Words(
        secret_field=secret_field,
        volume_field=volume_field,
        crash_reason=crash_reason,
        program=program,
        hints=(
            ("Insufficient cpu", "spec.service.cpu"),
            ("Insufficient memory", "spec.service.memory"),
        ),
    )
