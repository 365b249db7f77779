"""A memory that begins with an archive."""

import datetime
from typing import Any

import pytest
from gameai_operator.controller.manifest import Key
from gameai_operator.settings import Policy, Settings
from support.archives import FROM, MADE, NIGHTLY, S3, at, backed_up, container, job, report
from support.knowledge_decisions import DEPLOYMENT, HISTORIES, Life
from support.tier_decisions import a_pod
from support.world_decisions import said


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
    life.settle()
    assert life.jobs("restore") == []
    life.root["metadata"]["annotations"] = {"gameai.dev/run-again": "x"}
    life.settle()
    life.finish("migrate")
    again = job(life, life.settle(), "restore")
    once = [each for each in container(again)["command"] if each.startswith("--once=")]
    assert set(once) <= set(flags), "the database decides whether it was restored for this"


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
    assert life.due("backup") == [], "it might remove the archive that is being restored"
    life.now += datetime.timedelta(hours=1)
    assert said(life.step(), "BackedUp").reason == "BackupOverdue"


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


def test_a_secret_that_is_not_allowed_is_refused_and_a_restore_stays_as_it_was() -> None:
    life = Life(HISTORIES, restoreFrom=FROM)
    life.settle()
    life.finish("migrate")
    life.settle()
    report(life, "restore", MADE)
    life.settle()
    life.settings = Settings(policy=Policy(secrets=("lore-app",)))
    life.root["spec"]["backup"] = {
        **NIGHTLY,
        "repository": {"s3": {**S3["s3"], "secretRef": {"name": "keys"}}},
    }
    decision = life.step()
    assert (
        "spec.backup.repository.s3.secretRef keys is not allowed"
        in said(decision, "Stalled").message
    )
    assert said(decision, "Restored").reason == "Restored"
    key = Key("Job", "eldermoor", life.root["status"]["restore"]["archive"]["job"])
    assert key in decision.keep


def test_a_memory_of_a_former_database_serves_until_the_new_one_is_restored() -> None:
    life = Life(restoreFrom=FROM)
    life.settle()
    life.finish("migrate")
    life.settle()
    report(life, "restore", MADE)
    life.settle()
    life.serve()
    life.settle()
    before = str(life.facts("Deployment", "lore-memory").remembered)
    external = {**life.root["spec"]["database"]["external"], "host": "10.9.9.9"}
    life.root["spec"]["database"] = {"external": external}
    life.settle()
    life.finish("migrate")
    decision = life.settle()
    assert life.due("restore")
    assert str(life.facts("Deployment", "lore-memory").remembered) == before
    assert DEPLOYMENT in decision.keep
    report(life, "restore", MADE)
    life.settle()
    assert str(life.facts("Deployment", "lore-memory").remembered) != before


@pytest.mark.parametrize(
    ("change", "other"),
    [
        ({"region": "us-east-1"}, False),
        ({"secretRef": {"name": "keys"}}, False),
        ({"prefix": "else"}, True),
        ({"bucket": "else"}, True),
        ({"endpoint": "https://s3.studio.example"}, True),
    ],
)
def test_another_way_to_an_archive_is_no_other_restore(change: dict[str, Any], other: bool) -> None:
    def once(s3: dict[str, Any]) -> list[str]:
        backup = {**NIGHTLY, "repository": {"s3": s3}}
        life = Life(restoreFrom={"repository": {"s3": s3}}, backup=backup)
        life.settle()
        life.finish("migrate")
        found = job(life, life.settle(), "restore")
        report(life, "restore", MADE)
        life.settle()
        place = life.root["status"]["backup"]["repository"]
        return [place, *(e for e in container(found)["command"] if e.startswith("--once="))]

    pairs = list(zip(once(S3["s3"]), once({**S3["s3"], **change}), strict=True))
    assert [a != b for a, b in pairs] == [other, other]
