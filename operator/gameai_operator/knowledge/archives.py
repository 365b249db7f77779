"""PURE: backups of a knowledge base and its restore: what is due, which Job runs, and what it has reported.

A backup has a slot, the time that it was due at. The archive of a slot is made once: a Job that runs again finds and
reports it. A restore has a digest, which the database remembers.
"""

import datetime
from dataclasses import dataclass

from gameai_contract.archives import ArchiveReport, archive_report

from gameai_operator.api import cron
from gameai_operator.api.backups import Backup, Repository
from gameai_operator.api.base import GROUP
from gameai_operator.api.knowledge_base import Archive, BackupStatus, KnowledgeBase, RestoreStatus
from gameai_operator.controller.kind import Observed
from gameai_operator.controller.manifest import digest, timestamp
from gameai_operator.knowledge import memory
from gameai_operator.knowledge.work import EMBEDDING_SECRET, RUN_AGAIN, Migration, Ran, ran, words
from gameai_operator.resources.pod_faults import Words
from gameai_operator.resources.template_inputs import Inputs

# Another value of this annotation starts a backup at once.
BACKUP_NOW = f"{GROUP}/backup-now"
# A Job that takes longer is reported.
OVERDUE_SECONDS = 3600.0
_MOST_ANNOTATION = 256
_RESTORE_FIELD = "spec.restoreFrom"


@dataclass(frozen=True, kw_only=True, slots=True)
class BackupWork:
    """Backups: what status says, the Job that runs, and a running one (`kept`) of which it is not known whether it is needed.

    `seconds` is the time until the next one is due, or until one that runs is overdue. `invalid` is what is wrong with the
    schedule, with which none is made.
    """

    status: BackupStatus | None = None
    archive: Archive | None = None
    job: Ran | None = None
    kept: str = ""
    seconds: float | None = None
    overdue: bool = False
    invalid: str = ""

    @property
    def warning(self) -> str:
        """What the last backup found wrong although it made its archive."""
        return self.status.message if self.status else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoreWork:
    """A restore: what status says of the last one, and the Job that is due. Without `wanted` the spec asks for none."""

    wanted: bool = False
    status: RestoreStatus | None = None
    job: Ran | None = None

    @property
    def done(self) -> bool:
        """Whether the memory has what the spec wants it to begin with."""
        return not self.wanted or self.job is None


def kept_jobs(restored: RestoreWork, made: BackupWork) -> set[str]:
    """Jobs that are kept for their logs, and a running one of which it is not known whether it is needed."""
    of_restore = restored.status.archive.job if restored.status else ""
    names = (made.kept, made.status.job if made.status else "", of_restore)
    return set(filter(None, names))


def _faults(given: Backup) -> tuple[str, ...]:
    """What is wrong with the schedule, a sentence each."""
    found = (
        cron.zone_fault("spec.backup.timeZone", given.time_zone),
        cron.cron_fault("spec.backup.schedule", given.schedule),
    )
    return tuple(filter(None, found))


def restore(
    kb: KnowledgeBase, observed: Observed, inputs: Inputs, schema: Migration
) -> RestoreWork:
    """The restore that is due, or the one that ended."""
    given, known = kb.spec.restore_from, kb.status.restore
    if given is None:
        return RestoreWork(status=known)
    # Nothing but what is restored: for another name what was deleted since would come back.
    owner = given.knowledge_base or f"{kb.metadata.namespace}/{kb.metadata.name}"
    once = digest([_location(given.repository), owner, given.archive])
    # A database that was restored for this already adds nothing; one that was replaced, or is another one, needs it.
    again = kb.metadata.annotations.get(RUN_AGAIN, "")
    wanted = digest([once, schema.database, again])
    if known is not None and known.inputs == wanted:
        return RestoreWork(wanted=True, status=known)
    document = memory.restoration(kb, given, inputs, once, wanted)
    job = ran(document, observed, _words(kb, _RESTORE_FIELD, "RestoreFailing"))
    if not job.complete or job.ending:
        return RestoreWork(wanted=True, status=known, job=job)
    archive = _archive(job, archive_report(job.said), observed.now)
    return RestoreWork(wanted=True, status=RestoreStatus(inputs=wanted, archive=archive))


def known_restore(kb: KnowledgeBase) -> RestoreWork:
    """What status says of the restore, where nothing may be changed."""
    return RestoreWork(wanted=kb.spec.restore_from is not None, status=kb.status.restore)


def known_backup(kb: KnowledgeBase, now: datetime.datetime) -> BackupWork:
    """What status says of backups, where nothing may be changed."""
    given = kb.spec.backup
    known = BackupWork(status=kb.status.backup, archive=kb.status.last_backup)
    return known if given is None or _faults(given) else _waiting(kb, given, now)


def backup(kb: KnowledgeBase, observed: Observed, inputs: Inputs, *, ready: bool) -> BackupWork:
    """The backup that is due or runs. None starts before the database is `ready`: it would hold nothing."""
    given, known = kb.spec.backup, kb.status.backup
    if given is None:
        return BackupWork(archive=kb.status.last_backup)
    if wrong := _faults(given):
        return BackupWork(
            status=known,
            archive=kb.status.last_backup,
            kept=known.running if known else "",
            invalid="; ".join(wrong),
        )
    asked = kb.metadata.annotations.get(BACKUP_NOW, "")[:_MOST_ANNOTATION]
    place = digest(_location(given.repository))
    running = known.running if known else ""
    slot = known.slot if known and running else _due(given, known, place, asked, observed.now)
    if not (slot and ready):
        return _waiting(kb, given, observed.now)
    document = memory.backup(kb, given, inputs, slot)
    job = ran(document, observed, _words(kb, "spec.backup", "BackupFailing"))
    status = BackupStatus(
        slot=slot,
        running=job.name,
        job=known.job if known else "",
        started_at=known.started_at if known and running else timestamp(observed.now),
        repository=place,
        # One that is asked for while another runs is made after it.
        run_now=known.run_now if known and running else asked,
        message=known.message if known else "",
    )
    if running == job.name and job.complete and not job.ending:
        return _ended(given, status, job, observed.now)
    left = OVERDUE_SECONDS - _age(status.started_at, observed.now)
    return BackupWork(
        status=status,
        archive=kb.status.last_backup,
        job=job,
        seconds=left if left > 0 else None,
        overdue=left <= 0,
    )


def _waiting(kb: KnowledgeBase, given: Backup, now: datetime.datetime) -> BackupWork:
    """None is due, or none can be started now. The next one, or the time from which it is overdue, is when the decision changes."""
    known = kb.status.backup
    running = known.running if known else ""
    since = ""
    if known:
        since = known.started_at if running else _missed(given, known, now)
    left = OVERDUE_SECONDS - _age(since, now) if since else None
    waits = (_until_next(given, now), left if left and left > 0 else None)
    return BackupWork(
        status=known,
        archive=kb.status.last_backup,
        kept=running,
        seconds=min((each for each in waits if each is not None), default=None),
        overdue=left is not None and left <= 0,
    )


def _location(repository: Repository) -> list[str]:
    """Where archives are, without how to get there."""
    if repository.persistent_volume_claim is not None:
        return ["claim", repository.persistent_volume_claim.claim_name]
    given = repository.s3
    assert given is not None  # noqa: S101 - the schema asks for exactly one
    _, _, server = (given.endpoint or "").rpartition("//")
    return ["s3", server, given.bucket, given.prefix]


def _age(slot: str, now: datetime.datetime) -> float:
    return (now - datetime.datetime.fromisoformat(slot)).total_seconds()


def _due(
    given: Backup, known: BackupStatus | None, place: str, asked: str, now: datetime.datetime
) -> str:
    """The slot that has no archive yet; empty: none. A new repository is tried at once, not at night."""
    if known is None or known.repository != place or (asked and asked != known.run_now):
        return timestamp(now)
    # The clock was ahead.
    if _age(known.slot, now) < 0:
        return timestamp(now)
    return _missed(given, known, now)


def _missed(given: Backup, known: BackupStatus, now: datetime.datetime) -> str:
    """The last time of the schedule that no backup was made for; empty: none."""
    last = cron.last(given.schedule, given.time_zone, now)
    if last is None or last <= datetime.datetime.fromisoformat(known.slot):
        return ""
    return timestamp(last.astimezone(datetime.UTC))


def _until_next(given: Backup, now: datetime.datetime) -> float | None:
    following = cron.following(given.schedule, given.time_zone, now)
    return None if following is None else (following - now).total_seconds()


def _ended(given: Backup, status: BackupStatus, job: Ran, now: datetime.datetime) -> BackupWork:
    report = archive_report(job.said)
    message = report.warning[:1024] if report else ""
    ended = status.model_copy(update={"running": "", "job": job.name, "message": message})
    return BackupWork(
        status=ended, archive=_archive(job, report, now), seconds=_until_next(given, now)
    )


def _archive(job: Ran, report: ArchiveReport | None, now: datetime.datetime) -> Archive:
    """A Job that ended has done its work, whether or not its pod was there long enough to say so."""
    report = report or ArchiveReport(file="")
    return Archive(
        name=report.file,
        job=job.name,
        at=timestamp(now),
        bytes=report.size,
        worlds=report.worlds,
        events=report.events,
        concepts=report.concepts,
        relations=report.relations,
        reviews=report.reviews,
    )


def _words(kb: KnowledgeBase, field: str, crash_reason: str) -> Words:
    # A restore may compute vectors.
    embeds = field == _RESTORE_FIELD and kb.spec.embedding is not None
    more = f" or {EMBEDDING_SECRET}" if embeds else ""
    return words(
        "the Job's program",
        crash_reason,
        secret_field=f"{field}.repository.s3.secretRef{more}",
        volume_field=f"{field}.repository.persistentVolumeClaim",
    )
