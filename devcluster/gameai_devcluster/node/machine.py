"""EDGE: what a node does to its machine, written down before it is done, so that it can be undone after any crash."""

import contextlib
import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from gameai_devcluster.node.files import ADDRESS, BRIDGE, NETWORK, POD_CIDR, RUN, SOCKET

_MARKER = RUN / "node.json"
# What a kubelet and we set; kept and given back.
_SYSCTLS = (
    "net/ipv4/ip_forward",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
# Folders of fixed names that containerd, CNI and kubelet use whatever they are told.
_FIXED = ("/run/containerd", "/var/lib/cni", "/var/log/containers", "/run/runc")
_TABLES = ("ip", "ip6")
_KILL_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Marker:
    """What a machine was like before, and the folder of the node that it got."""

    folder: str
    sysctls: dict[str, str]
    existed: list[str]


def occupied() -> Path | None:
    """The folder of the node that this machine has, running or left behind by a crash."""
    marker = _read()
    return Path(marker.folder) if marker else None


def prepare(folder: Path) -> None:
    """Make the bridge and let packets through; everything that is changed is written down first."""
    RUN.mkdir(parents=True, exist_ok=True)
    values = {
        name: _sysctl(name).read_text().strip() for name in _SYSCTLS if _sysctl(name).exists()
    }
    existed = [each for each in _FIXED if Path(each).exists()]
    marker = {"folder": str(folder), "sysctls": values, "existed": existed}
    partial = _MARKER.with_suffix(".new")
    partial.write_text(json.dumps(marker))
    partial.rename(_MARKER)
    _sysctl("net/ipv4/ip_forward").write_text("1")
    _run("ip", "link", "add", BRIDGE, "type", "bridge")
    _run("ip", "address", "add", f"{ADDRESS}/{POD_CIDR.partition('/')[2]}", "dev", BRIDGE)
    _run("ip", "link", "set", BRIDGE, "up")


def clean() -> bool:
    """Undo all of it, whoever did it and however it ended; True if there was anything to undo."""
    marker = _read()
    if marker is None:
        return False
    folder = Path(marker.folder)
    _kill_containers(folder)
    _unmount((str(folder), str(RUN), *_missing(marker)))
    _remove_network()
    _remove_cgroups(folder)
    for name, value in marker.sysctls.items():
        with contextlib.suppress(OSError):
            _sysctl(name).write_text(value)
    for left in _missing(marker):
        shutil.rmtree(left, ignore_errors=True)
    _remove_results()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(RUN, ignore_errors=True)
    return True


def traces(folder: Path) -> dict[str, set[str]]:
    """What a node in `folder` could leave behind: interfaces, packet rules, mounts, processes, settings, files."""
    processes = {
        f"{each.info['name']} {' '.join(each.info['cmdline'] or [])[:120]}"
        for each in psutil.process_iter(["name", "cmdline"])
        if _of(each, folder)
    }
    return {
        "ip link": set(re.findall(r"^\d+: ([^:@]+)", _output("ip", "link"), re.MULTILINE)),
        "nft list ruleset": set(
            re.findall(r"^table .*$", _output("nft", "list", "ruleset"), re.MULTILINE)
        ),
        "mount": {line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()},
        "processes": processes,
        "sysctl": {
            f"{name}={_sysctl(name).read_text().strip()}"
            for name in _SYSCTLS
            if _sysctl(name).exists()
        },
        "files": {each for each in (*_FIXED, str(RUN)) if Path(each).exists()},
    }


def _missing(marker: Marker) -> list[str]:
    return [each for each in _FIXED if each not in marker.existed]


def _read() -> Marker | None:
    try:
        saved = json.loads(_MARKER.read_text())
    except FileNotFoundError:
        return None
    return Marker(**saved)


def _sysctl(name: str) -> Path:
    return Path("/proc/sys") / name


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _try(*command: str) -> None:
    subprocess.run(command, check=False, capture_output=True)


def _output(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout


def _of(process: psutil.Process, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        words = " ".join(process.cmdline())
        return str(RUN) in words or str(folder) in words
    return False


def _kill_containers(folder: Path) -> None:
    """Shims first, for they would report; then whatever lives on a root file system of ours."""
    end = time.monotonic() + _KILL_SECONDS
    while time.monotonic() < end:
        found = [*_shims(), *_contained(folder)]
        if not found:
            return
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(found, timeout=1.0)


def _shims() -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if str(SOCKET) in words:
            yield process
            with contextlib.suppress(psutil.Error):
                yield from process.children(recursive=True)


def _contained(folder: Path) -> Iterator[psutil.Process]:
    own = Path("/proc/self/ns/mnt").readlink()
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            elsewhere = Path(f"/proc/{process.pid}/ns/mnt").readlink() != own
            if elsewhere and str(folder) in Path(f"/proc/{process.pid}/mountinfo").read_text():
                yield process


def _unmount(roots: tuple[str, ...]) -> None:
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted(mounts, key=len, reverse=True):
        if any(mount == root or mount.startswith(f"{root}/") for root in roots):
            _try("umount", "--lazy", mount)


def _remove_network() -> None:
    for name in re.findall(
        r"^\d+: ([^:@]+)", _output("ip", "link", "show", "master", BRIDGE), re.MULTILINE
    ):
        _try("ip", "link", "delete", name)
    _try("ip", "link", "delete", BRIDGE)
    for family in _TABLES:
        _try("nft", "delete", "table", family, "kube-proxy")


def _remove_cgroups(folder: Path) -> None:
    """Folders of cgroups are removed from the inside out; those of pods have the pod's uid in their name."""
    pods = folder / "kubelet" / "pods"
    uids = [each.name for each in pods.iterdir()] if pods.exists() else []
    for top in Path("/sys/fs/cgroup").glob("**/pod*"):
        if any(uid in top.name for uid in uids):
            for below in sorted(top.glob("**/"), key=lambda each: len(str(each)), reverse=True):
                with contextlib.suppress(OSError):
                    below.rmdir()


def _remove_results() -> None:
    """CNI remembers what it gave to whom, in a folder of fixed name."""
    for result in Path("/var/lib/cni/results").glob(f"{NETWORK}-*"):
        result.unlink(missing_ok=True)
