"""EDGE: what a node does to its machine, written down before it is done, so that it can be undone after any crash."""

import contextlib
import fcntl
import ipaddress
import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from gameai_devcluster.components import SERVICE_CIDR
from gameai_devcluster.node.files import ADDRESS, BRIDGE, CGROUP, NETWORK, POD_CIDR, RUN, SOCKET

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
# Paths that containerd, CNI and kubelet always create. Of these only what is ours, or empty, is removed.
_FIXED = (
    "/run/containerd",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/containers",
)
_LOCK = Path("/run/gameai-node.lock")
_CGROUPS = Path("/sys/fs/cgroup")
_TABLE = "kube-proxy"
_FAMILIES = ("ip", "ip6")
_KILL_SECONDS = 10.0


class MachineError(Exception):
    """This machine cannot be a node; the message says why, and what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Marker:
    """What a machine was set to before, and the folder of the node that it got."""

    folder: str
    sysctls: dict[str, str]


def occupied() -> Path | None:
    """The folder of the node that this machine has, running or left behind by a crash."""
    marker = _read()
    return Path(marker.folder) if marker else None


@contextlib.contextmanager
def hold() -> Iterator[None]:
    """Keep the machine for this process. Raises `MachineError` where another keeps it."""
    with _LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MachineError("another `make e2e` has this machine; wait for it") from None
        try:
            yield
        finally:
            _LOCK.unlink(missing_ok=True)


def check_free() -> None:
    """Raise `MachineError` where the machine is a Kubernetes node already, or our addresses are in use here."""
    if occupied() is None and any(_table_exists(family) for family in _FAMILIES):
        raise MachineError("a kube-proxy runs here: this machine is a Kubernetes node already")
    if _foreign_kubelet():
        raise MachineError("a kubelet runs here: this machine is a Kubernetes node already")
    ours = [ipaddress.ip_network(each) for each in (SERVICE_CIDR, POD_CIDR)]
    for line in _output("ip", "-4", "route").splitlines():
        words = line.split()
        if BRIDGE in words or words[0] == "default":
            continue
        with contextlib.suppress(ValueError):
            used = ipaddress.ip_network(words[0])
            if any(used.overlaps(each) for each in ours):
                raise MachineError(
                    f"{used} is in use on this machine, and the real node takes {SERVICE_CIDR} and {POD_CIDR}"
                )


def prepare(folder: Path) -> None:
    """Make the bridge and let packets through; what is changed is written down first. Raises `MachineError`."""
    try:
        RUN.mkdir(parents=True, exist_ok=True)
        marker = {"folder": str(folder), "sysctls": _settings()}
        partial = _MARKER.with_suffix(".new")
        partial.write_text(json.dumps(marker))
        partial.rename(_MARKER)
        _sysctl("net/ipv4/ip_forward").write_text("1")
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
        length = POD_CIDR.partition("/")[2]
        _run("ip", "address", "add", f"{ADDRESS}/{length}", "dev", BRIDGE)
        _run("ip", "link", "set", BRIDGE, "up")
    except (OSError, subprocess.CalledProcessError) as error:
        clean()
        raise MachineError(
            f"this machine does not permit a bridge ({error}): a container without the rights for it?"
        ) from error


def clean() -> bool:
    """Undo all changes of any run, however it ended; True if there was anything to undo."""
    marker = _read()
    if marker is None:
        return False
    folder = Path(marker.folder)
    _kill_containers(folder)
    _unmount((folder, RUN))
    _remove_network()
    _remove_cgroups()
    for name, value in marker.sysctls.items():
        with contextlib.suppress(OSError):
            _sysctl(name).write_text(value)
    _remove_fixed(folder)
    _remove_tree(folder)
    _remove_tree(RUN)
    return True


def traces(folder: Path) -> dict[str, set[str]]:
    """What a node in `folder` could leave behind: interfaces, packet rules, mounts, processes and more."""
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
        "mount": {str(each) for each in _mounts()},
        "processes": processes,
        "sysctl": {f"{name}={value}" for name, value in _settings().items()},
        "files": {each for each in (*_FIXED, str(RUN)) if Path(each).exists()},
        "cgroups": {str(each) for each in _CGROUPS.glob(f"**/{CGROUP}")},
    }


def is_ours(what: str, trace: str, folder: Path) -> bool:
    """Whether a trace is a node's, and not of something else that came up meanwhile."""
    if what == "ip link":
        return trace == BRIDGE or trace.startswith("veth")
    if what == "nft list ruleset":
        return _TABLE in trace
    if what == "mount":
        return any(Path(trace).is_relative_to(each) for each in (folder, RUN))
    return True


def _foreign_kubelet() -> bool:
    """Ours is a part of another program, and has that one's name."""
    return any(e.info["name"] in ("kubelet", "k3s") for e in psutil.process_iter(["name"]))


def _settings() -> dict[str, str]:
    there = [name for name in _SYSCTLS if _sysctl(name).exists()]
    return {name: _sysctl(name).read_text().strip() for name in there}


def _table_exists(family: str) -> bool:
    return f"table {family} {_TABLE}" in _output("nft", "list", "tables")


def _mounts() -> list[Path]:
    """Mount points; a space in one is written as an octal number."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [Path(re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), e.split()[1])) for e in lines]


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
    """Processes with the root file system of one of our containers; one of our mounts is not enough."""
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{process.pid}/mountinfo").read_text().splitlines()
            roots = [line for line in lines if line.split()[4] == "/"]
            if any(f"upperdir={folder}/" in line for line in roots):
                yield process


def _unmount(roots: Sequence[Path]) -> None:
    for mount in sorted(_mounts(), key=lambda each: len(str(each)), reverse=True):
        if any(mount.is_relative_to(root) for root in roots):
            _try("umount", "--lazy", str(mount))


def _remove_network() -> None:
    attached = _output("ip", "link", "show", "master", BRIDGE)
    for name in re.findall(r"^\d+: ([^:@]+)", attached, re.MULTILINE):
        _try("ip", "link", "delete", name)
    _try("ip", "link", "delete", BRIDGE)
    for family in _FAMILIES:
        _try("nft", "delete", "table", family, _TABLE)


def _remove_cgroups() -> None:
    """From the inside out, for a folder of cgroups cannot be removed with others in it."""
    for top in _CGROUPS.glob(f"**/{CGROUP}"):
        for below in sorted(top.glob("**/"), key=lambda each: len(str(each)), reverse=True):
            with contextlib.suppress(OSError):
                below.rmdir()


def _remove_fixed(folder: Path) -> None:
    """What is ours in folders of fixed names, then those that are empty."""
    for left in _entries(folder):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
    for fixed in map(Path, _FIXED):
        for below in sorted(fixed.glob("**/"), key=lambda each: len(str(each)), reverse=True):
            with contextlib.suppress(OSError):
                below.rmdir()


def _entries(folder: Path) -> Iterator[Path]:
    yield from Path("/var/lib/cni/results").glob(f"{NETWORK}-*")
    for link in Path("/var/log/containers").glob("*"):
        if link.is_symlink() and link.readlink().is_relative_to(folder):
            yield link
    if not Path("/run/containerd/containerd.sock").exists():
        # Not another containerd: sockets of shims and container records have no owner left.
        yield from (Path("/run/containerd") / each for each in ("s", "runc/k8s.io"))
        yield from Path("/var/lib/cni/results").glob("cni-loopback-*")
    if not _foreign_kubelet():
        yield Path("/var/lib/kubelet/device-plugins/kubelet.sock")


def _remove_tree(folder: Path) -> None:
    """A folder with a mount below is left as it is: what is mounted there may be somebody's data."""
    if not any(mount.is_relative_to(folder) for mount in _mounts()):
        shutil.rmtree(folder, ignore_errors=True)
