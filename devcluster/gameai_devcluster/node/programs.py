"""EDGE: the programs of a real node, and the Debian packages that it takes beside them."""

import ctypes.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from gameai_devcluster.binary import KUBERNETES_VERSION, VERSIONED, Program, Progress, built
from gameai_devcluster.images import builder_there
from gameai_devcluster.node import machine
from gameai_devcluster.node.machine import MachineError

NODE = Program(
    name="node",
    package="./node",
    about=f"kubelet and kube-proxy {KUBERNETES_VERSION}: half a minute after the control plane",
    link_flags=VERSIONED,
)
PAUSE = Program(name="pause", package="./pause", about="the sandbox's program: a few seconds")
DUEL = Program(name="duel", package="./duel", about="a game service of somebody else: 10 seconds")
_CONTAINERD = "github.com/containerd/containerd/v2/cmd/{}@v2.4.2"
CONTAINERD = Program(
    name="containerd", package=_CONTAINERD.format("containerd"), about="containerd 2.4.2: a minute"
)
SHIM = Program(
    name="containerd-shim-runc-v2",
    package=_CONTAINERD.format("containerd-shim-runc-v2"),
    about="containerd's shim: 20 seconds",
)
CTR = Program(
    name="ctr", package=_CONTAINERD.format("ctr"), about="containerd's client: 10 seconds"
)
RUNC = Program(
    name="runc",
    package="github.com/opencontainers/runc@v1.4.0",
    about="runc 1.4.0: 15 seconds",
    tags="seccomp",
    c_code=True,
)
COREDNS = Program(
    name="coredns", package="github.com/coredns/coredns@v1.15.0", about="CoreDNS 1.15: 2 minutes"
)
ALL = (NODE, PAUSE, DUEL, CONTAINERD, SHIM, CTR, RUNC, COREDNS)
PLUGINS = Path("/usr/lib/cni")


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """Something that must be there before programs are built, and the Debian package that brings it."""

    package: str
    there: bool


def needs() -> list[Need]:
    """What a node takes beside Go, and whether it is there."""
    commands = {
        "gcc": "gcc",
        "pkg-config": "pkg-config",
        "ip": "iproute2",
        "nft": "nftables",
        "conntrack": "conntrack",
        "debootstrap": "debootstrap",
        "git": "git",
    }
    return [
        *(Need(package=package, there=bool(_which(name))) for name, package in commands.items()),
        Need(package="libc6-dev", there=Path("/usr/include/stdlib.h").exists()),
        Need(package="libseccomp-dev", there=Path("/usr/include/seccomp.h").exists()),
        Need(package="libseccomp2", there=bool(ctypes.util.find_library("seccomp"))),
        Need(package="containernetworking-plugins", there=(PLUGINS / "bridge").exists()),
        Need(package="buildah", there=builder_there() is not None),
    ]


def missing_packages() -> list[str]:
    """Debian packages that this machine lacks."""
    return [each.package for each in needs() if not each.there]


def check_rights() -> None:
    """Raise `MachineError` if this machine cannot be a node."""
    if sys.platform != "linux":
        raise MachineError(
            "a real node needs Linux; on another system name a cluster: make e2e CLUSTER=path/to/kubeconfig"
        )
    if os.geteuid() != 0:
        raise MachineError(
            "a real node needs root (sudo make e2e); without it name a cluster: make e2e CLUSTER=path/to/kubeconfig"
        )


def check_machine() -> None:
    """Raise `MachineError` where no real node can run."""
    check_rights()
    if lacking := missing_packages():
        raise MachineError(f"packages are missing: {' '.join(lacking)}. Run: make e2e-packages")
    machine.check_free()


def build_all(progress: Progress) -> dict[str, Path]:
    """Every program of a node, built or found; paths by name."""
    return {each.name: built(each, progress) for each in ALL}


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
