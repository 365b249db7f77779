"""PURE: the Jobs of a knowledge base: which are due, which are done, and what they have reported.

What a Job depends on has a digest. Status remembers that of the last Job that ended, so that no Job is needed to know that
its work is done: it may be deleted. A Job's name is a digest too, of what is asked for and of what was done before it.
"""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gameai_contract.knowledge import SourceReport, source_report
from gameai_contract.names import PART_OF
from gameai_contract.names import selector as labels_of

from gameai_operator.api.base import GROUP
from gameai_operator.api.knowledge_base import KnowledgeBase, Source, SourceState, SourceStatus
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
_NO_REPORT = "the pod was gone before its numbers were read: they are those of before"
RUN_AGAIN = f"{GROUP}/run-again"
MISSING = "SourceMissing"
_SECRET_FIELD = "spec.database.external.secretRef"  # noqa: S105 - a field's name


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """A Job as it stands: not complete, it is wanted; complete, it is kept for its log."""

    document: Document
    live: bool
    complete: bool
    failed: str = ""
    fault: Fault | None = None
    said: str = ""

    @property
    def name(self) -> str:
        """Name of the Job."""
        name: str = self.document["metadata"]["name"]
        return name


@dataclass(frozen=True, kw_only=True, slots=True)
class Migration:
    """The schema: `inputs` is the digest of what it depends on; `job` is what brings it there, None once that is done."""

    inputs: str
    status: Mapping[str, str] | None
    job: Ran | None = None

    @property
    def done(self) -> bool:
        """Whether the schema is that of the image in use."""
        return self.job is None


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceWork:
    """A source: what status says of it, and the Job that it needs."""

    status: SourceStatus
    job: Ran | None = None
    missing: str = ""

    @property
    def ever(self) -> bool:
        """Whether it was ingested at least once."""
        return bool(self.status.inputs)


def migration(kb: KnowledgeBase, observed: Observed, inputs: Inputs) -> Migration:
    """The migration that is due, or the one that is done."""
    database = kb.spec.database.model_dump(mode="json", exclude={"managed"})
    again = kb.metadata.annotations.get(RUN_AGAIN, "")
    wanted = digest([inputs.image, database, again])
    before = kb.status.schema_
    if before is not None and before.inputs == wanted:
        return Migration(inputs=wanted, status={"inputs": wanted, "job": before.job})
    former = before.inputs if before else ""
    job = _ran(memory.migration(kb, inputs, f"{wanted} {former}"), observed, "MigrationFailing")
    if job.complete:
        return Migration(inputs=wanted, status={"inputs": wanted, "job": job.name})
    known = None if before is None else {"inputs": before.inputs, "job": before.job}
    return Migration(inputs=wanted, status=known, job=job)


def sources(
    kb: KnowledgeBase, observed: Observed, inputs: Inputs, schema: Migration
) -> tuple[SourceWork, ...]:
    """Every source of the spec, then those that are to be removed."""
    works = tuple(_works(kb, observed, inputs, schema))
    return tuple(_started(observed, works, migrated=schema.done))


def _works(
    kb: KnowledgeBase, observed: Observed, inputs: Inputs, schema: Migration
) -> Iterator[SourceWork]:
    before = {(each.name, each.world): each for each in kb.status.sources}
    given = {(each.name, each.world or ""): each for each in kb.spec.sources}
    for identity, source in given.items():
        known = before.get(identity) or _new(source)
        yield _source(kb, observed, inputs, schema.inputs, source, known)
    for identity, known in before.items():
        if identity not in given and (work := _removed(kb, observed, inputs, known)):
            yield work


def _started(
    observed: Observed, works: Sequence[SourceWork], *, migrated: bool
) -> Iterator[SourceWork]:
    """Those that run go on; further ones start while there is room.

    None starts while a superseded one has not ended: it would write its former documents after the new ones.
    """
    under_way = sum(each.job is not None and each.job.live for each in works)
    room = MOST_JOBS - under_way if migrated and not _strays(observed, works) else 0
    for work in works:
        if work.job is None or work.job.complete or work.job.live:
            yield work
        elif room > 0:
            room -= 1
            yield work
        else:
            waits = work.status.state is SourceState.INGESTING
            state = SourceState.WAITING if waits else work.status.state
            yield replace(work, status=_changed(work.status, state), job=None)


def _strays(observed: Observed, works: Sequence[SourceWork]) -> bool:
    """Whether there is an unfinished Job about a source, or a pod of one, that nothing wants any more."""
    names = {each.job.name for each in works if each.job} | {each.status.job for each in works}
    jobs = {key.name for key in observed.children if key.kind == "Job"}
    pods = {each.group for each in observed.pods if each.group and not each.dead}
    return any(memory.is_about_source(each) for each in (jobs | pods) - names)


def _new(source: Source) -> SourceStatus:
    return SourceStatus(name=source.name, world=source.world or "", state=SourceState.WAITING)


def _source(
    kb: KnowledgeBase,
    observed: Observed,
    inputs: Inputs,
    schema: str,
    source: Source,
    known: SourceStatus,
) -> SourceWork:
    view = observed.references.get(Key("ConfigMap", kb.metadata.namespace, source.config_map.name))
    if isinstance(view, Unread):
        return SourceWork(status=known)
    if not isinstance(view, ConfigMapView) or not view.digest:
        return _unread(kb, source, known, view)
    wanted = digest([view.digest, source.trust, schema])
    if known.inputs == wanted:
        return SourceWork(status=_settled(known))
    job = _ran(
        memory.ingestion(kb, source, inputs, (wanted, known.inputs)), observed, "IngestionFailing"
    )
    if job.complete:
        return SourceWork(status=_ingested(known, job, wanted, observed.now), job=job)
    words = job.failed or (job.fault.message if job.fault else "")
    return SourceWork(status=_changed(known, SourceState.INGESTING, words), job=job)


def _unread(
    kb: KnowledgeBase, source: Source, known: SourceStatus, view: ConfigMapView | None
) -> SourceWork:
    """Its ConfigMap is not there, or cannot be read; what was ingested stays."""
    name, namespace = source.config_map.name, kb.metadata.namespace
    message = (
        f"source {source.name}: ConfigMap {name} does not exist in this namespace, or its label is missing: "
        f"kubectl --namespace {namespace} label configmap {name} {labels_of(PART_OF)}"
        if view is None
        else f"source {source.name}: ConfigMap {name}: {view.fault}"
    )
    state = _changed(known, SourceState.MISSING, message)
    return SourceWork(status=state, missing=message)


def _ingested(known: SourceStatus, job: Ran, wanted: str, now: datetime.datetime) -> SourceStatus:
    found = source_report(job.said)
    report = found or SourceReport()
    failed = bool(report.error or report.failed_documents)
    counts = known if report.error or found is None else report
    return SourceStatus(
        name=known.name,
        world=known.world,
        state=SourceState.FAILED if failed else SourceState.INGESTED,
        documents=counts.documents,
        chunks=counts.chunks,
        quarantined=counts.quarantined,
        inputs=wanted,
        job=job.name,
        ingested_at=timestamp(now),
        message=_sentence(report)[:1024] if found else _NO_REPORT,
    )


def _sentence(report: SourceReport) -> str:
    if report.error:
        return report.error
    if not report.failed_documents:
        return ""
    return f"{report.failed_documents} documents were not ingested: {'; '.join(report.failed)}"


def _settled(known: SourceStatus) -> SourceStatus:
    """Its last ingestion is of what is asked for now; a message of that one stays, one about a missing ConfigMap does not."""
    if known.state in (SourceState.INGESTED, SourceState.FAILED):
        return known
    return _changed(known, SourceState.INGESTED)


def _changed(known: SourceStatus, state: SourceState, message: str = "") -> SourceStatus:
    return known.model_copy(update={"state": state, "message": message[:1024]})


def _removed(
    kb: KnowledgeBase, observed: Observed, inputs: Inputs, known: SourceStatus
) -> SourceWork | None:
    """A source that the spec has no more; None once its documents are removed.

    One that was never ingested to the end may have some too.
    """
    job = _ran(
        memory.removal(kb, known.name, known.world, inputs, known.inputs),
        observed,
        "RemovalFailing",
    )
    if job.complete:
        return None
    state = _changed(known, SourceState.REMOVING, job.fault.message if job.fault else "")
    return SourceWork(status=state, job=job)


def _ran(document: Document, observed: Observed, crash_reason: str) -> Ran:
    name = document["metadata"]["name"]
    live: Job | None = observed.applied("Job", name)
    pods = [each for each in observed.pods if each.group == name]
    return Ran(
        document=document,
        live=live is not None,
        complete=live is not None and live.complete,
        failed=f"Job {name}: {live.failed}; delete it to try again" if live and live.failed else "",
        fault=fault(pods, [], words("the Job's program", crash_reason)),
        said=_first(each.said for each in pods),
    )


def _first(texts: Iterator[str]) -> str:
    return next(filter(None, texts), "")


def words(program: str, crash_reason: str) -> Words:
    """How faults of pods of the memory are named."""
    return Words(
        secret_field=_SECRET_FIELD,
        volume_field="spec.database",
        crash_reason=crash_reason,
        program=program,
        hints=(
            ("Insufficient cpu", "spec.service.cpu"),
            ("Insufficient memory", "spec.service.memory"),
        ),
    )


def known_migration(kb: KnowledgeBase) -> Migration:
    """What status says of the schema, where nothing may be changed."""
    before = kb.status.schema_
    known = None if before is None else {"inputs": before.inputs, "job": before.job}
    return Migration(inputs=before.inputs if before else "", status=known)
