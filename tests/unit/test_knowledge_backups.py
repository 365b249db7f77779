"""A knowledge base with archives: when one is made, what is said of it, and what a memory begins with."""

import datetime
from typing import Any

import pytest
from gameai_contract.archives import ArchiveReport
from gameai_contract.knowledge import SourceReport
from gameai_operator.controller.kind import Decision
from gameai_operator.controller.manifest import Key
from gameai_operator.settings import Policy, Settings
from support.knowledge_decisions import DEPLOYMENT, HISTORIES, Life
from support.tier_decisions import a_pod
from support.world_decisions import said

CLAIM = {"persistentVolumeClaim": {"claimName": "lore-archives"}}
S3 = {"s3": {"bucket": "studio", "prefix": "gameai", "region": "eu-central-1"}}
NIGHTLY: dict[str, Any] = {"schedule": "0 3 * * *", "repository": CLAIM}
FROM: dict[str, Any] = {"repository": CLAIM, "knowledgeBase": "games/lore"}
MADE = ArchiveReport(
    file="20261129T030000Z.12.15.jsonl.gz",
    size=900,
    worlds=1,
    events=12,
    concepts=2,
    reviews=1,
    kept=1,
)
TWO = SourceReport(documents=2, chunks=40)


def backing_up(**backup: Any) -> Life:
    """Served, with the Job of the first backup."""
    return Life(HISTORIES, backup={**NIGHTLY, **backup}).served(TWO)


def report(life: Life, verb: str, found: ArchiveReport | None) -> str:
    """The Job ends, and its pod says this."""
    [name] = life.due(verb)
    life.end(name)
    if found is not None:
        life.pods.append(a_pod(group=name, name=name, dead="Succeeded", said=found.text()))
    return name


def backed_up(found: ArchiveReport = MADE, **backup: Any) -> Life:
    life = backing_up(**backup)
    report(life, "backup", found)
    life.settle()
    return life


def job(life: Life, decision: Decision, verb: str) -> dict[str, Any]:
    [found] = [e for e in decision.wanted if f"-{verb}-" in e["metadata"]["name"]]
    return dict(found)


def container(found: dict[str, Any]) -> dict[str, Any]:
    [only] = found["spec"]["template"]["spec"]["containers"]
    return dict(only)


def at(life: Life, hour: int, day: int = 1) -> None:
    """So many days later, at this hour."""
    later = life.now + datetime.timedelta(days=day)
    life.now = later.replace(hour=hour, minute=0, second=0)


def test_without_a_backup_nothing_is_made_and_it_is_said() -> None:
    life = Life(HISTORIES).served(TWO)
    decision = life.settle()
    assert life.jobs("backup") == []
    assert (said(decision, "BackedUp").status, said(decision, "BackedUp").reason) == (True, "NotScheduled")  # fmt: skip
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


def test_no_archive_is_made_before_the_schema_and_the_restore() -> None:
    """An archive of an empty memory would be the newest one."""
    life = Life(HISTORIES, backup=NIGHTLY, restoreFrom=FROM)
    life.settle()
    life.finish("migrate")
    life.settle()
    assert life.due("restore")
    assert life.jobs("backup") == []
    assert DEPLOYMENT not in life.children, "new events would get the numbers of the archive's"
    report(life, "restore", MADE)
    life.settle()
    assert DEPLOYMENT in life.children
    assert life.due("backup")


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
    life.root["spec"]["backup"] = {**NIGHTLY, "repository": {"persistentVolumeClaim": {"claimName": "other"}}}  # fmt: skip
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


def test_a_restore_is_done_once_and_said() -> None:
    life = Life(HISTORIES, restoreFrom=FROM)
    decision = life.settle()
    assert said(decision, "Restored").reason == "Waiting"
    life.finish("migrate")
    life.settle()
    decision = life.step()
    flags = container(job(life, decision, "restore"))["command"]
    assert "--owner=games/lore" in flags
    mounts = container(job(life, decision, "restore"))["volumeMounts"]
    assert {"name": "archives", "mountPath": "/archives", "readOnly": True} in mounts
    assert said(decision).reason == "Restoring"
    assert said(decision, "Reconciling").reason == "Restoring"
    report(life, "restore", MADE)
    decision = life.settle()
    assert said(decision, "Restored").message == f"from {MADE.file}"
    assert life.root["status"]["restore"]["archive"]["events"] == 12
    for key in [each for each in life.children if each.kind == "Job"]:
        del life.children[key]
    life.pods.clear()
    life.root["metadata"]["annotations"] = {"gameai.dev/run-again": "x"}
    life.settle()
    assert life.jobs("restore") == [], "what was deleted since would come back"


def test_a_memory_that_serves_continues_while_an_archive_is_added() -> None:
    life = backed_up()
    life.root["spec"]["restoreFrom"] = FROM
    decision = life.settle()
    assert DEPLOYMENT in life.children
    assert said(decision).status
    [name] = life.due("restore")
    life.pods.append(a_pod(group=name, name=name, crash="error: the file is damaged"))
    decision = life.settle()
    assert said(decision).status
    assert said(decision, "Restored").reason == "RestoreFailing"
    at(life, hour=3)
    life.settle()
    assert life.due("backup"), "a restore that failed ends no backups"


def test_a_failing_restore_is_said() -> None:
    life = Life(restoreFrom={**FROM, "archive": MADE.file})
    life.settle()
    life.finish("migrate")
    life.settle()
    [name] = life.due("restore")
    life.pods.append(a_pod(group=name, name=name, crash="error: connection refused"))
    decision = life.settle()
    assert said(decision, "Restored").reason == "RestoreFailing"
    assert said(decision).reason == "RestoreFailing"


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


def life_policy(decision: Decision) -> dict[str, Any]:
    [found] = [e for e in decision.wanted if e["metadata"]["name"] == "lore-archives"]
    return dict(found)


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


def test_a_secret_that_is_not_allowed_is_refused_and_a_restore_stays_as_it_was() -> None:
    life = Life(HISTORIES, restoreFrom=FROM)
    life.settle()
    life.finish("migrate")
    life.settle()
    report(life, "restore", MADE)
    life.settle()
    life.settings = Settings(policy=Policy(secrets=("lore-app",)))
    life.root["spec"]["backup"] = {**NIGHTLY, "repository": {"s3": {**S3["s3"], "secretRef": {"name": "keys"}}}}  # fmt: skip
    decision = life.step()
    assert "spec.backup.repository.s3.secretRef keys is not allowed" in said(decision, "Stalled").message  # fmt: skip
    assert said(decision, "Restored").reason == "Restored"
    key = Key("Job", "eldermoor", life.root["status"]["restore"]["archive"]["job"])
    assert key in decision.keep


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
