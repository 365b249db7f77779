"""EDGE: start the parts of a real node as processes of this machine, and load images into it."""

import functools
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import urllib3

from gameai_devcluster.api import Api
from gameai_devcluster.node import files
from gameai_devcluster.node.files import NodeSite

_WAIT_SECONDS = 60.0


class NodeError(Exception):
    """The node did not come up, or refused an image; the message says which part."""


Spawn = Callable[[str, list[str]], None]


def start(site: NodeSite, api: Api, spawn: Spawn, sandbox: Path) -> None:
    """Start what a node is made of, in order; `sandbox` is the archive of the sandbox image. Raises `NodeError`."""
    for name, text in files.files(site).items():
        file = site.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for document in files.objects():
        api.apply(document)
    commands = files.commands(site)
    spawn("containerd", commands["containerd"])
    _wait("containerd", lambda: _ctr(site, "version").returncode == 0)
    load(site, [sandbox])
    for name in ("coredns", "kube-proxy", "kubelet"):
        spawn(name, commands[name])
    for name in ("coredns", "kube-proxy", "kubelet"):
        _wait(name, functools.partial(_well, files.health_url(name)))
    _wait("the node", lambda: _ready(api))


def load(site: NodeSite, archives: Iterable[Path]) -> None:
    """Import image archives, so that pods find them without a registry. Raises `NodeError`."""
    for archive in archives:
        done = _ctr(site, "--namespace=k8s.io", "images", "import", str(archive))
        if done.returncode:
            raise NodeError(f"{archive.name} was not imported: {done.stderr.strip()[-500:]}")


def tag(site: NodeSite, image: str, other: str) -> None:
    """Give an image another name too. Raises `NodeError`."""
    done = _ctr(site, "--namespace=k8s.io", "images", "tag", "--force", image, other)
    if done.returncode:
        raise NodeError(f"{image} was not tagged: {done.stderr.strip()[-500:]}")


def _ctr(site: NodeSite, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(site.programs["ctr"]), f"--address={files.SOCKET}", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def answers() -> bool:
    """Whether a node runs on this machine."""
    return _well(files.health_url("kubelet"))


def _well(url: str) -> bool:
    try:
        return urllib3.request("GET", url, retries=False, timeout=2).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def _ready(api: Api) -> bool:
    node = api.find("Node", None, files.NAME)
    conditions = node["status"].get("conditions", []) if node else []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _wait(name: str, done: Callable[[], bool]) -> None:
    end = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < end:
        if done():
            return
        time.sleep(0.1)
    raise NodeError(
        f"{name} was not ready in {_WAIT_SECONDS:.0f} s; see its log in the cluster's folder"
    )
