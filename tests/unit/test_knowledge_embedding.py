"""A knowledge base whose vectors come from a service: what its pods get, what is allowed, and which field a missing Secret belongs to."""

from typing import Any

import pytest
from gameai_contract.knowledge import SourceReport
from gameai_operator.settings import Policy, Settings
from support.knowledge_decisions import EXTERNAL, HISTORIES, Life
from support.tier_decisions import a_pod, said

OPENAI: dict[str, Any] = {
    "url": "https://api.openai.com/v1",
    "model": "text-embedding-3-small",
    "dimensions": 512,
    "secretRef": {"name": "embedding-service"},
}
MANAGED: dict[str, Any] = {"managed": {}}
BOTH = "spec.database.external.secretRef or spec.embedding.openAI.secretRef"


def embedding(**changes: Any) -> dict[str, Any]:
    return {"openAI": {**OPENAI, **changes}}


def environment(life: Life, name: str) -> dict[str, Any]:
    """The variables of the pods of a Job or of the memory."""
    wanted = [each for each in life.step().wanted if name in each["metadata"]["name"]]
    [found] = [each for each in wanted if each["kind"] in ("Job", "Deployment")]
    [container] = found["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def test_programs_that_compute_vectors_get_the_key_and_others_do_not() -> None:
    life = Life(HISTORIES, embedding=embedding(requestDimensions=True))
    plain = {
        "GAMEAI_EMBEDDING_URL": "https://api.openai.com/v1",
        "GAMEAI_EMBEDDING_MODEL": "text-embedding-3-small",
        "GAMEAI_EMBEDDING_DIMENSIONS": "512",
        "GAMEAI_EMBEDDING_REQUEST_DIMENSIONS": "true",
    }
    key = {"secretKeyRef": {"name": "embedding-service", "key": "apiKey"}}
    whole = {**plain, "GAMEAI_EMBEDDING_API_KEY": key}
    assert whole.items() <= environment(life, "lore-migrate-").items()
    life.settle()
    life.finish("migrate")
    life.step()
    for name in ("lore-ingest-", "lore-memory"):
        assert whole.items() <= environment(life, name).items()


def test_without_a_service_pods_know_of_none() -> None:
    assert not any("EMBEDDING" in each for each in environment(Life(), "lore-migrate-"))
    keyless = Life(embedding=embedding(secretRef=None))
    keyless.settle()
    keyless.finish("migrate")
    assert "GAMEAI_EMBEDDING_API_KEY" not in environment(keyless, "lore-memory")


@pytest.mark.parametrize(
    ("url", "port", "place", "allowed"),
    [
        ("https://api.openai.com/v1", 443, "ipBlock", False),
        ("http://10.1.2.3:8080", 8080, "ipBlock", False),
        ("http://tei.models.svc", 80, "models", True),
        ("http://tei", 80, "eldermoor", True),
        ("http://tei.models.svc.evil.example", 80, "ipBlock", False),
        ("http://134744072", 80, "ipBlock", False),
        ("http://tei.models.svc.cluster.local:8080/v1", 8080, "models", True),
    ],
)
def test_the_memory_reaches_its_service_and_no_tenant_one_outside_where_that_is_closed(
    url: str, port: int, place: str, allowed: bool
) -> None:
    life = Life(database=MANAGED, embedding=embedding(url=url))
    policies: dict[str, Any] = {
        each["metadata"]["name"]: each["spec"]
        for each in life.step().wanted
        if each["kind"] == "NetworkPolicy"
    }
    rule = policies["lore-memory"]["egress"][1]
    assert rule["ports"] == [{"protocol": "TCP", "port": port}]
    assert place in str(rule["to"])
    closed = Life(database=MANAGED, embedding=embedding(url=url))
    closed.settings = Settings(policy=Policy(open_networks=False))
    stalled = said(closed.step(), "Stalled")
    assert (stalled.reason == "NetworkNotAllowed") is not allowed
    assert ("spec.embedding.openAI.url" in stalled.message) is not allowed


def test_a_program_that_removes_gets_no_key() -> None:
    life = Life(HISTORIES, embedding=embedding())
    life.served(SourceReport(documents=1, chunks=2))
    life.root["spec"]["sources"] = []
    life.settle()
    removal = environment(life, "lore-remove-")
    assert "GAMEAI_EMBEDDING_URL" in removal
    assert "GAMEAI_EMBEDDING_API_KEY" not in removal


def test_a_key_may_only_come_from_a_secret_that_is_allowed() -> None:
    life = Life(database=MANAGED, embedding=embedding())
    life.settings = Settings(policy=Policy(secrets=("shared",)))
    stalled = said(life.step(), "Stalled")
    assert stalled.reason == "SecretNotAllowed"
    assert "spec.embedding.openAI.secretRef embedding-service" in stalled.message


@pytest.mark.parametrize(
    ("database", "given", "field"),
    [
        (MANAGED, embedding(), "change spec.embedding.openAI.secretRef"),
        (MANAGED, None, "change spec.database "),
        (EXTERNAL, embedding(), f"change {BOTH}"),
        (EXTERNAL, embedding(secretRef=None), "change spec.database.external.secretRef "),
    ],
)
def test_a_missing_secret_names_the_fields_that_may_be_wrong(
    database: dict[str, Any], given: dict[str, Any] | None, field: str
) -> None:
    life = Life(database=database, **({"embedding": given} if given else {}))
    life.pods.append(
        a_pod(group="memory", waiting=("CreateContainerConfigError", 'secret "x" not found'))
    )
    stalled = said(life.step(), "Stalled")
    assert stalled.reason == "SecretMissing"
    assert field in stalled.message


def test_a_restore_that_misses_a_secret_names_that_of_the_service_too() -> None:
    bucket = {"bucket": "archives", "region": "eu-central-1"}
    life = Life(embedding=embedding(), restoreFrom={"repository": {"s3": bucket}})
    life.settle()
    life.finish("migrate")
    life.step()
    [job] = life.jobs("restore")
    waiting = ("CreateContainerConfigError", 'secret "embedding-service" not found')
    life.pods.append(a_pod(group=job, waiting=waiting))
    message = said(life.step(), "Stalled").message
    assert "spec.restoreFrom.repository.s3.secretRef or spec.embedding.openAI" in message
