"""When archives of a knowledge base are made, and what is said of it."""

import datetime
from typing import Any

import pytest
from gameai_contract.archives import ArchiveReport
from gameai_operator.settings import Policy, Settings
from support.archives import (
    FROM,
    MADE,
    NIGHTLY,
    S3,
    TWO,
    at,
    backed_up,
    backing_up,
    container,
    job,
    life_policy,
    report,
)
from support.knowledge_decisions import HISTORIES, Life
from support.tier_decisions import a_pod
from support.world_decisions import said


def test_without_a_backup_nothing_is_made_and_it_is_said() -> None:
    life = Life(HISTORIES).served(TWO)
    decision = life.settle()
    assert life.jobs("backup") == []
    assert (said(decision, "BackedUp").status, said(decision, "BackedUp").reason) == (
        True,
        "NotScheduled",
    )
    assert said(decision, "Restored").reason == "NotRequested"


def test_the_first_archive_is_made_at_once_and_the_next_one_at_night() -> None:
    life = backing_up()
    decision = life.step()
    flags = container(job(life, decision, "backup"))["command"]
    assert flags[3] == "backup"
    assert {"--owner=eldermoor/lore", "--keep=14", "--repository=/archives"} <= set(flags)
    assert said(decision, "BackedUp").reason == "Waiting"
    assert said(decision).status, "a memory without an archive serves"
    report(life, "backup", MADE)
    decision = life.settle()
    assert said(decision, "BackedUp").message == f"{MADE.file}, 12 events"
    assert life.root["status"]["lastBackup"]["events"] == 12
    assert life.due("backup") == []
    wait = decision.requeue_after_seconds or 0
    assert 0 < wait <= 86400
    life.now += datetime.timedelta(seconds=wait)
    decision = life.step()
    assert "T030000Z" in str(container(job(life, decision, "backup"))["command"])
    assert said(decision, "BackedUp").status, "the last one counts until this one ends"


def test_a_night_that_was_missed_is_made_up_for_once() -> None:
    life = backed_up()
    at(life, hour=12, day=9)
    life.settle()
    report(life, "backup", MADE)
    life.settle()
    assert life.due("backup") == []


@pytest.mark.parametrize("change", [{"repository": S3}, {"annotation": "a"}])
def test_another_repository_and_an_annotation_have_one_made_at_once(change: dict[str, Any]) -> None:
    life = backed_up()
    if "annotation" in change:
        life.root["metadata"]["annotations"] = {"gameai.dev/backup-now": "a"}
    else:
        life.root["spec"]["backup"] = {**NIGHTLY, **change}
    life.settle()
    report(life, "backup", MADE)
    life.settle()
    assert life.due("backup") == []


def test_a_changed_spec_ends_the_running_job_and_keeps_its_slot() -> None:
    life = backing_up()
    [former] = life.due("backup")
    slot = life.root["status"]["backup"]["slot"]
    life.root["spec"]["backup"] = {
        **NIGHTLY,
        "repository": {"persistentVolumeClaim": {"claimName": "other"}},
    }
    life.settle()
    [job_now] = life.due("backup")
    assert job_now != former
    assert life.root["status"]["backup"]["slot"] == slot
    del life.root["spec"]["backup"]
    decision = life.settle()
    assert life.jobs("backup") == []
    assert said(decision, "BackedUp").reason == "NotScheduled"


def test_lost_history_is_said_until_a_backup_finds_it_again() -> None:
    life = backed_up(ArchiveReport(file=MADE.file, warning="the memory lost history: 1 events"))
    decision = life.settle()
    assert said(decision, "BackedUp").reason == "HistoryLost"
    assert said(decision, "Stalled").reason == "HistoryLost"
    assert (said(decision).status, said(decision).reason) == (True, "Degraded")
    at(life, hour=3)
    decision = life.step()
    assert said(decision, "BackedUp").reason == "HistoryLost", "also while the next one runs"
    life.settle()
    report(life, "backup", MADE)
    assert said(life.settle(), "BackedUp").status


def test_what_keeps_a_job_from_its_end_is_said() -> None:
    life = backing_up()
    [name] = life.due("backup")
    words = 'persistentvolumeclaim "lore-archives" not found'
    life.pods.append(a_pod(group=name, name=name, unschedulable=words))
    decision = life.settle()
    assert said(decision, "BackedUp").reason == "VolumeClaimMissing"
    assert "spec.backup.repository.persistentVolumeClaim" in said(decision, "BackedUp").message
    assert said(decision, "Stalled").status


def test_a_backup_that_takes_long_is_said() -> None:
    life = backing_up()
    wait = life.step().requeue_after_seconds or 0
    assert 0 < wait <= 3600
    life.now += datetime.timedelta(seconds=wait)
    assert said(life.step(), "BackedUp").reason == "BackupOverdue"


def test_a_time_is_overdue_from_the_start_of_its_job() -> None:
    life = backed_up()
    at(life, hour=12, day=3)
    decision = life.settle()
    assert life.due("backup")
    assert said(decision, "BackedUp").reason == "BackedUp"


def test_a_wrong_schedule_is_said_and_stops_nothing_else() -> None:
    life = backed_up()
    life.root["spec"]["backup"] = {**NIGHTLY, "schedule": "0 25 * * *", "timeZone": "Mars/Olympus"}
    life.root["spec"]["sources"] = []
    decision = life.settle()
    message = said(decision, "BackedUp").message
    assert "spec.backup.schedule: '0 25 * * *'" in message
    assert "spec.backup.timeZone: Mars/Olympus" in message
    assert said(decision, "Stalled").reason == "ScheduleInvalid"
    assert life.due("remove"), "the rest of the change is acted on"


def test_a_running_backup_outlives_a_wrong_schedule_and_a_migration() -> None:
    life = backing_up()
    [name] = life.due("backup")
    life.root["spec"]["backup"] = {**NIGHTLY, "schedule": "0 25 * * *"}
    life.settle()
    assert life.due("backup") == [name]
    life.root["spec"]["backup"] = NIGHTLY
    life.root["metadata"]["annotations"] = {"gameai.dev/run-again": "x"}
    life.settle()
    assert life.due("migrate")
    assert life.due("backup") == [name]


def test_a_time_zone_counts() -> None:
    life = backed_up(timeZone="Asia/Tokyo")
    wait = life.step().requeue_after_seconds or 0
    due = life.now + datetime.timedelta(seconds=wait)
    assert due.astimezone(datetime.UTC).hour == 18


def test_a_bucket_gets_its_variables_and_its_network() -> None:
    secret = {"name": "keys", "accessKeyIdKey": "id", "secretAccessKeyKey": "key"}
    server = {"endpoint": "http://minio.storage.svc:9000", "secretRef": secret}
    life = backing_up(repository={"s3": {**S3["s3"], **server}})
    decision = life.step()
    found = job(life, decision, "backup")
    assert "--repository=s3://studio/gameai" in container(found)["command"]
    named = {each["name"]: each for each in container(found)["env"]}
    assert named["AWS_REGION"]["value"] == "eu-central-1"
    assert named["AWS_ENDPOINT_URL_S3"]["value"] == "http://minio.storage.svc:9000"
    reference = {"secretKeyRef": {"name": "keys", "key": "key"}}
    assert named["AWS_SECRET_ACCESS_KEY"]["valueFrom"] == reference
    policy = life_policy(decision)
    labels = found["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    [rule] = policy["spec"]["egress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 9000}]
    assert "storage" in str(rule["to"])


@pytest.mark.parametrize(
    ("endpoint", "port", "own"),
    [
        (None, 443, False),
        ("https://s3.studio.example", 443, False),
        ("http://minio", 80, True),
        ("http://minio.storage.svc.cluster.local:9000", 9000, True),
    ],
)
def test_a_server_outside_of_the_cluster_may_be_forbidden(
    endpoint: str | None, port: int, own: bool
) -> None:
    given = {**S3["s3"], **({"endpoint": endpoint} if endpoint else {})}
    life = backing_up(repository={"s3": given})
    [rule] = life_policy(life.step())["spec"]["egress"]
    assert rule["ports"][0]["port"] == port
    assert ("ipBlock" not in str(rule["to"])) == own
    life = Life(HISTORIES).served(TWO)
    life.settings = Settings(policy=Policy(open_networks=False))
    life.root["spec"]["database"] = {"managed": {}}
    life.root["spec"]["backup"] = {**NIGHTLY, "repository": {"s3": given}}
    decision = life.step()
    assert (said(decision, "Stalled").reason == "NetworkNotAllowed") != own


def test_a_job_whose_result_was_not_read_has_ended_all_the_same() -> None:
    life = Life(HISTORIES, backup=NIGHTLY, restoreFrom=FROM)
    life.settle()
    life.finish("migrate")
    life.settle()
    report(life, "restore", None)
    decision = life.settle()
    assert (said(decision, "Restored").status, said(decision, "Restored").message) == (True, "")
    report(life, "backup", None)
    decision = life.settle()
    assert said(decision, "BackedUp").message == "its result was not read"
    assert life.root["status"]["lastBackup"]["name"] == ""


@pytest.mark.parametrize("cause", ["migration", "rejection"])
def test_a_backup_that_cannot_start_is_said(cause: str) -> None:
    life = backed_up()
    if cause == "migration":
        life.root["metadata"]["annotations"] = {"gameai.dev/run-again": "x"}
    else:
        life.settings = Settings(policy=Policy(secrets=("another",)))
    at(life, hour=3)
    decision = life.settle()
    assert life.due("backup") == []
    assert said(decision, "BackedUp").status
    wait = decision.requeue_after_seconds or 0
    assert 0 < wait <= 3600
    life.now += datetime.timedelta(hours=1)
    assert said(life.step(), "BackedUp").reason == "BackupOverdue"


def test_a_backup_that_is_asked_for_while_another_runs_follows_it() -> None:
    life = backing_up()
    life.root["metadata"]["annotations"] = {"gameai.dev/backup-now": "a"}
    life.settle()
    first = report(life, "backup", MADE)
    life.settle()
    assert life.due("backup") != [first]
    report(life, "backup", MADE)
    life.settle()
    assert life.due("backup") == []


def test_a_clock_that_was_ahead_stops_no_backups() -> None:
    life = backed_up()
    life.root["status"]["backup"]["slot"] = "2036-01-01T00:00:00Z"
    life.settle()
    assert life.due("backup")
