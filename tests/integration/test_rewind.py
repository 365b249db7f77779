"""An etcd that is restored from a backup: resourceVersions start again from lower numbers."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gameai_devcluster import certificates, install
from gameai_devcluster import cluster as clusters
from gameai_devcluster.api import Api, Json
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.testing.proxy import Answer, Arrival, Proxy, status_answer
from gameai_devcluster.testing.waiting import settled, until
from support.live import manifest

NAMESPACE = "rewound"
# Stated: found within 30 s.
FOUND_SECONDS = 30.0


@pytest.fixture(scope="module")
def own(folder: Path) -> Iterator[clusters.Cluster]:
    """A control plane of its own, whose etcd can be set back."""
    options = clusters.Options(die_with_parent=True, start_delays_ms={"": 20})
    running = clusters.start(folder / "rewound", options, print)
    api = running.api()
    install.crds(api)
    install.rights(api)
    install.namespace(api, NAMESPACE)
    yield running
    clusters.stop(running.site.folder)


def expired_once() -> Callable[[Arrival], Answer | None]:
    """The next watch of each kind is answered that its version is too old."""
    answered: set[str] = set()

    def fault(arrival: Arrival) -> Answer | None:
        if not arrival.watch or arrival.path in answered:
            return None
        answered.add(arrival.path)
        return status_answer(410, "Expired")

    return fault


def down(running: clusters.Cluster) -> None:
    for name in ("kube-apiserver", "etcd"):
        clusters.halt(running, name)


def up(running: clusters.Cluster) -> clusters.Cluster:
    for name in ("etcd", "kube-apiserver"):
        running = clusters.launch(running, name, die_with_parent=True)
    until("the API server is back", running.ready, seconds=120)
    return running


def wanted(api: Api) -> int:
    found: int = api.get("Deployment", NAMESPACE, "gold-on-demand")["spec"]["replicas"]
    return found


@pytest.mark.timeout(900)
def noise(number: int) -> Json:
    metadata = {"name": "noise", "namespace": NAMESPACE}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"n": str(number)},
    }


def test_a_restored_etcd_is_noticed_and_everything_read_again(
    own: clusters.Cluster, folder: Path
) -> None:
    api = own.api()
    kubeconfig = install.operator_kubeconfig(api, folder / "rewound.kubeconfig")
    flags: dict[str, str | float] = {"resync_seconds": 600}
    operator = Operator(Launch(kubeconfig=kubeconfig, log=folder / "rewound.log", flags=flags))
    try:
        operator.wait_ready()
        api.apply(manifest(NAMESPACE, replicas=1), manager="kubectl")
        until("it is ready", lambda: settled(api.get("ModelTier", NAMESPACE, "gold")), seconds=120)
        down(own)
        backup = folder / "etcd-backup"
        shutil.copytree(own.site.folder / "etcd", backup)
        own = up(own)
        for number in range(2, 7):
            api.apply(manifest(NAMESPACE, replicas=number), manager="kubectl")
            until("it acts", lambda: wanted(api) == number, seconds=100)  # noqa: B023 - called in this turn
        # A backup is older by more versions than a server makes while it starts.
        for number in range(400):
            api.apply(noise(number), manager="kubectl")
        down(own)
        shutil.rmtree(own.site.folder / "etcd")
        shutil.copytree(backup, own.site.folder / "etcd")
        own = up(own)
        began = time.monotonic()
        api.apply(manifest(NAMESPACE, replicas=4), manager="kubectl")
        until("it acts again", lambda: wanted(api) == 4, seconds=10 * FOUND_SECONDS)
        print(f"acted {time.monotonic() - began:.1f} s after the restore (bar 30 s)")
        assert operator.metric("gameai_operator_rewinds_total") > 0
    finally:
        operator.kill()


@pytest.mark.timeout(600)
def test_deletions_in_a_gap_of_the_watch_are_found_soon(api: Api, folder: Path) -> None:
    """Cut watches are resumed with 410 Gone, and the LIST that follows does not report deletions; no comparison is due."""
    assert api.credentials.ca_file
    proxy = Proxy(api.credentials.server, api.credentials.ca_file)
    kubeconfig = install.operator_kubeconfig(api, folder / "gap.kubeconfig", server=proxy.url)
    flags: dict[str, str | float] = {"resync_seconds": 600, "lease_name": "gap"}
    operator = Operator(Launch(kubeconfig=kubeconfig, log=folder / "gap.log", flags=flags))
    try:
        operator.wait_ready()
        install.namespace(api, "gap")
        api.apply(manifest("gap", replicas=1), manager="kubectl")
        until("it is ready", lambda: settled(api.get("ModelTier", "gap", "gold")), seconds=120)
        time.sleep(5)

        # The deletion passes unseen, and the watch that would have reported it starts again from a LIST.
        proxy.sieve = lambda path, event: event["type"] != "DELETED"
        began = time.monotonic()
        api.delete("PodDisruptionBudget", "gap", "gold-on-demand")
        proxy.fault = expired_once()
        proxy.cut_watches()
        until(
            "it is made again",
            lambda: api.find("PodDisruptionBudget", "gap", "gold-on-demand"),
            seconds=10 * FOUND_SECONDS,
        )
        print(f"found {time.monotonic() - began:.1f} s after the deletion (bar 30 s)")
    finally:
        operator.kill()
        proxy.close()
        api.delete("ModelTier", "gap", "gold")


@pytest.mark.timeout(600)
def test_a_rotated_certificate_authority_is_trusted_without_a_restart(
    own: clusters.Cluster, folder: Path
) -> None:
    own = clusters.load(own.site.folder) or own
    api = own.api()
    kubeconfig = install.operator_kubeconfig(api, folder / "rotated.kubeconfig")
    flags: dict[str, str | float] = {"lease_name": "rotated"}
    operator = Operator(Launch(kubeconfig=kubeconfig, log=folder / "rotated.log", flags=flags))
    try:
        operator.wait_ready()
        install.namespace(api, "rotated")
        api.apply(manifest("rotated", replicas=1), manager="kubectl")
        until("it acts", lambda: api.find("Deployment", "rotated", "gold-on-demand"), seconds=100)
        keys = own.site.certificates
        tokens = {file: file.read_bytes() for file in keys.glob("service-account.*")}
        clusters.halt(own, "kube-apiserver")
        certificates.write(keys)
        for file, content in tokens.items():
            file.write_bytes(content)
        own = clusters.launch(own, "kube-apiserver", die_with_parent=True)
        until("the API server is back", lambda: own.api().request("GET", "/readyz"), seconds=120)
        renewed = own.api()
        renewed.apply(manifest("rotated", replicas=3), manager="kubectl")
        until(
            "it acts under the new authority",
            lambda: renewed.get("Deployment", "rotated", "gold-on-demand")["spec"]["replicas"] == 3,
            seconds=300,
        )
        assert "reading credentials again" in operator.output()
    finally:
        operator.kill()
