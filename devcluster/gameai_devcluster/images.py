"""EDGE: container images, built once for a content, without a network inside the build, and kept as archives.

The base is a name that a registry knows, or `local`: one that is made here from Debian packages.
"""

import hashlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from packaging.requirements import Requirement

from gameai_devcluster.binary import BuildError, Progress, cache, locked
from gameai_devcluster.node.files import SANDBOX_IMAGE

ROOT = Path(__file__).resolve().parents[2]
LOCAL = "local"
_KEPT = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """What an image of ours is made of: requirements, and the files that its Dockerfile is put together from."""

    requirements: str
    files: tuple[str, ...]


_PARTS: Mapping[str, _Part] = MappingProxyType(
    {
        "gameai-operator": _Part(
            requirements="operator.txt",
            files=("operator.Dockerfile",),
        ),
        "gameai-workloads": _Part(
            requirements="workloads.txt",
            files=("workloads.Dockerfile",),
        ),
        "gameai-knowledge": _Part(
            requirements="knowledge.txt",
            files=("workloads.Dockerfile", "knowledge.Dockerfile"),
        ),
        # Stands for pgvector's own image where no registry is reached: for tests.
        "gameai-postgres": _Part(
            requirements="postgres.txt",
            files=("devcluster/postgres/Dockerfile",),
        ),
        # Replaces vLLM without GPUs: for tests.
        "gameai-double": _Part(
            requirements="workloads.txt",
            files=("workloads.Dockerfile", "devcluster/double/Dockerfile"),
        ),
    }
)
_BASE_PACKAGES = ("ca-certificates", "python-is-python3", "python3", "python3-venv")
_UNNEEDED = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "var/log",
)
_LINUX = ("manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux_2_12", "manylinux_2_5")
_ASKS_PYTHON = (
    'RUN echo "PYTHON=$(python -c \'import sys; print(*sys.version_info[:2], sep=".")\')="\n'
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """A built image: its full name, and the archive that it is kept in."""

    name: str
    archive: Path

    @property
    def megabytes(self) -> int:
        """Size of the archive, in MB."""
        return self.archive.stat().st_size >> 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Builder:
    """The program of this machine that builds images: buildah, podman or docker."""

    program: str

    def build(self, context: Path, file: Path, image: str, arguments: Mapping[str, str]) -> str:
        """Build one image; what the build said. Raises `BuildError`."""
        given = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        verb = {
            "buildah": ["build", "--isolation=chroot"],
            # A step that is taken from a cache says nothing, and what the base says is asked for.
            "docker": ["build", "--progress=plain", "--no-cache"],
            "podman": ["build", "--no-cache"],
        }
        command = [*verb[self.program], *given, f"--tag={image}", f"--file={file}"]
        return self._run(*command, str(context))

    def save(self, image: str, archive: Path) -> None:
        """Write an image into an archive. Raises `BuildError`."""
        partial = archive.with_suffix(".new")
        partial.unlink(missing_ok=True)
        if self.program == "buildah":
            self._run("push", image, f"docker-archive:{partial}:{image}")
        else:
            self._run("save", f"--output={partial}", image)
        partial.rename(archive)

    def forget(self, image: str) -> None:
        """Remove an image from the builder's own store; the archive is what is kept."""
        subprocess.run(self._command("rmi", image), check=False, capture_output=True)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            self._command(*arguments), check=False, capture_output=True, text=True
        )
        said = done.stdout + done.stderr
        if done.returncode:
            raise BuildError(f"{self.program} {arguments[0]} failed:\n{said[-2000:]}")
        return said

    def _command(self, *arguments: str) -> list[str]:
        # A store of our own, with the driver that works everywhere, beside whatever the user keeps.
        store = cache() / "buildah"
        own = ["--storage-driver=vfs", f"--root={store / 'root'}", f"--runroot={store / 'run'}"]
        return [self.program, *(own if self.program == "buildah" else []), *arguments]


def builder() -> Builder:
    """The first that works. Raises `BuildError`."""
    program = builder_there()
    if program is None:
        raise BuildError("no builder of images was found: install buildah, podman or docker")
    return Builder(program=program)


def builder_there() -> str | None:
    """The first builder of images that works. Docker without a running daemon does not count."""
    for program in ("buildah", "podman", "docker"):
        if shutil.which(program) and (program != "docker" or _docker_answers()):
            return program
    return None


def ours(
    names: Iterable[str],
    *,
    base: str,
    progress: Progress,
    prefix: str,
    tag: str = "",
    root: Path = ROOT,
) -> list[Image]:
    """Our images from the sources in `root`, named `prefix/NAME:tag` (default: a hash). Raises `BuildError`."""
    with locked(cache() / "images", "building images", progress):
        tool = builder()
        found, python = base_image(tool, base, progress)
        recipe = _Recipe(base=found, python=python, prefix=prefix, tag=tag, root=root)
        return [_ours(tool, name, recipe, progress) for name in names]


def of_program(program: Path, image: str, arguments: str = "", folder: str = "/") -> Image:
    """An image with nothing but one static program, in a folder. Raises `BuildError`."""
    named = f"{image} {arguments} {folder}".encode()
    digest = hashlib.sha256(program.read_bytes() + named).hexdigest()[:12]
    archive = _archive(program.name, digest)
    if not archive.exists():
        with tempfile.TemporaryDirectory() as scratch:
            context = Path(scratch)
            shutil.copy2(program, context / program.name)
            (context / program.name).chmod(0o755)
            entry = f'["{folder}{program.name}"{arguments}]'
            (context / "Dockerfile").write_text(
                f"FROM scratch\nCOPY {program.name} {folder}\nUSER 65532:65532\nENTRYPOINT {entry}\n"
            )
            tool = builder()
            tool.build(context, context / "Dockerfile", image, {})
            tool.save(image, archive)
            tool.forget(image)
    return Image(name=image, archive=archive)


def sandbox(program: Path) -> Image:
    """The image of every pod's sandbox. Raises `BuildError`."""
    return of_program(program, SANDBOX_IMAGE)


def wheels(requirements: Path, python: str, progress: Progress) -> tuple[Path, Path]:
    """A folder of wheels for a Python version on Linux, and the requirements that it answers. Raises `BuildError`."""
    flat = "".join(_flat(requirements.read_text(), python))
    digest = hashlib.sha256(f"{python} {platform.machine()} {flat}".encode()).hexdigest()[:16]
    folder = cache() / "wheels" / digest
    listed = folder / "requirements.txt"
    if not listed.exists():
        progress(f"  downloading wheels for Python {python}: {requirements.name}")
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "wheels").mkdir(parents=True)
        partial = folder / "requirements.new"
        partial.write_text(flat)
        _download(partial, folder / "wheels", python)
        partial.rename(listed)
    return folder / "wheels", listed


@dataclass(frozen=True, kw_only=True, slots=True)
class _Recipe:
    """What images of ours are made of, and how they are named."""

    base: str
    python: str
    prefix: str
    tag: str
    root: Path


def sources(dockerfile: str) -> list[str]:
    """What a Dockerfile copies from its sources: a former release says itself what its images are made of."""
    copied = re.findall(r"^COPY (?!--)(\S+) ", dockerfile, re.MULTILINE)
    return [each for each in copied if "/" in each]


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _ours(tool: Builder, name: str, recipe: _Recipe, progress: Progress) -> Image:
    part, root = _PARTS[name], recipe.root
    folder, listed = wheels(root / "requirements" / part.requirements, recipe.python, progress)
    with tempfile.TemporaryDirectory() as scratch:
        context = Path(scratch)
        shutil.copytree(folder, context / "wheels")
        shutil.copy2(listed, context / "requirements.txt")
        text = "".join((root / file).read_text() for file in part.files)
        for source in sources(text):
            _copy(root / source, context / source)
        digest = _digest(context, f"{text} {recipe.base} {recipe.tag}")
        image = f"{recipe.prefix}{name}:{recipe.tag or digest}"
        archive = _archive(f"{recipe.prefix.replace('/', '_')}{name}", digest)
        if not archive.exists():
            progress(f"  building {image}")
            file = context / "Dockerfile"
            file.write_text(text)
            tool.build(context, file, image, {"BASE": recipe.base})
            tool.save(image, archive)
            tool.forget(image)
            _drop_old(archive)
    return Image(name=image, archive=archive)


def base_image(tool: Builder, base: str, progress: Progress) -> tuple[str, str]:
    """Name and Python version of the base; a local one is built if it does not exist."""
    name = base
    if base == LOCAL:
        suite = _suite()
        digest = hashlib.sha256(f"{suite} {_BASE_PACKAGES} {_UNNEEDED}".encode()).hexdigest()[:12]
        name = f"localhost/gameai-base:{digest}"
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "Dockerfile"
        file.write_text(f"FROM {name}\n{_ASKS_PYTHON}")
        try:
            said = tool.build(Path(scratch), file, "localhost/gameai-asked:dev", {})
        except BuildError:
            if base != LOCAL:
                raise
            _make_base(tool, name, progress)
            said = tool.build(Path(scratch), file, "localhost/gameai-asked:dev", {})
    tool.forget("localhost/gameai-asked:dev")
    version = re.search(r"PYTHON=(3\.\d+)=", said)
    if version is None:
        raise BuildError(f"the base {name} has no `python` of version 3")
    return name, version[1]


def _make_base(tool: Builder, name: str, progress: Progress) -> None:
    progress("  making a base image from Debian packages: once, about a minute")
    with tempfile.TemporaryDirectory(dir=cache()) as scratch:
        system = Path(scratch) / "system"
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(_BASE_PACKAGES)}"]
        _call([*command, _suite(), str(system), *_mirror()])
        for unneeded in _UNNEEDED:
            shutil.rmtree(system / unneeded, ignore_errors=True)
            (system / unneeded).mkdir(parents=True)
        _call(["tar", "--create", f"--file={scratch}/system.tar", f"--directory={system}", "."])
        shutil.rmtree(system)
        file = Path(scratch) / "Dockerfile"
        file.write_text("FROM scratch\nADD system.tar /\n")
        tool.build(Path(scratch), file, name, {})


def _suite() -> str:
    """This machine's Debian, so that its package mirror has it. Raises `BuildError`."""
    release = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release").read_text().splitlines()
        if "=" in line
    )
    if release.get("ID") != "debian":
        raise BuildError(
            "a local base image is made on Debian only; elsewhere name one: make images BASE=IMAGE"
        )
    return release["VERSION_CODENAME"]


def _mirror() -> list[str]:
    """Where this machine's own packages come from; without an answer debootstrap's default."""
    command = ["apt-get", "indextargets", "--format=$(SITE)", f"Codename: {_suite()}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return sorted(set(done.stdout.split()))[:1]


def _flat(text: str, python: str) -> Iterable[str]:
    """Requirements that hold for a Python version on this kind of machine, without their markers."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.99",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": platform.machine(),
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    for line in text.replace("\\\n", " ").splitlines():
        named, *hashes = line.partition("#")[0].split(" --hash=")
        if not named.strip():
            continue
        requirement = Requirement(named.strip())
        if requirement.marker is None or requirement.marker.evaluate(environment):
            given = " ".join(f"--hash={each.strip()}" for each in hashes)
            yield f"{requirement.name}{requirement.specifier} {given}\n"


def _download(requirements: Path, target: Path, python: str) -> None:
    machine = platform.machine()
    platforms = [f"--platform={each}_{machine}" for each in _LINUX]
    _call(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--require-hashes", "--only-binary=:all:", "--implementation=cp"),
            *(f"--python-version={python}", *platforms),
            *(f"--dest={target}", f"--requirement={requirements}"),
        ]
    )


def _call(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"{command[0]} failed:\n{(done.stdout + done.stderr)[-2000:]}")


def _digest(context: Path, more: str) -> str:
    content = hashlib.sha256(more.encode())
    for file in sorted(each for each in context.rglob("*") if each.is_file()):
        content.update(str(file.relative_to(context)).encode() + b"\0" + file.read_bytes())
    return content.hexdigest()[:12]


def _archive(name: str, digest: str) -> Path:
    folder = cache() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}-{digest}.tar"


def _drop_old(archive: Path) -> None:
    stem = archive.name.rpartition("-")[0]
    made = sorted(archive.parent.glob(f"{stem}-*.tar"), key=lambda each: each.stat().st_mtime)
    for old in made[:-_KEPT]:
        old.unlink()


def _docker_answers() -> bool:
    return subprocess.run(["docker", "info"], check=False, capture_output=True).returncode == 0  # noqa: S607 - the user's own
