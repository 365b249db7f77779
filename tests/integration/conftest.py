"""One control plane for the whole run, and an operator under the chart's own rights."""

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from gameai.knowledge.embedding.local import LocalEmbedder
from gameai_devcluster import cluster as clusters
from gameai_devcluster import install, postgres
from gameai_devcluster.api import Api
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.testing.audit import AuditLog
from gameai_devcluster.testing.waiting import until
from support.discovery import living, npcs, published, release
from support.live import manifest
from support.memory import Memory

DEV = install.ROOT / ".dev"
FAST = {"": 20}


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    for stale in DEV.glob("test-*"):
        if not psutil.pid_exists(int(stale.name.split("-")[1])):
            shutil.rmtree(stale, ignore_errors=True)
    made = DEV / f"test-{os.getpid()}"
    made.mkdir(parents=True, exist_ok=True)
    yield made
    # Logs stay for whoever looks into a failure; the next run clears them.
    shutil.rmtree(made / "cluster" / "etcd", ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(folder: Path) -> Iterator[clusters.Cluster]:
    options = clusters.Options(audit=True, die_with_parent=True, start_delays_ms=FAST)
    running = clusters.start(folder / "cluster", options, print)
    api = running.api()
    install.crds(api)
    install.rights(api)
    yield running
    clusters.stop(running.site.folder)


@pytest.fixture(scope="session")
def api(cluster: clusters.Cluster) -> Api:
    return cluster.api()


@pytest.fixture(scope="session")
def operator_kubeconfig(api: Api, folder: Path) -> Path:
    return install.operator_kubeconfig(api, folder / "operator.kubeconfig")


@pytest.fixture(scope="module")
def operator(operator_kubeconfig: Path, folder: Path) -> Iterator[Operator]:
    launch = Launch(kubeconfig=operator_kubeconfig, log=folder / "operator.log")
    running = Operator(launch).wait_ready()
    yield running
    log = running.output()
    assert running.stop() == 0
    assert "this is a bug" not in log
    assert "Traceback" not in log


@pytest.fixture
def audit(cluster: clusters.Cluster) -> AuditLog:
    return AuditLog(cluster.site.audit_log)


_NUMBERS = itertools.count(1)


@pytest.fixture
def namespace(api: Api) -> Iterator[str]:
    name = f"t{next(_NUMBERS):03d}"
    install.namespace(api, name)
    yield name
    for kind in ("GameWorld", "ModelTier"):
        for root in api.list(kind, name):
            api.delete(kind, name, root["metadata"]["name"])


Kubectl = Callable[..., str]


@pytest.fixture(scope="session")
def kubectl(cluster: clusters.Cluster) -> Kubectl:
    """Runs kubectl as the administrator; its output, or CalledProcessError."""
    program = str(Path(sys.executable).parent / "kubectl")

    def run(*arguments: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            [program, f"--kubeconfig={cluster.kubeconfig}", *arguments],
            input=stdin,
            text=True,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    return run


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """The same cases for everybody who runs the tests of this code, others after the next change."""
    drawn = int(pytestconfig.getoption("--seed")) or _seed_of_code()
    print(f"--seed={drawn}")
    return drawn


def _seed_of_code() -> int:
    command = ["git", "-C", str(install.ROOT), "rev-parse", "HEAD^{tree}"]
    done = subprocess.run(command, capture_output=True, check=False)
    return int(done.stdout[:8] or os.urandom(4).hex(), 16)


@pytest.fixture
def games(api: Api, namespace: str) -> Iterator[str]:
    """A namespace with a tier that runs no pods of its own, a world, its archetypes, and who may ask."""
    install.rights(api)
    api.apply(manifest(namespace, replicas=0), manager="kubectl")
    npcs(api, namespace)
    account = {"name": "match", "namespace": namespace}
    for name in ("match", "stranger"):
        api.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account | {"name": name}}
        )
    api.apply(living(namespace), manager="kubectl")
    until("the world is published", lambda: published(api, namespace), seconds=30)
    yield namespace
    release(api, namespace)


@pytest.fixture(scope="session")
def database_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Postgres]:
    with postgres.running(tmp_path_factory.mktemp("postgres")) as made:
        yield made


@pytest.fixture(scope="session")
def embedder() -> LocalEmbedder:
    return LocalEmbedder()


@pytest.fixture
def new(database_server: postgres.Postgres, embedder: LocalEmbedder) -> Callable[[], Memory]:
    return lambda: Memory(database_server, embedder)


@pytest.fixture
def memory(new: Callable[[], Memory]) -> Memory:
    return new()
