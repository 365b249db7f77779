"""A Bronze tier whose engine is a service elsewhere: real pods, under its network policy, with a key from a Secret."""

from collections.abc import Callable, Iterator

import pytest
from gameai_devcluster import e2e
from gameai_devcluster.api import Api, Json
from gameai_devcluster.testing.waiting import condition, until
from support import real
from support.live import manifest

Kubectl = Callable[..., str]
SPACE, SERVICE, TIER = "e2e", "oracle", "novelist"
pytestmark = pytest.mark.timeout(600)
# Runs in a pod of the tier, as a gateway asks.
ASK = """
import json, urllib.error, urllib.request
body = {"model": "novelist", "messages": [{"role": "user", "content": "Once"}], "max_tokens": 8}
request = urllib.request.Request(
    "http://localhost:8000/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
)
try:
    answer = json.load(urllib.request.urlopen(request, timeout=20))
    print(answer["model"], answer["choices"][0]["finish_reason"])
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""


@pytest.fixture
def service(api: Api, release: dict[str, float], environment: e2e.Environment) -> Iterator[None]:
    """A service with OpenAI's API, which is no tier."""
    labels = {"app": SERVICE}
    container = {
        "name": "vllm",
        "image": environment.double_image,
        "command": ["vllm", "serve", "anything", f"--served-model-name={SERVICE}", "--port=8000"],
        "ports": [{"containerPort": 8000}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    about = {"name": SERVICE, "namespace": SPACE}
    pods = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": about,
        "spec": {"selector": {"matchLabels": labels}, "template": pods},
    }
    reached = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": about,
        "spec": {"selector": labels, "ports": [{"port": 8000}]},
    }
    for each in (deployment, reached):
        api.apply(each, manager="kubectl")
    yield
    api.delete("ModelTier", SPACE, TIER)
    api.delete("Service", SPACE, SERVICE)
    api.delete("Deployment", SPACE, SERVICE)


def tier() -> Json:
    made = manifest(SPACE, name=TIER, replicas=1)
    for unused in ("model", "engine", "hardware"):
        made["spec"].pop(unused, None)
    openai = {
        "url": f"http://{SERVICE}.{SPACE}.svc:8000/v1",
        "model": SERVICE,
        "secretRef": {"name": SERVICE},
    }
    made["spec"] |= {"class": "Bronze", "engine": {"external": {"openAI": openai}}}
    return made


def test_a_tier_without_an_engine_of_its_own_answers(
    service: None, api: Api, kubectl: Kubectl
) -> None:
    api.apply(tier(), manager="kubectl")

    def reason() -> str:
        found = api.get("ModelTier", SPACE, TIER)
        return str(condition(found, "Ready").get("reason"))

    until("the Secret is missed", lambda: reason() == "SecretMissing", seconds=120)
    kubectl("-n", SPACE, "create", "secret", "generic", SERVICE, "--from-literal=apiKey=sk-e2e")
    real.wait_ready(api, "ModelTier", SPACE, TIER)
    inside = ("-n", SPACE, "exec", f"deployment/{TIER}-on-demand", "-c", "external", "--")

    def answers() -> bool:
        # The service itself may still start.
        return "novelist length" in kubectl(*inside, "python", "-c", ASK)

    until("the service answers", answers, seconds=120)
    logs = kubectl("-n", SPACE, "logs", f"deployment/{TIER}-on-demand", "-c", "external")
    assert "sk-e2e" not in logs
    assert "sk-e2e" not in str(api.list("Deployment", SPACE, selector=f"gameai.dev/tier={TIER}"))
    kubectl("-n", SPACE, "delete", "secret", SERVICE)
