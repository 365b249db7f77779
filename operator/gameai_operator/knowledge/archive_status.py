"""PURE: backups and restores of a knowledge base as conditions."""

from gameai_operator.controller.conditions import Condition
from gameai_operator.controller.standard_conditions import Problem
from gameai_operator.knowledge.archives import BackupWork, RestoreWork
from gameai_operator.knowledge.work import Ran


def restored(restore: RestoreWork, *, migrated: bool) -> Condition:
    """Whether the memory has what `spec.restoreFrom` asks for."""
    kind = "Restored"
    archive = restore.status.archive if restore.status else None
    if not restore.wanted:
        return Condition(type=kind, status=True, reason="NotRequested")
    if restore.job is None and archive is not None:
        message = f"from {archive.name}" if archive.name else ""
        return Condition(type=kind, status=True, reason="Restored", message=message)
    if restore.job is None or not migrated:
        message = "waits for the database and its schema"
        return Condition(type=kind, status=False, reason="Waiting", message=message)
    reason, message = _fault(restore.job, "RestoreFailing") or (
        "Restoring",
        f"Job {restore.job.name} adds what the archive holds",
    )
    return Condition(type=kind, status=False, reason=reason, message=message)


def backed_up(backup: BackupWork, *, scheduled: bool) -> Condition:
    """Whether the last backup that was due has made its archive."""
    found = _trouble(backup) if scheduled else None
    if found is not None:
        return Condition(type="BackedUp", status=False, reason=found[0], message=found[1])
    if not scheduled:
        message = "spec.backup is not set: no archives are made"
        return Condition(type="BackedUp", status=True, reason="NotScheduled", message=message)
    if backup.archive is None:
        message = "the first archive is not made yet"
        return Condition(type="BackedUp", status=False, reason="Waiting", message=message)
    name = backup.archive.name
    message = f"{name}, {backup.archive.events} events" if name else "its result was not read"
    return Condition(type="BackedUp", status=True, reason="BackedUp", message=message)


def problems(backup: BackupWork) -> list[Problem]:
    """What a person must act on. Faults of the Jobs are not among them."""
    found = [("ScheduleInvalid", backup.invalid)] if backup.invalid else []
    if backup.warning:
        found.append(("HistoryLost", backup.warning))
    return found


def _trouble(backup: BackupWork) -> Problem | None:
    if backup.invalid:
        return "ScheduleInvalid", backup.invalid
    fault = _fault(backup.job, "BackupFailing")
    if fault is not None:
        return fault
    if backup.overdue:
        return "BackupOverdue", (
            f"Job {backup.job.name} has not ended for more than an hour"
            if backup.job
            else "a backup has been due for more than an hour, and waits for the other conditions"
        )
    return ("HistoryLost", backup.warning) if backup.warning else None


def _fault(job: Ran | None, failing: str) -> Problem | None:
    if job is None or not job.words:
        return None
    return (job.fault.reason if job.fault and not job.failed else failing), job.words
