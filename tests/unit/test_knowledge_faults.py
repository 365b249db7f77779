"""What a knowledge base says and keeps while something is wrong with it."""

import pytest
from gameai_contract.knowledge import SourceReport
from gameai_operator.api.views import config_map_refused, config_map_view
from gameai_operator.controller.kind import RejectedWrite
from gameai_operator.controller.manifest import Key
from gameai_operator.controller.references import UNREAD
from gameai_operator.knowledge.status import rolls
from gameai_operator.resources.job import Job
from gameai_operator.resources.stateful_set import StatefulSet
from gameai_operator.settings import NetworkSettings, PodSettings, Policy, Settings
from support.knowledge_decisions import (
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


def test_a_missing_config_map_stalls_and_keeps_what_was_ingested() -> None:
    life = Life(HISTORIES).served(TWO)
    del life.references[HISTORIES_KEY]
    decision = life.settle()
    assert (said(decision).status, said(decision).reason) == (True, "Degraded")
    assert said(decision, "Stalled").reason == "SourceMissing"
    assert (
        "label configmap lore-histories app.kubernetes.io/part-of=gameai"
        in said(decision, "Stalled").message
    )
    assert life.source("histories")["chunks"] == 40
    assert life.jobs("remove") == []
    fresh = Life(HISTORIES)
    del fresh.references[HISTORIES_KEY]
    fresh.served()
    assert (said(fresh.settle()).status, said(fresh.settle()).reason) == (False, "SourceMissing")


def test_a_config_map_that_comes_back_is_looked_at_once_more() -> None:
    """What its last ingestion had to say was replaced by what was wrong with it; unchanged texts embed nothing."""
    life = Life(HISTORIES).served(TWO)
    life.references[HISTORIES_KEY] = config_map_refused("too large")
    assert "too large" in said(life.settle(), "Stalled").message
    life.references = dict(Life().references)
    life.settle()
    life.finish("ingest", TWO)
    life.settle()
    assert life.source("histories")["state"] == "Ingested"


def test_nothing_is_said_of_a_source_before_its_config_map_was_read() -> None:
    life = Life(HISTORIES).served(TWO)
    before = dict(life.source("histories"))
    life.references[HISTORIES_KEY] = UNREAD
    life.settle()
    assert life.source("histories") == before


@pytest.mark.parametrize(
    ("report", "message", "chunks"),
    [
        (
            SourceReport(documents=1, chunks=9, failed_documents=2, failed=["a.md: not UTF-8"]),
            "2 documents were not ingested: a.md: not UTF-8",
            9,
        ),
        (SourceReport(error="/source has no documents"), "/source has no documents", 40),
    ],
)
def test_what_could_not_be_ingested_is_said_and_tried_again_when_it_changes(
    report: SourceReport, message: str, chunks: int
) -> None:
    life = Life(HISTORIES).served(TWO)
    life.references[HISTORIES_KEY] = CHANGED
    life.settle()
    life.finish("ingest", report)
    decision = life.settle()
    assert (said(decision).status, said(decision).reason) == (True, "Degraded")
    assert message in said(decision, "SourcesIngested").message
    assert life.source("histories")["chunks"] == chunks
    life.settle()
    assert life.due("ingest") == []
    life.references[HISTORIES_KEY] = config_map_view({"data": {"y.md": "corrected"}})
    life.settle()
    assert life.due("ingest") != []


def test_an_ingestion_whose_pod_is_gone_says_so() -> None:
    life = Life(HISTORIES)
    life.settle()
    life.finish("migrate")
    life.settle()
    life.finish("ingest")
    life.settle()
    life.finish("ingest")
    life.settle()
    assert "the pod was gone" in life.source("histories")["message"]


def test_the_annotation_runs_everything_again() -> None:
    life = Life(HISTORIES).served(TWO)
    migration = life.jobs("migrate")
    life.root["metadata"]["annotations"] = {"gameai.dev/run-again": "1"}
    life.settle()
    assert [each for each in life.jobs("migrate") if each not in migration] != []


@pytest.mark.parametrize(
    ("verb", "condition", "reason"),
    [
        ("migrate", "SchemaReady", "MigrationFailing"),
        ("ingest", "SourcesIngested", "IngestionFailing"),
        ("remove", "SourcesIngested", "RemovalFailing"),
    ],
)
def test_the_words_of_a_failing_job_are_reported(verb: str, condition: str, reason: str) -> None:
    life = Life(HISTORIES)
    if verb == "migrate":
        life.settle()
    if verb == "ingest":
        life.served()
    if verb == "remove":
        life.served(TWO)
        life.root["spec"]["sources"] = []
        life.settle()
    [job] = life.due(verb)
    words = "exit code 1 after 3 restarts: error: the database: connection refused"
    life.pods.append(a_pod(group=job, crash=words))
    found = said(life.settle(), condition)
    assert (found.reason, "connection refused" in found.message) == (reason, True)


def test_a_job_that_somebody_ended_says_how_it_runs_again() -> None:
    life = Life(HISTORIES)
    life.settle()
    [migration] = life.jobs("migrate")
    failed = Job(complete=False, failed="DeadlineExceeded: by a policy")
    life.change(Key("Job", "eldermoor", migration), failed)
    message = said(life.settle(), "SchemaReady").message
    assert message.endswith("by a policy; delete it to try again")
    del life.children[Key("Job", "eldermoor", migration)]
    life.settle()
    life.finish("migrate")
    life.settle()
    [job] = life.jobs("ingest")
    life.change(Key("Job", "eldermoor", job), failed)
    life.settle()
    assert life.source("histories")["message"].endswith("delete it to try again")


def test_a_missing_secret_of_a_database_stalls() -> None:
    life = Life()
    life.settle()
    [job] = life.jobs("migrate")
    waiting = ("CreateContainerConfigError", 'secret "lore-app" not found')
    life.pods.append(a_pod(group=job, waiting=waiting))
    decision = life.settle()
    assert said(decision, "Stalled").reason == "SecretMissing"
    assert "spec.database.external.secretRef" in said(decision, "Stalled").message
    assert said(decision).reason == "SecretMissing"


def test_faults_of_database_and_memory_are_named() -> None:
    life = Life(database=MANAGED)
    life.settle()
    life.pods = [a_pod(group="database", unschedulable="0/3 nodes: Insufficient memory.")]
    found = said(life.settle(), "DatabaseReady")
    assert (found.reason, "spec.database.managed.memory" in found.message) == (
        "InsufficientCapacity",
        True,
    )
    served = Life().served()
    served.serve(0)
    served.pods = [a_pod(group="memory", crash="exit code 1 after 2 restarts: no schema")]
    assert said(served.settle(), "ServiceReady").reason == "MemoryCrashing"


def test_a_memory_of_no_pods_is_as_it_should_be() -> None:
    life = Life(service={"replicas": 0})
    life.settle()
    life.finish("migrate")
    decision = life.settle()
    assert said(decision, "ServiceReady").reason == "ScaledToZero"
    assert decision.replicas == {DEPLOYMENT: 0}
    assert [each["kind"] for each in decision.wanted].count("PodDisruptionBudget") == 0


@pytest.mark.parametrize(
    ("spec", "policy", "reason"),
    [
        (
            {"database": {"managed": {"image": "other/postgres:18"}}},
            Policy(images=("pgvector/",)),
            "ImageNotAllowed",
        ),
        ({}, Policy(secrets=("shared",)), "SecretNotAllowed"),
        ({"templateRevision": 7}, Policy(), "TemplateRevisionUnknown"),
    ],
)
def test_a_mistake_leaves_what_runs_as_it_is(
    spec: dict[str, object], policy: Policy, reason: str
) -> None:
    database = {"database": MANAGED} if "database" in spec else {}
    life = Life(HISTORIES, **database)
    life.settle()
    if database:
        life.change(DATABASE, StatefulSet(ready=1, rolling=False, remembered={}))
        life.settle()
    life.served(TWO)
    children = set(life.children)
    life.root["spec"] |= spec
    life.settings = Settings(policy=policy)
    decision = life.step()
    assert decision.wanted == ()
    assert set(life.children) == children
    assert said(decision, "Stalled").reason == reason
    assert (said(decision).status, said(decision).reason) == (True, "Degraded")
    assert decision.replicas == {DEPLOYMENT: 2}
    assert life.source("histories")["chunks"] == 40


def test_a_new_knowledge_base_with_a_mistake_does_not_begin() -> None:
    life = Life(templateRevision=7)
    decision = life.settle()
    assert (said(decision).status, said(decision).reason) == (False, "TemplateRevisionUnknown")
    assert said(decision, "SchemaReady").reason == "Waiting"
    assert life.children == {}


def test_the_image_that_is_ours_needs_no_leave_and_comes_from_the_charts_registry() -> None:
    life = Life(database=MANAGED)
    pods = PodSettings(registry="registry.example/mirror")
    life.settings = Settings(policy=Policy(images=()), pods=pods)
    decision = life.step()
    [made] = [each for each in decision.wanted if each["kind"] == "StatefulSet"]
    image = made["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image.startswith("registry.example/mirror/pgvector/pgvector:")


def test_a_cluster_without_policies_gets_none() -> None:
    life = Life(database=MANAGED)
    life.settings = Settings(network=NetworkSettings(policies=False))
    assert "NetworkPolicy" not in {each["kind"] for each in life.step().wanted}


def test_without_the_keys_of_tokens_the_memory_says_what_is_missing_and_known_ones_stay() -> None:
    life = Life()
    life.settle()
    config = Key("ConfigMap", "eldermoor", "lore-memory")
    assert config in life.children
    life.tokens = None
    life.settle()
    assert config in life.children
    fresh = Life()
    fresh.tokens = None
    fresh.settle()
    fresh.finish("migrate")
    found = said(fresh.settle(), "ServiceReady")
    assert (found.reason, "issuer-discovery" in found.message) == ("TokenKeysUnread", True)
    assert config not in fresh.children


def test_a_write_that_was_refused_is_reported() -> None:
    life = Life().served()
    key = Key("Secret", "eldermoor", "lore-db")
    life.seen = {"rejections": (RejectedWrite(key=key, reason="Forbidden", message="no"),)}
    assert said(life.step(), "Stalled").reason == "Forbidden"


def test_a_knowledge_base_that_rolls_to_an_image_is_found_after_a_restart() -> None:
    life = Life().served()
    life.settings = Settings(knowledge_image="gameai-knowledge:9")
    life.settle()
    assert rolls(life.root, "gameai-knowledge:9")
    assert not rolls(life.root, "gameai-knowledge:10")
    assert not rolls({}, "gameai-knowledge:9")
