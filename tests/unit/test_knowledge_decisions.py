"""What becomes of a knowledge base: database, schema, sources, service, in this order."""

from dataclasses import replace

from gameai_contract.knowledge import SourceReport
from gameai_operator.api.views import config_map_view
from gameai_operator.controller.kind import SlotUse
from gameai_operator.resources.stateful_set import StatefulSet
from gameai_operator.settings import PodSettings, Settings
from support.knowledge_decisions import (
    CHRONICLE,
    DATABASE,
    DEPLOYMENT,
    HISTORIES,
    Life,
)
from support.tier_decisions import a_pod
from support.world_decisions import said
from support.worlds import HISTORIES as HISTORIES_KEY

TWO = SourceReport(documents=2, chunks=40, quarantined=1)
THREE = SourceReport(documents=3, chunks=50)
MANAGED: dict[str, object] = {"managed": {}}
CHANGED = config_map_view({"data": {"founding.md": "# The founding\n\nIn the year two."}})


def test_nothing_needs_the_schema_before_it_is_there() -> None:
    life = Life(HISTORIES, CHRONICLE)
    decision = life.settle()
    assert len(life.jobs("migrate")) == 1
    assert life.jobs("ingest") == []
    assert DEPLOYMENT not in life.children
    assert (said(decision).reason, said(decision).status) == ("Migrating", False)
    assert said(decision, "Reconciling").status
    life.finish("migrate")
    life.step()
    assert DEPLOYMENT in life.children
    assert len(life.jobs("ingest")) == 2
    assert said(life.step(), "SchemaReady").reason == "Migrated"


def test_a_managed_database_gets_its_password_before_it_starts_and_never_again() -> None:
    life = Life(HISTORIES, database=MANAGED)
    [creation] = life.step().creations
    made = creation.render(lambda: "random")
    assert (made["metadata"]["name"], made["stringData"]) == ("lore-db", {"password": "random"})
    assert "ownerReferences" not in made["metadata"], "it stays as the data does"
    decision = life.step()
    assert said(decision, "SchemaReady").message == "waits for the database"
    assert life.jobs("migrate") == []
    life.change(DATABASE, StatefulSet(ready=1, rolling=False, remembered={}))
    decision = life.step()
    assert len(life.jobs("migrate")) == 1
    assert said(decision, "DatabaseReady").status
    assert decision.creations == (), "a Secret that is there stays as it is"


def test_common_labels_stand_on_the_secret_too() -> None:
    life = Life(database=MANAGED)
    life.settings = Settings(pods=PodSettings(labels={"team": "lore"}))
    [creation] = life.step().creations
    assert creation.render(str)["metadata"]["labels"]["team"] == "lore"


def test_a_database_that_is_away_for_a_moment_stops_no_job() -> None:
    life = Life(database=MANAGED)
    life.settle()
    life.change(DATABASE, StatefulSet(ready=1, rolling=False, remembered={}))
    life.settle()
    life.change(DATABASE, StatefulSet(ready=0, rolling=True, remembered={}))
    decision = life.settle()
    assert len(life.jobs("migrate")) == 1
    assert said(decision).reason == "DatabaseStarting"


def test_a_served_knowledge_base_is_ready_with_counts() -> None:
    life = Life(HISTORIES, CHRONICLE).served(TWO, THREE)
    decision = life.settle()
    assert (said(decision).status, said(decision).reason) == (True, "MemoryReady")
    assert said(decision, "SourcesIngested").status
    assert not said(decision, "Reconciling").status
    status = life.root["status"]
    assert (status["documents"], status["chunks"], status["quarantined"]) == (5, 90, 1)
    assert {each["state"] for each in status["sources"]} == {"Ingested"}
    assert decision.keep, "the last Jobs stay for their logs"


def test_a_job_that_was_deleted_is_not_run_again() -> None:
    life = Life(HISTORIES).served(TWO)
    for key in [each for each in life.children if each.kind == "Job"]:
        del life.children[key]
    life.pods.clear()
    life.settle()
    assert (life.jobs("ingest"), life.jobs("migrate")) == ([], [])
    assert life.source("histories")["chunks"] == 40


def test_a_changed_source_is_ingested_again_and_ready_stays() -> None:
    life = Life(HISTORIES).served(TWO)
    [former] = life.jobs("ingest")
    life.references[HISTORIES_KEY] = CHANGED
    decision = life.settle()
    [job] = life.due("ingest")
    assert job != former
    assert said(decision).reason == "MemoryReady"
    assert said(decision, "SourcesIngested").reason == "Ingesting"
    assert said(decision, "Reconciling").message.endswith(": histories")
    life.finish("ingest", THREE)
    life.settle()
    assert life.source("histories")["chunks"] == 50


def test_a_source_that_changes_back_is_ingested_once_more() -> None:
    """The Job of the first content may still be there; its work was undone since."""
    life = Life(HISTORIES).served(TWO)
    before, [first] = life.references[HISTORIES_KEY], life.jobs("ingest")
    life.references[HISTORIES_KEY] = CHANGED
    life.settle()
    life.finish("ingest", THREE)
    life.settle()
    life.references[HISTORIES_KEY] = before
    life.settle()
    [again] = life.due("ingest")
    assert again != first


def test_no_ingestion_starts_while_a_superseded_one_has_not_ended() -> None:
    """Its pod still has the former documents, and would write them after the new ones."""
    life = Life(HISTORIES).served(TWO)
    life.references[HISTORIES_KEY] = CHANGED
    life.settle()
    [superseded] = life.due("ingest")
    life.pods.append(a_pod(group=superseded, terminating=True))
    life.references[HISTORIES_KEY] = config_map_view({"data": {"x.md": "new"}})
    life.settle()
    assert life.due("ingest") == []
    assert life.source("histories")["state"] == "Waiting"
    life.pods.pop()
    life.settle()
    [job] = life.due("ingest")
    assert job != superseded


def test_documents_of_a_removed_source_are_removed() -> None:
    life = Life(HISTORIES, CHRONICLE).served(TWO, THREE)
    life.root["spec"]["sources"] = [HISTORIES]
    decision = life.settle()
    assert life.source("chronicle")["state"] == "Removing"
    [job] = life.jobs("remove")
    pod = next(each for each in decision.wanted if each["metadata"]["name"] == job)
    command = pod["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[-2:] == ["remove", "--source=chronicle,world=games/moor"]
    assert said(decision).status
    life.finish("remove")
    life.settle()
    assert [each["name"] for each in life.root["status"]["sources"]] == ["histories"]
    assert life.jobs("remove") == []


def test_a_source_that_moves_to_another_world_leaves_the_first() -> None:
    life = Life(CHRONICLE).served(THREE)
    life.root["spec"]["sources"] = [{**CHRONICLE, "world": "games/fen"}]
    life.settle()
    assert (len(life.jobs("ingest")), len(life.jobs("remove"))) == (2, 1), "one kept, one due"


def test_only_a_few_jobs_run_at_a_time() -> None:
    sources = [{**HISTORIES, "name": f"histories-{number}"} for number in range(9)]
    life = Life(*sources)
    life.settle()
    life.finish("migrate")
    life.settle()
    started = life.jobs("ingest")
    assert len(started) == 4
    states = [each["state"] for each in life.root["status"]["sources"]]
    assert (states.count("Ingesting"), states.count("Waiting")) == (4, 5)
    life.root["spec"]["sources"] = list(reversed(sources))
    life.settle()
    assert life.jobs("ingest") == started, "those that run go on, whatever the order"


def test_a_new_image_is_migrated_before_it_is_served() -> None:
    life = Life(HISTORIES).served(TWO)
    life.settings = Settings(knowledge_image="gameai-knowledge:9")
    decision = life.step()
    assert DEPLOYMENT in decision.keep
    assert decision.turn is SlotUse.HOLDS
    assert said(decision).status, "the memory of the former image answers"
    assert said(decision, "SchemaReady").reason == "Migrating"
    life.settle()
    life.finish("migrate")
    decision = life.step()
    [made] = [each for each in decision.wanted if each["kind"] == "Deployment"]
    image = made["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == "gameai-knowledge:9"
    assert len(life.jobs("ingest")) == 2, "the last one, and one that finds nothing to embed"


def test_a_new_image_waits_for_its_turn_and_a_failed_one_gives_it_back() -> None:
    life = Life().served()
    life.settings = Settings(knowledge_image="gameai-knowledge:9")
    life.seen = {"turn": False, "halted": "3 of the first 3 did not become ready"}
    decision = life.step()
    assert decision.turn is SlotUse.WAITS
    assert said(decision, "Reconciling").reason == "RolloutHalted"
    life.seen = {}
    life.step()
    life.finish("migrate")
    life.settle()
    life.seen = {"holds_slot": True}
    life.change(DEPLOYMENT, replace(life.facts(*DEPLOYMENT[::2]), rolling=True))
    assert life.step().turn is SlotUse.HOLDS
    life.change(DEPLOYMENT, replace(life.facts(*DEPLOYMENT[::2]), rolling=True, exceeded=True))
    assert life.step().turn is SlotUse.FAILED
