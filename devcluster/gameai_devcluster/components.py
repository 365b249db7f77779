"""PURE: the command line of each component, from a cluster's folder and ports."""

from dataclasses import dataclass
from pathlib import Path

SERVICE_CIDR = "10.0.0.0/16"
# The defaults (20 queries per second) make the controllers the slowest part: 400 pods took 98 s instead of 22.
# Simulated nodes never die: each renews its lease after a quarter of this time, which was a sixth of all requests.
_LEASE_SECONDS, _GRACE_SECONDS = 400, 300
_CONTROLLER_QPS = ("--kube-api-qps=2000", "--kube-api-burst=4000")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ports:
    """TCP ports on the loopback address, all different."""

    etcd: int
    etcd_peer: int
    api: int
    controllers: int
    scheduler: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """Where one cluster lives: its folder, its ports, and whether it keeps an audit log.

    With a real node, pods reach the API server at `node_address`.
    """

    folder: Path
    ports: Ports
    audit: bool = False
    node_address: str | None = None

    @property
    def certificates(self) -> Path:
        """The folder of keys and certificates."""
        return self.folder / "certificates"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.folder / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """One JSON object per request, written only where `audit` is set."""
        return self.folder / "audit.log"

    @property
    def server(self) -> str:
        """URL of the API server."""
        return f"https://127.0.0.1:{self.ports.api}"


def etcd(site: Site) -> list[str]:
    """Arguments of etcd; without fsync, since nothing here outlives the machine."""
    client = f"http://127.0.0.1:{site.ports.etcd}"
    peer = f"http://127.0.0.1:{site.ports.etcd_peer}"
    return [
        "etcd",
        f"--data-dir={site.folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server(site: Site) -> list[str]:
    """Arguments of kube-apiserver: RBAC, ServiceAccount admission, optional audit log."""
    keys = site.certificates
    arguments = [
        "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{site.ports.etcd}",
        f"--secure-port={site.ports.api}",
        "--bind-address=127.0.0.1",
        f"--tls-cert-file={keys / 'server.crt'}",
        f"--tls-private-key-file={keys / 'server.key'}",
        f"--client-ca-file={keys / 'ca.crt'}",
        f"--service-account-key-file={keys / 'service-account.pub'}",
        f"--service-account-signing-key-file={keys / 'service-account.key'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        f"--requestheader-client-ca-file={keys / 'ca.crt'}",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={keys / 'front-proxy.crt'}",
        f"--proxy-client-key-file={keys / 'front-proxy.key'}",
    ]
    if site.node_address:
        arguments[arguments.index("--bind-address=127.0.0.1")] = "--bind-address=0.0.0.0"
        arguments += [
            f"--advertise-address={site.node_address}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-client-certificate={keys / 'admin.crt'}",
            f"--kubelet-client-key={keys / 'admin.key'}",
        ]
    if site.audit:
        arguments += [
            f"--audit-log-path={site.audit_log}",
            f"--audit-policy-file={site.folder / 'audit-policy.yaml'}",
            "--audit-log-mode=blocking-strict",
            # By default it is rotated after 100 MB, also while it is read; a soak writes more.
            "--audit-log-maxsize=100000",
        ]
    return arguments


def controllers(site: Site) -> list[str]:
    """Arguments of kube-controller-manager."""
    keys = site.certificates
    return [
        "kube-controller-manager",
        f"--kubeconfig={site.kubeconfig}",
        f"--secure-port={site.ports.controllers}",
        "--bind-address=127.0.0.1",
        "--use-service-account-credentials=false",
        f"--service-account-private-key-file={keys / 'service-account.key'}",
        f"--root-ca-file={keys / 'ca.crt'}",
        "--leader-elect=false",
        *_CONTROLLER_QPS,
        "--concurrent-deployment-syncs=20",
        "--concurrent-replicaset-syncs=20",
        *([] if site.node_address else [f"--node-monitor-grace-period={_GRACE_SECONDS}s"]),
    ]


def scheduler(site: Site) -> list[str]:
    """Arguments of kube-scheduler."""
    return [
        "kube-scheduler",
        f"--kubeconfig={site.kubeconfig}",
        f"--secure-port={site.ports.scheduler}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        *_CONTROLLER_QPS,
    ]


def kwok(site: Site) -> list[str]:
    """Arguments of kwok, which plays the kubelets of the simulated nodes."""
    return [
        "kwok",
        f"--kubeconfig={site.kubeconfig}",
        f"--config={site.folder / 'stages.yaml'}",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        f"--node-lease-duration-seconds={40 if site.node_address else _LEASE_SECONDS}",
    ]
