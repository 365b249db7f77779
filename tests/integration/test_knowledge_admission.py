"""What the API server refuses of a KnowledgeBase, and the sentence it says."""

from typing import Any

import pytest
from gameai_devcluster.api import Api, ApiError, Json, path
from gameai_operator.api import crd
from support.admission import attempt, changed, sentences
from support.live import knowledge_base

EXTERNAL = knowledge_base("default")["spec"]["database"]["external"]
SOURCE = {"name": "songs", "configMap": {"name": "songs"}}
MANAGED = {"managed": {"storage": "20Gi", "storageClassName": "gp3"}}
S3 = {"bucket": "studio", "region": "eu-central-1"}
BACKUP = {"schedule": "0 3 * * *", "repository": {"s3": S3}}
FROM = {"repository": {"s3": S3}}
OPENAI = {"url": "https://api.openai.com/v1", "model": "text-embedding-3-small", "dimensions": 512}
KEYED = OPENAI | {"secretRef": {"name": "embedding-service"}}
# rule's sentence → (field, a value that is refused, a value that is accepted)
RULES: dict[str, tuple[str, Any, Any]] = {
    crd.NAME_RULE.message: ("metadata.name", "a" * 31, "a" * 30),
    "exactly one of managed, external must be set": (
        "spec.database",
        {"managed": {}, "external": EXTERNAL},
        {"managed": {}},
    ),
    "image must be an image reference": (
        "spec.database",
        {"managed": {"image": "https://registry.example/postgres"}},
        {"managed": {"image": "registry.example/postgres:18"}},
    ),
    "memory must be at least 256Mi": (
        "spec.database",
        {"managed": {"memory": "100Mi"}},
        {"managed": {"memory": 300000000}},
    ),
    "service.replicas times service.connections must be at most 80": (
        "spec",
        {"database": {"managed": {}}, "service": {"replicas": 9, "connections": 9}},
        {"database": {"managed": {}}, "service": {"replicas": 8, "connections": 10}},
    ),
    "caConfigMap is required with mode: VerifyFull": (
        "spec.database.external.tls",
        {"mode": "VerifyFull"},
        {"mode": "VerifyFull", "caConfigMap": {"name": "ca"}},
    ),
    "exactly one of persistentVolumeClaim, s3 must be set": (
        "spec.backup",
        {"schedule": "0 3 * * *", "repository": {}},
        {"schedule": "0 3 * * *", "repository": {"persistentVolumeClaim": {"claimName": "a"}}},
    ),
    "with secretRef the url must begin with https://": (
        "spec.embedding",
        {"openAI": KEYED | {"url": "http://openai.com/v1"}},
        {"openAI": KEYED | {"url": "http://tei.models.svc.cluster.local:8080/v1"}},
    ),
    "trust must be at least 80 for lore of all worlds": (
        "spec.sources",
        [SOURCE | {"trust": 79}],
        [SOURCE | {"trust": 79, "world": "games/moor"}],
    ),
}
# Rules over an edit: sentence → (field, before, refused, accepted).
EDITS: dict[str, tuple[str, Json | None, Json | None, Json | None]] = {
    "storage is immutable": (
        "spec.database",
        MANAGED,
        {"managed": {"storage": "30Gi", "storageClassName": "gp3"}},
        {"managed": {"storage": "20Gi", "storageClassName": "gp3", "memory": "2Gi"}},
    ),
    "storageClassName is immutable": (
        "spec.database",
        MANAGED,
        {"managed": {"storage": "20Gi"}},
        MANAGED,
    ),
    "model cannot change: vectors of two models": (
        "spec.embedding",
        {"openAI": OPENAI},
        {"openAI": OPENAI | {"model": "other"}},
        {"openAI": OPENAI | {"url": "http://other.models.svc/v1"}},
    ),
    "dimensions cannot change: vectors of two models": (
        "spec.embedding",
        {"openAI": OPENAI},
        {"openAI": OPENAI | {"dimensions": 256}},
        {"openAI": OPENAI | {"requestDimensions": True}},
    ),
    "embedding cannot be added or removed": (
        "spec.embedding",
        {"openAI": OPENAI},
        None,
        {"openAI": OPENAI},
    ),
    "database cannot change between managed and external": (
        "spec.database",
        MANAGED,
        {"external": EXTERNAL},
        MANAGED,
    ),
}
FORMS: list[tuple[str, Any, str]] = [
    ("spec.database", None, "spec.database: Required value"),
    ("spec.database.external.host", "a b", "spec.database.external.host in body should match"),
    ("spec.database.external.database", "a/b?x=y", "should match"),
    ("spec.database.external.tls", None, "spec.database.external.tls: Required value"),
    ("spec.sources", [{"name": "a"}], "spec.sources[0].configMap: Required value"),
    ("spec.sources", [SOURCE, SOURCE], "Duplicate value"),
    ("spec.sources", [SOURCE | {"world": "moor"}], "should match"),
    ("spec.sources", [SOURCE | {"trust": 101}], "should be less than or equal to 100"),
    ("spec.backup", {"schedule": "0 3 * * *"}, "spec.backup.repository: Required value"),
    ("spec.backup", BACKUP | {"keep": 0}, "should be greater than or equal to 1"),
    (
        "spec.restoreFrom",
        FROM | {"archive": "../../x"},
        "spec.restoreFrom.archive in body should match",
    ),
    (
        "spec.restoreFrom",
        FROM | {"knowledgeBase": "../x"},
        "spec.restoreFrom.knowledgeBase in body",
    ),
    (
        "spec.restoreFrom.repository",
        {"s3": S3 | {"prefix": "a/../b"}},
        "prefix in body should match",
    ),
    ("spec.restoreFrom.repository", {"s3": S3 | {"endpoint": "minio:9000"}}, "endpoint in body"),
    ("spec.embedding", {}, "spec.embedding.openAI: Required value"),
    ("spec.embedding", {"openAI": OPENAI | {"dimensions": 2001}}, "less than or equal to 2000"),
    ("spec.embedding", {"openAI": OPENAI | {"url": "https://u:p@x/v1"}}, "url in body should"),
    ("spec.embedding", {"openAI": OPENAI | {"model": "a b"}}, "model in body should match"),
    ("spec.service.replicas", 51, "should be less than or equal to 50"),
    ("spec.search", {}, 'unknown field "spec.search"'),
]


@pytest.mark.parametrize("sentence", RULES, ids=lambda text: text[:40])
def test_a_rule_refuses_with_its_sentence_and_accepts_what_it_asks_for(
    sentence: str, api: Api
) -> None:
    where, refused, accepted = RULES[sentence]
    assert sentence in attempt(api, changed(knowledge_base("default"), where, refused))
    assert attempt(api, changed(knowledge_base("default"), where, accepted)) == ""


@pytest.mark.parametrize("sentence", EDITS, ids=lambda text: text[:40])
def test_an_edit_is_refused_with_its_sentence(sentence: str, api: Api, namespace: str) -> None:
    field, before, refused, accepted = EDITS[sentence]
    made = api.create(changed(knowledge_base(namespace), field, before))

    def said(value: Json | None) -> str:
        body = changed(made, field, value)
        where = path("KnowledgeBase", namespace, "lore")
        try:
            api.request("PUT", where, body=body, query={"dryRun": "All"})
        except ApiError as error:
            return error.message
        return ""

    assert sentence in said(refused)
    assert said(accepted) == ""


@pytest.mark.parametrize(("where", "value", "words"), FORMS, ids=str)
def test_a_malformed_field_is_refused_by_name(where: str, value: Any, words: str, api: Api) -> None:
    assert words in attempt(api, changed(knowledge_base("default"), where, value))


def test_every_rule_of_the_schema_has_its_cases() -> None:
    document = crd.document(crd.KNOWLEDGE_BASE)
    schema = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    said = set(sentences(schema))
    covered = {*RULES, *EDITS}
    assert {each for each in said if not any(each.startswith(c) for c in covered)} == set()
    assert len(said) == len(covered)


def test_the_least_knowledge_base_is_accepted_and_gets_its_defaults(api: Api) -> None:
    document = knowledge_base("default")
    document["spec"] = {"database": {"managed": {}}}
    where = path("KnowledgeBase", "default")
    made = api.request("POST", where, body=document, query={"dryRun": "All"})
    assert made["spec"]["database"]["managed"]["image"] == "pgvector/pgvector:0.8.6-pg18"
    assert made["spec"]["service"]["replicas"] == 2
    assert made["status"] == {"observedGeneration": -1}
