"""EDGE: KEDA's own operator and metrics adapter, as processes beside a cluster of this machine.

No pod network is needed: the API server reaches the adapter by a Service that is an alias of `localhost`.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import yaml

from gameai_devcluster import install
from gameai_devcluster.api import Api
from gameai_devcluster.binary import KEDA_ADAPTER, KEDA_OPERATOR, Progress, built, module_folder
from gameai_devcluster.cluster import Cluster
from gameai_devcluster.processes import free_port, start_in_background

NAMESPACE = "keda"
_MODULE = "github.com/kedacore/keda/v2"
_ENVIRONMENT = {
    "WATCH_NAMESPACE": "",
    "POD_NAMESPACE": NAMESPACE,
    "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE,
}
_STOP_SECONDS = 20.0


def crds() -> Path:
    """The folder of KEDA's CustomResourceDefinitions."""
    return module_folder(KEDA_OPERATOR, _MODULE) / "config" / "crd" / "bases"


@contextlib.contextmanager
def running(cluster: Cluster, folder: Path, progress: Progress) -> Iterator[None]:
    """KEDA on a cluster, with its CRDs, until the end of the block. Raises `BuildError`."""
    operator, adapter = built(KEDA_OPERATOR, progress), built(KEDA_ADAPTER, progress)
    api = cluster.api()
    install.namespace(api, NAMESPACE)
    install.crds(api, crds())
    certificates, port = _certificates(cluster, folder / "keda-certificates"), free_port()
    metrics = f"127.0.0.1:{free_port()}"
    _serve_external_metrics(api, port)
    started = [
        _start(operator, folder, _operator(cluster, certificates, metrics)),
        _start(adapter, folder, _adapter(cluster, certificates, metrics, port)),
    ]
    try:
        yield
    finally:
        for each in started:
            each.terminate()
        for each in started:
            try:
                each.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                each.kill()


def _start(binary: Path, folder: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    return start_in_background(
        [str(binary), *arguments],
        folder / f"{binary.name}.log",
        die_with_parent=True,
        environment={**os.environ, **_ENVIRONMENT},
    )


def _certificates(cluster: Cluster, folder: Path) -> Path:
    """One certificate for localhost, as KEDA's operator and adapter present it to each other."""
    folder.mkdir(parents=True, exist_ok=True)
    own = cluster.site.certificates
    for source, name in (
        ("server.crt", "tls.crt"),
        ("server.key", "tls.key"),
        ("ca.crt", "ca.crt"),
    ):
        shutil.copy(own / source, folder / name)
    return folder


def _operator(cluster: Cluster, certificates: Path, metrics: str) -> list[str]:
    return [
        f"--kubeconfig={cluster.kubeconfig}",
        f"--metrics-bind-address=127.0.0.1:{free_port()}",
        f"--health-probe-bind-address=127.0.0.1:{free_port()}",
        f"--metrics-service-bind-address={metrics}",
        f"--cert-dir={certificates}",
    ]


def _adapter(cluster: Cluster, certificates: Path, metrics: str, port: int) -> list[str]:
    kubeconfig = cluster.kubeconfig
    return [
        f"--secure-port={port}",
        "--bind-address=127.0.0.1",
        f"--port={free_port()}",
        f"--cert-dir={certificates}",
        f"--tls-cert-file={certificates / 'tls.crt'}",
        f"--tls-private-key-file={certificates / 'tls.key'}",
        f"--client-ca-file={certificates / 'ca.crt'}",
        f"--metrics-service-address=localhost:{metrics.rpartition(':')[2]}",
        f"--kubeconfig={kubeconfig}",
        f"--lister-kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
    ]


def _serve_external_metrics(api: Api, port: int) -> None:
    documents = f"""
apiVersion: v1
kind: Service
metadata: {{name: keda-metrics, namespace: {NAMESPACE}}}
spec: {{type: ExternalName, externalName: localhost, ports: [{{port: {port}, protocol: TCP}}]}}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {{name: v1beta1.external.metrics.k8s.io}}
spec:
  group: external.metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {{name: keda-metrics, namespace: {NAMESPACE}, port: {port}}}
"""
    for each in yaml.safe_load_all(documents):
        api.apply(each)
