"""A real vLLM in our own pod, unchanged but for image and GPU: `make e2e-vllm`."""

import json
from collections.abc import Callable, Iterator

import pytest
import urllib3
from gameai_devcluster import e2e, install
from gameai_devcluster.api import Api, Json, path
from gameai_devcluster.testing.waiting import condition, settled, until
from support import real

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800)]
Kubectl = Callable[..., str]
NAMESPACE, TIER = "e2e", "real"
SELECTOR = f"gameai.dev/tier={TIER}"
READY_SECONDS = 600
# A loading engine swallows SIGTERM; killed before it, its end takes no grace of 80 s.
HASTENED_SECONDS = 40


def spec(image: str, **fields: object) -> Json:
    return {
        "apiVersion": "gameai.dev/v1alpha1",
        "kind": "ModelTier",
        "metadata": {"name": TIER, "namespace": NAMESPACE},
        "spec": {
            "class": "Silver",
            "model": {
                "source": {"persistentVolumeClaim": {"claimName": "models", "path": "tiny"}},
                "maxContextTokens": 1024,
            },
            "engine": {
                "vllm": {
                    "image": image,
                    "args": ["--enforce-eager", "--max-num-seqs=4"],
                    "env": [{"name": "VLLM_CPU_KVCACHE_SPACE", "value": "1"}],
                }
            },
            "hardware": {"gpus": 0, "cpu": "100m", "memory": "6Gi"},
            "replicas": 1,
            **fields,
        },
    }


@pytest.fixture(scope="module")
def models(release: dict[str, float], environment: e2e.Environment, api: Api) -> str:
    """A claim on a folder of the machine, with a tiny model in it."""
    folder = install.ROOT / ".dev" / "e2e" / "models"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)
    capacity = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "models"},
            "spec": {**capacity, "capacity": {"storage": "1Gi"}, "hostPath": {"path": str(folder)}},
        }
    )
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "models", "namespace": NAMESPACE},
            "spec": {
                **capacity,
                "volumeName": "models",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }
    )
    made = {"name": "make-model", "namespace": NAMESPACE}
    api.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": made,
            "spec": {
                "restartPolicy": "Never",
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 2000,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": "make",
                        "image": environment.vllm_image,
                        "command": ["python", "/opt/make_model.py", "/models/tiny"],
                        "env": [{"name": "HOME", "value": "/tmp"}],
                        "securityContext": {**real.RESTRICTED, "readOnlyRootFilesystem": False},
                        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
                    }
                ],
                "volumes": [
                    {"name": "models", "persistentVolumeClaim": {"claimName": "models"}},
                ],
            },
        }
    )

    def done() -> bool:
        phase = api.get("Pod", NAMESPACE, "make-model")["status"].get("phase")
        assert phase != "Failed", api.text(f"{path('Pod', NAMESPACE, 'make-model')}/log")
        return bool(phase == "Succeeded")

    until("the model is made", done, seconds=300)
    api.delete("Pod", NAMESPACE, "make-model")
    return "models"


@pytest.fixture(scope="module")
def tier(models: str, environment: e2e.Environment, api: Api) -> Iterator[Json]:
    api.apply(spec(environment.vllm_image), manager="kubectl")
    wait_settled(api)
    yield api.get("ModelTier", NAMESPACE, TIER)
    api.delete("ModelTier", NAMESPACE, TIER)


def wait_settled(api: Api) -> Json:
    def look() -> Json | None:
        found = api.get("ModelTier", NAMESPACE, TIER)
        return found if settled(found) else None

    return until("the tier is settled", look, seconds=READY_SECONDS)


def engines(api: Api) -> list[Json]:
    return real.live(api, NAMESPACE, SELECTOR)


def chat(pod: Json) -> Json:
    """One chat with a pod of the tier, by the tier's name."""
    body = {
        "model": TIER,
        "messages": [{"role": "user", "content": "hello traveller"}],
        "max_tokens": 8,
    }
    url = f"http://{pod['status']['podIP']}:8000/v1/chat/completions"
    answer = urllib3.request("POST", url, json=body, timeout=60, retries=False)
    assert answer.status == 200, answer.data
    found: Json = json.loads(answer.data)
    return found


def test_a_real_engine_becomes_ready_and_answers_a_chat(tier: Json, api: Api) -> None:
    assert condition(tier, "ArgumentsChecked")["status"] == "True"
    [pod] = engines(api)
    container = pod["spec"]["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["spec"]["securityContext"]["runAsUser"] == 2000
    choice = chat(pod)["choices"][0]
    assert choice["finish_reason"] in ("stop", "length")


def test_it_is_the_first_process_of_its_pod(tier: Json, api: Api, kubectl: Kubectl) -> None:
    [pod] = engines(api)
    read = "print(open('/proc/1/cmdline').read().replace(chr(0), ' '))"
    command_line = kubectl(
        "-n", NAMESPACE, "exec", pod["metadata"]["name"], "--", "python", "-c", read
    )
    assert "vllm serve /source/tiny" in command_line


def test_a_rolling_update_replaces_it_once_the_next_answers(
    tier: Json, environment: e2e.Environment, api: Api
) -> None:
    [before] = engines(api)
    api.apply(spec(environment.vllm_image, podAnnotations={"note": "rolled"}), manager="kubectl")

    def both() -> bool:
        found = engines(api)
        old = [e for e in found if e["metadata"]["uid"] == before["metadata"]["uid"]]
        return len(found) == 2 and bool(old) and real.is_ready(old[0])

    until("the old one answers while the next one loads", both, seconds=120)
    chat(before)
    wait_settled(api)
    until("one is left", lambda: len(engines(api)) == 1, seconds=120)
    [after] = engines(api)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    chat(after)


def test_a_loading_engine_that_is_no_longer_wanted_ends_soon(
    tier: Json, api: Api, kubectl: Kubectl, figures: list[str]
) -> None:
    kubectl("-n", NAMESPACE, "scale", f"modeltier/{TIER}", "--replicas=2")

    def loading() -> Json | None:
        found = [e for e in engines(api) if not real.is_ready(e)]
        statuses = [s for e in found for s in e["status"].get("containerStatuses", ())]
        return found[0] if statuses and statuses[0]["state"].get("running") else None

    pod = until("a second one loads", loading, seconds=120)
    name = pod["metadata"]["name"]
    kubectl("-n", NAMESPACE, "scale", f"modeltier/{TIER}", "--replicas=1")
    until("it is ending", lambda: len(engines(api)) == 1, seconds=60)
    until(
        "it is gone",
        lambda: api.find("Pod", NAMESPACE, name) is None,
        seconds=HASTENED_SECONDS,
    )
    wait_settled(api)


def test_a_scale_in_leaves_the_one_that_answers(tier: Json, api: Api, kubectl: Kubectl) -> None:
    kubectl("-n", NAMESPACE, "scale", f"modeltier/{TIER}", "--replicas=2")
    wait_settled(api)
    assert len(engines(api)) == 2
    kubectl("-n", NAMESPACE, "scale", f"modeltier/{TIER}", "--replicas=1")
    wait_settled(api)
    until(
        "one is left", lambda: len(api.list("Pod", NAMESPACE, selector=SELECTOR)) == 1, seconds=120
    )
    [left] = engines(api)
    chat(left)


def test_a_killed_engine_ends_its_server_with_code_0_and_comes_back(
    tier: Json, api: Api, kubectl: Kubectl
) -> None:
    [pod] = engines(api)
    kill = (
        "import os, signal, glob\n"
        "for each in glob.glob('/proc/[0-9]*/cmdline'):\n"
        # Not written in one: this program's own words stand there too.
        "    if b'Engine' + b'Core' in open(each, 'rb').read():\n"
        "        os.kill(int(each.split('/')[2]), signal.SIGKILL)\n"
    )
    name = pod["metadata"]["name"]
    kubectl("-n", NAMESPACE, "exec", name, "--", "python", "-c", kill)

    def ended() -> Json | None:
        [status] = api.get("Pod", NAMESPACE, name)["status"]["containerStatuses"]
        found: Json | None = status["lastState"].get("terminated")
        return found

    assert until("the server ended", ended, seconds=120)["exitCode"] == 0
    until("it is not Ready", lambda: not settled(api.get("ModelTier", NAMESPACE, TIER)), seconds=60)
    wait_settled(api)
    [again] = engines(api)
    assert again["metadata"]["name"] == name
    chat(again)
