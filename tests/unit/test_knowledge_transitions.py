"""A knowledge base that is changed while something of it runs: no text is lost, and none stays that should not."""

import datetime
from dataclasses import replace
from typing import Any

import pytest
from gameai_contract.knowledge import SourceReport, source_names_text
from gameai_operator.api.views import config_map_unread, config_map_view
from gameai_operator.controller.kind import SlotUse
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.references import UNREAD
from gameai_operator.resources.stateful_set import StatefulSet
from gameai_operator.settings import PodSettings, Policy, Settings
from support.knowledge_decisions import (
    CHRONICLE,
    DATABASE,
    DEPLOYMENT,
    EXTERNAL,
    HISTORIES,
    Life,
)
from support.tier_decisions import a_pod
from support.world_decisions import said
from support.worlds import HISTORIES as HISTORIES_KEY

TWO = SourceReport(documents=2, chunks=40, quarantined=1)
MANAGED: dict[str, object] = {"managed": {}}
CHANGED = config_map_view({"data": {"founding.md": "# The founding\n\nIn the year two."}})
NEW = "gameai-knowledge:9"


def changing() -> tuple[Life, str]:
    """A second ingestion of a source runs: the memory may hold a part of its new text."""
    life = Life(HISTORIES).served(TWO)
    life.references[HISTORIES_KEY] = CHANGED
    life.settle()
    [running] = life.due("ingest")
    life.pods.append(a_pod(group=running, name="its-pod", running=True))
    return life, running


def test_a_text_that_changes_back_while_the_new_one_is_ingested_is_ingested_again() -> None:
    life, running = changing()
    life.references = dict(Life().references)
    life.settle()
    assert "waits for the end of its-pod" in life.source("histories")["message"]
    assert life.due("ingest") == []
    life.pods.pop()
    life.settle()
    [again] = life.due("ingest")
    assert again != running
    assert said(life.step(), "Reconciling").status


def test_a_job_that_ended_unseen_is_not_taken_for_another_text() -> None:
    life, running = changing()
    life.end(running)
    life.pods.pop()
    life.references = dict(Life().references)
    life.settle()
    assert life.due("ingest") != []


def test_a_source_that_is_given_back_while_it_is_removed_is_ingested_again() -> None:
    life = Life(HISTORIES).served(TWO)
    life.root["spec"]["sources"] = []
    life.settle()
    assert len(life.due("remove")) == 1
    life.root["spec"]["sources"] = [HISTORIES]
    life.settle()
    assert len(life.due("ingest")) == 1
    assert life.jobs("remove") == []


def test_a_source_that_is_given_back_after_it_was_removed_is_ingested_again() -> None:
    """Whatever is left of its first Job."""
    life = Life(HISTORIES).served(TWO)
    first = {key: child for key, child in life.children.items() if "ingest" in key.name}
    life.root["spec"]["sources"] = []
    life.settle()
    life.finish("remove")
    life.settle()
    life.children.update(first)
    life.root["spec"]["sources"] = [HISTORIES]
    life.settle()
    assert len(life.due("ingest")) == 1


@pytest.mark.parametrize("view", [UNREAD, config_map_unread("no route"), None])
def test_an_ingestion_goes_on_while_nobody_can_say_whether_it_is_needed(view: object) -> None:
    """A restarted operator has read no ConfigMap yet; one may be away for a moment."""
    life, running = changing()
    life.references[HISTORIES_KEY] = view
    decision = life.settle()
    assert life.due("ingest") == [running]
    assert said(decision, "Stalled").status is (view is None)
    life.references[HISTORIES_KEY] = CHANGED
    life.settle()
    assert life.due("ingest") == [running]
    life.pods.pop()
    life.finish("ingest", TWO)
    life.settle()
    assert life.source("histories")["state"] == "Ingested"


def test_a_pod_that_has_not_reported_yet_is_waited_for() -> None:
    """Two watches tell of a Job and of its pod, in any order."""
    life, running = changing()
    life.end(running)
    life.settle()
    assert life.source("histories")["state"] == "Ingesting"
    life.pods[-1] = replace(life.pods[-1], dead="Succeeded", said=TWO.text())
    life.settle()
    assert life.source("histories")["state"] == "Ingested"


def test_sources_wait_alone_for_their_own_former_jobs() -> None:
    life, _ = changing()
    life.references[HISTORIES_KEY] = config_map_view({"data": {"x.md": "third"}})
    life.root["spec"]["sources"] = [HISTORIES, CHRONICLE]
    life.settle()
    assert life.source("chronicle")["state"] == "Ingesting"
    assert life.source("histories")["state"] == "Waiting"


def test_a_source_that_never_began_is_forgotten_and_status_stays_bounded() -> None:
    life = Life()
    for turn in range(4):
        life.root["spec"]["sources"] = [
            {**HISTORIES, "name": f"source-{turn}-{number}"} for number in range(32)
        ]
        life.settle()
        assert len(life.root["status"]["sources"]) == 32
    life.finish("migrate")
    for turn in range(20):
        life.root["spec"]["sources"] = [
            {**HISTORIES, "name": f"more-{turn}-{number}"} for number in range(32)
        ]
        life.settle()
    assert len(life.root["status"]["sources"]) < 128


def test_another_database_is_filled_before_it_is_asked() -> None:
    life = Life(HISTORIES).served(TWO)
    before = life.children[DEPLOYMENT].facts.remembered
    external: dict[str, Any] = {"external": {**EXTERNAL["external"], "host": "10.9.9.9"}}
    life.root["spec"]["database"] = external
    life.settle()
    life.finish("migrate")
    decision = life.settle()
    assert DEPLOYMENT in decision.keep
    assert said(decision).status
    assert "answers from the former database" in said(decision, "Reconciling").message
    life.finish("ingest", TWO)
    decision = life.settle()
    assert life.children[DEPLOYMENT].facts.remembered != before
    assert said(decision).reason == "MemoryReady"


def test_chart_settings_that_come_with_an_image_stay_through_its_roll_out() -> None:
    life = Life(database=MANAGED)
    life.settle()
    life.change(DATABASE, StatefulSet(ready=1, rolling=False, remembered={}))
    life.served()
    pods = PodSettings(pull_secrets=("mirror",))
    life.settings = Settings(knowledge_image=NEW, pods=pods)
    for _ in range(3):
        decision = life.step()
        made = [each for each in decision.wanted if each["kind"] in ("Job", "StatefulSet")]
        secrets = [e["spec"]["template"]["spec"].get("imagePullSecrets") for e in made]
        assert secrets == [[{"name": "mirror"}]] * 2
    life.finish("migrate")
    for _ in range(3):
        decision = life.step()
        [memory] = [each for each in decision.wanted if each["kind"] == "Deployment"]
        assert memory["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "mirror"}]


def test_a_migration_that_does_not_end_gives_its_turn_back() -> None:
    life = Life().served()
    life.settings = Settings(knowledge_image=NEW)
    life.seen = {"holds_slot": True}
    assert life.settle().turn is SlotUse.HOLDS
    [job] = life.due("migrate")
    life.pods.append(a_pod(group=job, crash="exit code 1 after 9 restarts: no route"))
    decision = life.settle()
    assert (said(decision, "Reconciling").reason, said(decision).status) == (
        "MigrationFailing",
        True,
    )
    life.now += datetime.timedelta(seconds=600)
    assert life.step().turn is SlotUse.FAILED


def test_a_secret_that_is_deleted_comes_back_before_the_database_starts_again() -> None:
    life = Life(database=MANAGED)
    assert life.step().creations != ()
    assert life.step().creations == (), "it is not tried in vain"
    waiting = ("CreateContainerConfigError", 'secret "lore-db" not found')
    life.pods.append(a_pod(group="database", waiting=waiting))
    assert life.step().creations != ()


@pytest.mark.parametrize(
    ("host", "allowed", "place"),
    [
        ("10.1.2.3", False, "ipBlock"),
        ("db.example.com", False, "ipBlock"),
        ("lore-rw.databases.svc", True, "databases"),
        ("lore-rw.databases.svc.cluster.local", True, "databases"),
        ("lore-rw", True, "eldermoor"),
    ],
)
def test_a_database_outside_of_the_cluster_opens_the_network(
    host: str, allowed: bool, place: str
) -> None:
    life = Life(database={"external": {**EXTERNAL["external"], "host": host}})
    decision = life.step()
    [policy] = [each for each in decision.wanted if each["kind"] == "NetworkPolicy"]
    assert place in str(policy["spec"]["egress"][0])
    closed = Life(database=life.root["spec"]["database"])
    closed.settings = Settings(policy=Policy(open_networks=False))
    assert (said(closed.step(), "Stalled").reason == "NetworkNotAllowed") is not allowed


def test_a_ready_memory_without_pods_says_so() -> None:
    life = Life(service={"replicas": 0})
    life.settle()
    life.finish("migrate")
    assert said(life.settle()).reason == "ScaledToZero"


def test_an_edit_is_in_progress_until_it_is_ingested() -> None:
    life, _ = changing()
    life.root["spec"]["sources"] = [{**HISTORIES, "trust": 95}]
    decision = life.settle()
    assert said(decision, "SourcesIngested").reason == "Waiting"
    assert said(decision, "Reconciling").status


def test_a_source_is_named_in_what_is_said_of_it() -> None:
    life = Life({**HISTORIES, "name": "a"})
    life.settle()
    life.finish("migrate")
    life.settle()
    life.finish("ingest", SourceReport(failed_documents=1, failed=["x.md: bad"]))
    found = said(life.settle(), "SourcesIngested")
    assert found.message == "source a: 1 document was not ingested: x.md: bad"
    assert Key("Job", "eldermoor", life.source("a")["job"]) in life.children


def test_sources_that_the_database_holds_and_nobody_knows_are_removed() -> None:
    """Status was lost, or another knowledge base of this name had filled the volume."""
    life = Life(HISTORIES)
    life.settle()
    name = life.finish("migrate")
    said_by = source_names_text([("histories", ""), ("songs", ""), ("chronicle", "games/moor")])
    life.pods.append(a_pod(group=name, dead="Succeeded", said=said_by))
    life.settle()
    states = {each["name"]: each["state"] for each in life.root["status"]["sources"]}
    assert states == {"histories": "Ingesting", "songs": "Removing", "chronicle": "Removing"}
    assert len(life.due("remove")) == 2


def test_jobs_that_fail_keep_no_other_source_from_its_turn() -> None:
    life = Life(*({**HISTORIES, "name": f"source-{number}"} for number in range(6)))
    life.settle()
    life.finish("migrate")
    life.settle()
    assert len(life.due("ingest")) == 4
    for each in life.due("ingest"):
        life.pods.append(a_pod(group=each, crash="exit code 137 after 3 restarts: OOMKilled"))
    life.settle()
    assert len(life.due("ingest")) == 6
