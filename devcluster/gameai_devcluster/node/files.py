"""PURE: what the parts of a real node read, and their command lines. One node to a machine, so names and addresses are fixed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = "real-0"
BRIDGE = "gameai0"
ADDRESS = "10.244.0.1"
POD_CIDR = "10.244.0.0/24"
DNS_ADDRESS = "10.0.0.10"
NETWORK = "gameai-dev"
CGROUP = "gameai-node"
SANDBOX_IMAGE = "localhost/gameai-pause:dev"
# Unix sockets have short names, and a checkout may lie deep.
RUN = Path("/run/gameai-node")
SOCKET = RUN / "containerd.sock"
_HEALTH = {"kubelet": 20248, "kube-proxy": 20256, "coredns": 20281}
_DOMAIN = "cluster.local"

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeSite:
    """Where a node keeps its things: its folder, the cluster's kubeconfig and certificates, programs by name."""

    folder: Path
    kubeconfig: Path
    certificates: Path
    programs: Mapping[str, Path]


def health_url(component: str) -> str:
    """Where a component says that it is well."""
    path = "ready" if component == "coredns" else "healthz"
    return f"http://127.0.0.1:{_HEALTH[component]}/{path}"


def files(site: NodeSite) -> dict[str, str]:
    """Every file by its name in the node's folder."""
    return {
        "containerd.toml": _containerd(site),
        "cni/10-gameai.conflist": json.dumps(_network(site)),
        "kubelet.yaml": json.dumps(_kubelet(site)),
        "Corefile": _corefile(site),
    }


def commands(site: NodeSite) -> dict[str, list[str]]:
    """Command lines, in the order in which they are started."""
    program = {name: str(path) for name, path in site.programs.items()}
    return {
        "containerd": [program["containerd"], f"--config={site.folder / 'containerd.toml'}"],
        "coredns": [program["coredns"], f"-conf={site.folder / 'Corefile'}"],
        "kube-proxy": [
            program["node"],
            "kube-proxy",
            f"--kubeconfig={site.kubeconfig}",
            f"--hostname-override={NAME}",
            "--proxy-mode=nftables",
            f"--cluster-cidr={POD_CIDR}",
            # An answer between two pods of one bridge would not come back through the host, which translated the address.
            "--masquerade-all",
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
            f"--healthz-bind-address=127.0.0.1:{_HEALTH['kube-proxy']}",
            "--metrics-bind-address=127.0.0.1:20249",
        ],
        "kubelet": [
            program["node"],
            "kubelet",
            f"--kubeconfig={site.kubeconfig}",
            f"--config={site.folder / 'kubelet.yaml'}",
            f"--root-dir={site.folder / 'kubelet'}",
            f"--cert-dir={site.folder / 'kubelet' / 'pki'}",
            f"--hostname-override={NAME}",
            f"--node-ip={ADDRESS}",
            "--node-labels=topology.kubernetes.io/zone=us-east-1a,gameai.dev/node=real",
        ],
    }


def objects() -> list[Document]:
    """The DNS Service that pods know, in front of a server of the machine itself."""
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}]
    ports += [{"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    name = {"name": "kube-dns", "namespace": "kube-system"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**name, "labels": {"k8s-app": "kube-dns"}},
            "spec": {"clusterIP": DNS_ADDRESS, "ports": ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**name, "labels": {"kubernetes.io/service-name": "kube-dns"}},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": True}}],
        },
    ]


def _containerd(site: NodeSite) -> str:
    folder, programs = site.folder, site.programs
    return f"""version = 3
root = "{folder / "containerd"}"
state = "{RUN / "containerd"}"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder / "opt"}"
[plugins."io.containerd.nri.v1.nri"]
  # Its socket has a fixed name, which may be another containerd's.
  disable = true
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{SANDBOX_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
  # Where the machine lacks CAP_SYS_RESOURCE a container could not be made otherwise.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "{folder / "cni"}"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  runtime_path = "{programs["containerd-shim-runc-v2"]}"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
    BinaryName = "{programs["runc"]}"
"""


def _network(site: NodeSite) -> Document:
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(site.folder / "addresses"),
            "ranges": [[{"subnet": POD_CIDR}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return {"cniVersion": "1.0.0", "name": NETWORK, "plugins": [bridge]}


def _kubelet(site: NodeSite) -> Document:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(site.certificates / "ca.crt")},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "address": ADDRESS,
        "port": 20250,
        "healthzPort": _HEALTH["kubelet"],
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": _DOMAIN,
        "resolvConf": "",
        "podLogsDir": str(site.folder / "logs"),
        "volumePluginDir": str(site.folder / "volume-plugins"),
        "maxPods": 100,
        # The machine's owner decides how much is reserved, how cgroups lie and whether there is swap.
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "cgroupRoot": f"/{CGROUP}",
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "evictionHard": {},
        "localStorageCapacityIsolation": False,
        "makeIPTablesUtilChains": False,
        "serializeImagePulls": False,
        # A changed configuration reaches pods sooner than on a cluster of thousands.
        "syncFrequency": "10s",
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "nodeStatusUpdateFrequency": "5s",
    }


def _corefile(site: NodeSite) -> str:
    return f""".:53 {{
    bind {ADDRESS}
    errors
    ready 127.0.0.1:{_HEALTH["coredns"]}
    kubernetes {_DOMAIN} in-addr.arpa {{
        kubeconfig {site.kubeconfig} gameai
        ttl 5
    }}
    cache 30
}}
"""
