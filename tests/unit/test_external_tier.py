"""Tiers whose engine is a service elsewhere."""

from typing import Any

import pytest
from gameai_operator.api.tier import ModelTier
from gameai_operator.controller.conditions import Condition
from gameai_operator.settings import Policy
from gameai_operator.tier import external
from gameai_operator.tier.pricing import price
from support import tiers
from support.tier_decisions import a_pod, decided, said


def elsewhere(url: str = "https://api.example/v1", **fields: Any) -> dict[str, Any]:
    service = {"url": url, "model": "large", "secretRef": {"name": "large"}}
    return {"class": "Bronze", "engine": {"external": {"openAI": service, **fields}}}


def root(**fields: Any) -> ModelTier:
    return ModelTier.model_validate(tiers.resource(**elsewhere(**fields)))


def ready(*pods: Any, **spec: Any) -> Condition:
    return said(decided(*pods, **elsewhere(), **spec))


def test_pods_that_run_and_take_no_requests_name_the_log_that_says_why() -> None:
    running = a_pod(name="b", running=True)
    found = ready(
        a_pod(name="a"), a_pod(name="c", running=True, ready=True), running, live={"ready": 0}
    )
    assert found.reason == "ExternalEngineNotReady"
    assert found.message.endswith("or the budget is spent: kubectl logs b -c external")
    assert ready(a_pod(name="a"), live={"ready": 0}).reason == "Starting"
    assert ready(a_pod(running=True, terminating=True), live={"ready": 0}).reason == "Starting"


def test_a_missing_key_is_the_secret_of_the_external_engine() -> None:
    found = ready(
        a_pod(waiting=("CreateContainerConfigError", 'secret "large" not found')), live={"ready": 0}
    )
    assert found.reason == "SecretMissing"
    assert "change spec.engine.external.openAI.secretRef" in found.message


def test_pods_without_a_node_name_what_they_request() -> None:
    found = ready(a_pod(unschedulable="0/3 nodes: Insufficient cpu"), live={"ready": 0})
    assert found.reason == "InsufficientCapacity"
    assert found.message.endswith("one replica requests cpu 50m, memory 224Mi")


def test_an_old_template_is_refused() -> None:
    decision = decided(**elsewhere(), templateRevision=4)
    stalled = said(decision, "Stalled")
    assert stalled.reason == "TemplateRevisionTooOld"
    assert stalled.message.endswith("spec.templateRevision is 4: set it to 5, or remove it")
    assert not [each for each in decision.wanted or () if each["kind"] == "Deployment"]


def test_no_arguments_are_checked_and_no_gpu_is_priced() -> None:
    assert said(decided(**elsewhere()), "ArgumentsChecked").reason == "ExternalEngine"
    assert price(root().spec) is None
    assert root().spec.gpus == 0


@pytest.mark.parametrize(
    ("url", "policy", "reasons"),
    [
        ("https://api.example/v1", {}, []),
        ("https://api.example/v1", {"open_networks": False}, ["NetworkNotAllowed"]),
        ("http://engines.studio.svc:8000/v1", {"open_networks": False}, []),
        ("http://engines/v1", {"open_networks": False}, []),
        ("https://api.example/v1", {"secrets": ("other",)}, ["SecretNotAllowed"]),
        ("https://api.example/v1", {"secrets": ("large",)}, []),
    ],
)
def test_the_clusters_owner_decides_where_prompts_may_go(
    url: str, policy: dict[str, Any], reasons: list[str]
) -> None:
    given = root(url=url).spec.engine.external
    assert given is not None
    found = external.not_allowed("studio", given, Policy(**policy))
    assert [each.reason for each in found if each] == reasons


def test_a_service_without_a_key_needs_no_secret() -> None:
    service = {"url": "http://engines.studio.svc/v1", "model": "large"}
    spec: dict[str, Any] = {"class": "Bronze", "engine": {"external": {"openAI": service}}}
    tier = ModelTier.model_validate(tiers.resource(**spec, hardware={"cpuLimit": "1"}))
    given = tier.spec.engine.external
    assert given is not None
    made = external.container(tier, given, "image", 300)
    assert made["env"] == []
    assert "--usd-per-hour" not in " ".join(made["args"])
    assert made["resources"]["limits"] == {"memory": "224Mi", "cpu": "1"}
    assert external.not_allowed("studio", given, Policy(secrets=())) == (None, None)
    [rule] = external.egress("studio", given)
    assert rule["ports"] == [{"protocol": "TCP", "port": 80}]
