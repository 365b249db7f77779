"""A world and the knowledge base that it names."""

import datetime
import json
from typing import Any

import pytest
from gameai_contract.names import CONFIG_KEY
from gameai_contract.world_config import parse
from gameai_devcluster.testing.rendering import NOW, decided
from gameai_operator.api.views import knowledge_view
from gameai_operator.controller.kind import Decision
from gameai_operator.controller.manifest import Key
from gameai_operator.kinds import kinds
from gameai_operator.settings import Settings
from gameai_operator.world.knowledge import sight
from gameai_operator.world.status import GRACE_SECONDS
from support import worlds
from support.world_decisions import said, see, status_conditions

OWN = {"name": "lore"}
OWN_KEY = Key("KnowledgeBase", "eldermoor", "lore")
FOREIGN = {"name": "lore", "namespace": "shared"}
US = "eldermoor/moor-world"
IMAGE = Settings().workloads_image


def knowledge(ref: dict[str, str], views: dict[Key, Any], **options: Any) -> Decision:
    return see(references=views, knowledgeBaseRef=ref, **options)


@pytest.mark.parametrize(
    ("ref", "seen", "reason", "words"),
    [
        (OWN, {OWN_KEY: worlds.memory()}, "MemoryReady", ""),
        (FOREIGN, {worlds.LORE: worlds.memory((US, "eldermoor/moor"))}, "MemoryReady", ""),
        (
            OWN,
            {},
            "KnowledgeBaseMissing",
            "knowledge base eldermoor/lore does not exist: create it",
        ),
        (FOREIGN, {}, "RefNotPermitted", "does not exist or does not name this world"),
        (
            FOREIGN,
            {worlds.LORE: worlds.memory(("eldermoor/other-world", "eldermoor/other"))},
            "RefNotPermitted",
            "{namespace: eldermoor, serviceAccount: moor-world, worlds: [eldermoor/moor]} to spec.callers",
        ),
        (
            FOREIGN,
            {worlds.LORE: worlds.memory((US, "eldermoor/typo"))},
            "RefNotPermitted",
            "worlds: [eldermoor/moor]} to spec.callers",
        ),
        (
            OWN,
            {OWN_KEY: worlds.memory(answers=False, reason="DatabaseStarting")},
            "KnowledgeNotReady",
            "the memory of knowledge base eldermoor/lore does not answer (DatabaseStarting)",
        ),
    ],
)
def test_a_world_says_whether_it_can_use_its_memory(
    ref: dict[str, str], seen: dict[Key, Any], reason: str, words: str
) -> None:
    found = said(knowledge(ref, seen), "KnowledgeReady")
    assert (found.status, found.reason) == (reason == "MemoryReady", reason)
    assert words in found.message


def test_a_world_without_a_knowledge_base_is_ready() -> None:
    assert said(see(), "KnowledgeReady").reason == "NoKnowledgeBase"
    assert "memory" not in json.loads(worlds.configuration())


def test_a_misspelt_knowledge_base_is_reported_with_the_nearest_name() -> None:
    decision = knowledge(
        {"name": "lor"},
        {},
        seen={"neighbours": lambda: (OWN_KEY, Key("ModelTier", "eldermoor", "lor"))},
    )
    assert "did you mean lore?" in said(decision, "KnowledgeReady").message


def test_services_find_the_memory_in_their_configuration() -> None:
    decision = knowledge(FOREIGN, {worlds.LORE: worlds.memory((US, "eldermoor/moor"))})
    [config] = [each for each in decision.wanted or () if each["kind"] == "ConfigMap"]
    assert parse(config["data"][CONFIG_KEY]).memory == "lore-memory.shared.svc:50051"
    [policy] = [each for each in decision.wanted or () if each["kind"] == "NetworkPolicy"]
    assert "gameai-memory" in json.dumps(policy["spec"]["egress"])


def test_a_memory_that_may_not_be_used_has_no_address() -> None:
    decision = knowledge(
        FOREIGN, {worlds.LORE: worlds.memory(("eldermoor/other-world", "eldermoor/other"))}
    )
    [config] = [each for each in decision.wanted or () if each["kind"] == "ConfigMap"]
    assert parse(config["data"][CONFIG_KEY]).memory == ""


def test_a_memory_that_is_lost_leaves_a_world_ready_for_two_minutes() -> None:
    good = knowledge(OWN, {OWN_KEY: worlds.memory()})
    gone = {OWN_KEY: worlds.memory(answers=False, reason="ServiceStarting")}
    status = {
        "observedGeneration": 1,
        "templateRevision": 4,
        "workloadsImage": IMAGE,
        "conditions": status_conditions(good.conditions),
    }
    lost = knowledge(OWN, gone, status=status)
    assert (said(lost).status, said(lost).reason) == (True, "Degraded")
    assert said(lost, "Degraded").reason == "MemoryLost"
    assert lost.requeue_after_seconds == GRACE_SECONDS
    status["conditions"] = status_conditions(lost.conditions)
    later = {"now": NOW + datetime.timedelta(seconds=GRACE_SECONDS)}
    over = knowledge(OWN, gone, status=status, seen=later)
    assert (said(over).status, said(over).reason) == (False, "KnowledgeNotReady")


def test_a_memory_that_never_answered_is_no_lost_one() -> None:
    good = see()
    status = {
        "observedGeneration": 0,
        "templateRevision": 4,
        "workloadsImage": IMAGE,
        "conditions": status_conditions(good.conditions),
    }
    decision = knowledge(OWN, {}, status=status)
    assert (said(decision).status, said(decision).reason) == (False, "KnowledgeBaseMissing")


@pytest.mark.parametrize(
    ("revision", "fault"), [(3, "TemplateRevisionTooOld"), (4, ""), (None, "")]
)
def test_pods_of_an_old_template_have_no_token_for_a_memory(
    revision: int | None, fault: str
) -> None:
    world = worlds.world(knowledgeBaseRef=OWN)
    found = sight(world, {OWN_KEY: worlds.memory()}, revision)
    assert found is not None
    assert found.fault == fault
    assert not fault or "set spec.templateRevision to 4, which restarts them" in found.message


def test_a_knowledge_base_added_to_a_world_restarts_no_pod() -> None:
    def template(**spec: Any) -> Any:
        decision = decided(worlds.resource(**spec), references={OWN_KEY: worlds.memory()})
        [made] = [each for each in decision.wanted or () if each["kind"] == "Deployment"]
        return made["spec"]["template"]

    assert template() == template(knowledgeBaseRef=OWN)


def test_a_world_is_reconciled_for_its_knowledge_base() -> None:
    root = worlds.resource(knowledgeBaseRef=FOREIGN)
    assert kinds(Settings())["GameWorld"].refers(root) == (worlds.LORE,)


def base(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "lore", "namespace": "shared"},
        "spec": {
            "callers": [
                {
                    "namespace": "eldermoor",
                    "serviceAccount": "moor-world",
                    "worlds": ["eldermoor/moor"],
                }
            ]
        },
        "status": status,
    }


@pytest.mark.parametrize(
    ("conditions", "answers", "reason"),
    [
        ([("ServiceReady", "True", "ServiceReady"), ("Ready", "False", "Ingesting")], True, ""),
        ([("ServiceReady", "True", "ScaledToZero"), ("Ready", "True", "ScaledToZero")], False, "ScaledToZero"),
        ([("ServiceReady", "False", "X"), ("Ready", "False", "DatabaseStarting")], False, "DatabaseStarting"),
        ([], False, "Unseen"),
    ],
)  # fmt: skip
def test_a_knowledge_base_shows_whether_its_memory_answers(
    conditions: list[tuple[str, str, str]], answers: bool, reason: str
) -> None:
    entries = [{"type": kind, "status": word, "reason": why} for kind, word, why in conditions]
    found = knowledge_view(base(conditions=entries, endpoint="e"))
    assert found is not None
    assert (found.answers, found.reason, found.endpoint) == (answers, reason, "e")
    assert found.readers == {(US, "eldermoor/moor")}


def test_a_knowledge_base_that_is_being_deleted_shows_nothing() -> None:
    root = base()
    root["metadata"]["deletionTimestamp"] = "2026-11-22T09:00:00Z"
    assert knowledge_view(root) is None
