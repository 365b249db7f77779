"""How the operator starts: without CRDs, without rights, without an API server, and with few rights."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from gameai_devcluster import cluster as clusters
from gameai_devcluster import install
from gameai_devcluster.api import Api
from gameai_devcluster.operators import Launch, Operator
from gameai_devcluster.testing.waiting import settled, until
from support.live import manifest

PICKED_UP_SECONDS = 150.0  # 10 × the stated 15 s
ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/gameai-operator-gameai-system"


@pytest.fixture(scope="module")
def bare(folder: Path) -> Iterator[clusters.Cluster]:
    """A second cluster beside the first, with nothing installed."""
    options = clusters.Options(die_with_parent=True, start_delays_ms={"": 20})
    running = clusters.start(folder / "bare", options, print)
    install.rights(running.api())
    yield running
    clusters.stop(folder / "bare")


@pytest.fixture
def operator(bare: clusters.Cluster, folder: Path) -> Iterator[Operator]:
    kubeconfig = install.operator_kubeconfig(bare.api(), folder / "bare.kubeconfig")
    running = Operator(Launch(kubeconfig=kubeconfig, log=folder / "bare.log"))
    yield running
    assert running.stop() == 0


def works(api: Api, name: str) -> None:
    install.namespace(api, name)
    api.apply(manifest(name))
    until(
        "a tier becomes Ready",
        lambda: settled(api.get("ModelTier", name, "gold")),
        seconds=PICKED_UP_SECONDS,
    )


def test_crds_installed_later_are_picked_up(bare: clusters.Cluster, operator: Operator) -> None:
    words = "modeltiers.gameai.dev is not served: kubectl apply --server-side -f crds/"
    until("the log says what is missing", lambda: words in operator.output(), seconds=30)
    until("readyz says it too", lambda: words in operator.get("/readyz")[1], seconds=10)
    assert operator.get("/readyz")[0] == 503
    assert operator.get("/livez")[0] == 200
    install.crds(bare.api())
    works(bare.api(), "later")
    assert operator.get("/readyz") == (200, "ok\n")
    assert operator.alive()


def test_a_crd_removed_and_installed_again_is_watched_again(
    bare: clusters.Cluster, operator: Operator
) -> None:
    api = bare.api()
    install.crds(api)
    works(api, "before")
    api.delete("CustomResourceDefinition", None, "modeltiers.gameai.dev")
    until("readyz says that it is gone", lambda: operator.get("/readyz")[0] == 503, seconds=60)
    install.crds(api)
    works(api, "after")
    assert operator.alive()


def test_an_older_crd_is_reported_with_the_command(
    bare: clusters.Cluster, operator: Operator
) -> None:
    api = bare.api()
    install.crds(api)
    operator.wait_ready()
    crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/modeltiers.gameai.dev"
    api.patch(crd, {"metadata": {"annotations": {"gameai.dev/schema-revision": "0"}}})
    assert operator.stop() == 0
    operator.start()
    until(
        "readyz asks for this release's CRD",
        lambda: "older than this operator; apply this release's" in operator.get("/readyz")[1],
        seconds=30,
    )
    install.crds(api)
    operator.wait_ready()


def test_missing_rights_are_named_and_taken_up_when_given(
    bare: clusters.Cluster, folder: Path
) -> None:
    api = bare.api()
    install.crds(api)
    kubeconfig = install.operator_kubeconfig(api, folder / "bare.kubeconfig")
    api.request("DELETE", ROLE)
    operator = Operator(Launch(kubeconfig=kubeconfig, log=folder / "rights.log"))
    until("the log names the right", lambda: "is forbidden" in operator.output(), seconds=60)
    assert operator.get("/readyz")[0] == 503
    install.rights(api)
    works(api, "rights")
    assert operator.stop() == 0


def test_listed_namespaces_need_rights_in_them_only(bare: clusters.Cluster, folder: Path) -> None:
    api = bare.api()
    install.crds(api)
    api.request("DELETE", ROLE)
    for name in ("one", "two"):
        install.namespace(api, name)
    install.rights(api, namespaces=["one"])
    kubeconfig = install.operator_kubeconfig(api, folder / "bare.kubeconfig")
    launch = Launch(kubeconfig=kubeconfig, log=folder / "few.log", flags={"namespaces": "one"})
    operator = Operator(launch).wait_ready()
    api.apply(manifest("two"))
    works(api, "one")
    assert api.get("ModelTier", "two", "gold")["status"] == {"observedGeneration": -1}
    assert "is forbidden" not in operator.output()
    assert operator.metric("gameai_operator_watch_restarts_total") == 0
    assert operator.stop() == 0
    install.rights(api)


def test_an_api_server_that_comes_later_is_found(bare: clusters.Cluster, folder: Path) -> None:
    api = bare.api()
    install.crds(api)
    kubeconfig = install.operator_kubeconfig(api, folder / "bare.kubeconfig")
    clusters.halt(bare, "kube-apiserver")
    operator = Operator(Launch(kubeconfig=kubeconfig, log=folder / "down.log"))
    until("the log says it", lambda: "discovery: 0 NoAnswer" in operator.output(), seconds=60)
    assert operator.get("/livez")[0] == 200
    again = clusters.launch(bare, "kube-apiserver", die_with_parent=True)
    until("the API server is ready", again.ready, seconds=60)
    works(api, "found")
    assert operator.alive()
    assert operator.stop() == 0
