"""Real pods: the charts installed as a user does, on the cluster that `make e2e` has prepared."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
from gameai_devcluster import charts, e2e, install
from gameai_devcluster.api import Api, Json, from_kubeconfig
from gameai_devcluster.nodes import SIMULATED_TAINT
from gameai_devcluster.testing import evidence
from support import real

NAMESPACES = [real.SYSTEM, "eldermoor", "shared", "e2e"]
Kubectl = Callable[..., str]
FIGURES = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Either the tests of a real engine, or all others."""
    file = config.getoption("--e2e")
    wanted = bool(file) and bool(e2e.read(Path(file)).vllm_image)
    here = [each for each in items if "e2e" in each.path.parts]
    other = [each for each in here if bool(each.get_closest_marker("vllm")) is not wanted]
    config.hook.pytest_deselected(items=other)
    items[:] = [each for each in items if each not in other]


@pytest.fixture(scope="session")
def environment(pytestconfig: pytest.Config) -> e2e.Environment:
    file = pytestconfig.getoption("--e2e")
    if not file:
        pytest.exit("run these with `make e2e`: it prepares the cluster they need", returncode=2)
    return e2e.read(Path(file))


@pytest.fixture(scope="session")
def api(environment: e2e.Environment) -> Api:
    return Api(from_kubeconfig(Path(environment.kubeconfig)))


@pytest.fixture(scope="session")
def kubectl(environment: e2e.Environment) -> Kubectl:
    """Runs kubectl as the administrator; its output, or AssertionError."""
    program = str(Path(sys.executable).parent / "kubectl")

    def run(*arguments: str, stdin: str | None = None) -> str:
        command = [program, f"--kubeconfig={environment.kubeconfig}", *arguments]
        done = subprocess.run(command, input=stdin, text=True, capture_output=True, check=False)
        if done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    return run


@pytest.fixture(scope="session")
def values(environment: e2e.Environment) -> Json:
    """What a user would write into values.yaml."""
    return {
        "global": {"imageRegistry": environment.registry},
        "image": {"tag": environment.operator_tag},
        "workloads": {
            "image": f"gameai-workloads:{environment.workloads_tag}",
            "worldsAtATime": 2,
        },
        "knowledge": {"image": f"gameai-knowledge:{environment.knowledge_tag}"},
        "bus": {
            "mode": "Managed",
            "managed": {
                "replicas": 1,
                "storageGiB": 1,
                "resources": {
                    "requests": {"cpu": "20m", "memory": "64Mi"},
                    "limits": {"memory": "256Mi"},
                },
            },
            "controller": {
                "replicas": 1,
                "resources": {"requests": {"cpu": "20m", "memory": "96Mi"}},
            },
        },
        # A machine of two cores has room for little.
        "gateway": {"resources": {"requests": {"cpu": "20m", "memory": "96Mi"}}},
        # Pods of simulated nodes have addresses that do not exist here, and may exist elsewhere.
        "scaler": {"agentPort": 0},
    }


@pytest.fixture(scope="session")
def helm(environment: e2e.Environment, api: Api) -> Iterator[helm_python.Config]:
    install.namespace(api, real.SYSTEM)
    # Our pods must pass the strictest of Pod Security, everywhere.
    for name in ("eldermoor", "shared", "e2e"):
        install.namespace(api, name)
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        api.patch(f"/api/v1/namespaces/{name}", {"metadata": {"labels": labels}})
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.patch(f"/api/v1/namespaces/{real.SYSTEM}", {"metadata": {"labels": labels}})
    with helm_python.Config(
        kubeconfig_path=environment.kubeconfig, namespace=real.SYSTEM
    ) as config:
        yield config


@pytest.fixture(scope="session")
def release(
    helm: helm_python.Config, values: Json, api: Api, environment: e2e.Environment
) -> dict[str, float]:
    """CRDs and operator, both pods ready; seconds it took."""
    helm.install(charts.CRDS, "gameai-crds", wait="watcher", timeout=60)
    real.provide(api, environment, "bus")
    began = time.monotonic()
    helm.install(charts.OPERATOR, "gameai-operator", values=values)
    real.wait_operator(api)
    return {"seconds": time.monotonic() - began}


def gathered(api: Api, folder: Path) -> list[str]:
    """The evidence; where it cannot be had, why: a failure must never hide behind its own report."""
    try:
        present = {each["metadata"]["name"] for each in api.list("Namespace")}
        return evidence.collect(api, [n for n in NAMESPACES if n in present], folder)
    except Exception as error:  # noqa: BLE001 - whatever it is, the test's own failure is what counts
        return [f"evidence could not be gathered: {error!r}"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """On a failure: everything that may tell why, before the next test changes it."""
    report: pytest.TestReport = yield
    if report.failed and isinstance(item, pytest.Function) and "api" in item.fixturenames:
        environment = e2e.read(Path(item.config.getoption("--e2e")))
        folder = Path(environment.folder) / "failures" / item.name
        telling = gathered(Api(from_kubeconfig(Path(environment.kubeconfig))), folder)
        lines = "\n".join(f"  {line}" for line in telling) or "  nothing that stands out"
        report.sections.append(("what tells most", f"{lines}\n  all of it: {folder}"))
        print(f"\n{item.name} failed; what tells most:\n{lines}\n  all of it: {folder}")
    return report


@pytest.fixture(scope="session")
def examples(release: dict[str, float], environment: e2e.Environment, api: Api) -> list[Json]:
    """Every example that becomes Ready, applied as its user would."""
    documents = install.examples()
    for document in documents:
        hardware = document.get("spec", {}).get("hardware", {})
        if environment.real_node and hardware.get("gpus") == 0:
            # Its engine is no real one here, so it goes to a simulated node beside the real one.
            hardware["tolerations"] = [{"key": SIMULATED_TAINT}]
        for service in document.get("spec", {}).get("services", ()):
            if service.get("image") == e2e.DUEL_IMAGE:
                service["image"] = environment.duel_image
        api.apply(document, manager="kubectl")
    with_status = [each for each in documents if install.has_status(each)]
    for document in with_status:
        metadata = document["metadata"]
        real.wait_ready(api, document["kind"], metadata["namespace"], metadata["name"])
    return with_status


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> list[str]:
    """Lines that are shown when all is over."""
    found: list[str] = []
    pytestconfig.stash[FIGURES] = found
    return found


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show the figures that tests took."""
    for line in config.stash.get(FIGURES, []):
        terminalreporter.write_line(line)
