"""EDGE: start and stop one control plane as processes of this machine.

A cluster is a folder: configuration, data, logs, and `cluster.json` with the processes. Nothing else knows of it, so
several run side by side, and the folder alone is enough to find and stop a cluster after a crash.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import yaml

from gameai_devcluster import certificates, components, images, nodes, stages
from gameai_devcluster.api import Api, ApiError, Credentials, from_kubeconfig
from gameai_devcluster.binary import Progress, control_plane
from gameai_devcluster.components import Ports, Site
from gameai_devcluster.node import files as node_files
from gameai_devcluster.node import machine, runtime
from gameai_devcluster.node import programs as node_programs
from gameai_devcluster.node.files import NodeSite
from gameai_devcluster.processes import alive, send, start_in_background

_START_SECONDS = 60.0
_STOP_SECONDS = 3.0
_ATTEMPTS = 3
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Request", "verbs": ["delete"]},
        {"level": "Metadata", "verbs": ["create", "update", "patch", "deletecollection"]},
        {"level": "None"},
    ],
}


class StartError(Exception):
    """A component did not come up; the message holds the end of its log."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What a cluster is to have. `die_with_parent` ends it with the process that started it (Linux).

    A `real_node` takes root on Linux, and the whole machine: one at a time.
    """

    audit: bool = False
    die_with_parent: bool = False
    real_node: bool = False
    rows: tuple[nodes.NodeRow, ...] = nodes.NODES
    start_delays_ms: Mapping[str, int] = field(default_factory=lambda: stages.START_DELAYS_MS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """A running cluster: its site, and process id and start time of each component."""

    site: Site
    processes: Mapping[str, tuple[int, float]]

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.site.kubeconfig

    def api(self) -> Api:
        """A client with the administrator's rights."""
        return Api(from_kubeconfig(self.kubeconfig))

    def ready(self) -> bool:
        """Whether every component runs and the API server says it is ready."""
        return all(alive(*process) for process in self.processes.values()) and _ready(self.api())


def start(folder: Path, options: Options, progress: Progress) -> Cluster:
    """Start a cluster in `folder`. A former cluster there is stopped.

    Raises `StartError`, `BuildError`, and `MachineError` where a real node is asked for and cannot be.
    """
    binary = control_plane(progress)
    programs = node_programs.build_all(progress) if options.real_node else {}
    stop(folder)
    for attempt in range(1, _ATTEMPTS + 1):
        shutil.rmtree(folder, ignore_errors=True)
        if options.real_node:
            free_machine(folder)
            machine.prepare(node_folder(folder))
        try:
            return _start(folder, binary, options, programs, progress)
        except (StartError, runtime.NodeError):
            stop(folder)
            if attempt == _ATTEMPTS:
                raise
            progress("a component did not start; trying again on other ports")
        except BaseException:
            stop(folder)
            raise
    raise AssertionError("unreachable")


def load(folder: Path) -> Cluster | None:
    """The cluster that `folder` describes, running or not; None if absent."""
    try:
        saved = json.loads((folder / "cluster.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    ports = Ports(**saved["ports"])
    address = saved.get("node_address")
    site = Site(folder=folder, ports=ports, audit=saved["audit"], node_address=address)
    processes = {name: (pid, started) for name, (pid, started) in saved["processes"].items()}
    return Cluster(site=site, processes=processes)


def stop(folder: Path) -> bool:
    """Stop what runs of the cluster in `folder`; True if anything did.

    SIGTERM to the API server waits for open watches, so the grace is short and SIGKILL follows.
    """
    cluster = load(folder)
    if cluster is None:
        return _clean_node(folder)
    running = [psutil.Process(pid) for pid, at in cluster.processes.values() if alive(pid, at)]
    for process in running:
        send(process, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(running, timeout=_STOP_SECONDS)
    for process in stubborn:
        send(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=_STOP_SECONDS)
    return _clean_node(folder) or bool(running)


def node_folder(folder: Path) -> Path:
    """Where the real node of a cluster keeps its things."""
    return folder / "node"


def free_machine(folder: Path) -> None:
    """Clean up the node that this machine was left with. Raises `MachineError` where another checkout's runs."""
    other = machine.occupied()
    if other is None:
        return
    if other != node_folder(folder) and runtime.answers():
        raise machine.MachineError(
            f"this machine has a node already, of {other.parent}: stop it (make down there); one at a time"
        )
    stop(other.parent)


def _clean_node(folder: Path) -> bool:
    return machine.occupied() == node_folder(folder) and machine.clean()


def launch(cluster: Cluster, name: str, *, die_with_parent: bool) -> Cluster:
    """Start one component of the control plane again on its old port; the changed cluster."""
    arguments = {
        "etcd": components.etcd,
        "kube-apiserver": components.api_server,
        "kwok": components.kwok,
    }[name](cluster.site)
    binary = control_plane(print)
    process = _spawn(cluster.site, name, [str(binary), *arguments], die_with_parent=die_with_parent)
    changed = replace(cluster, processes={**cluster.processes, name: process})
    _save(changed)
    return changed


def halt(cluster: Cluster, name: str) -> None:
    """SIGKILL one component, as a crash would."""
    pid, started = cluster.processes[name]
    if alive(pid, started):
        send(psutil.Process(pid), signal.SIGKILL)
        psutil.wait_procs([psutil.Process(pid)] if alive(pid, started) else [], timeout=5)


def _start(
    folder: Path,
    binary: Path,
    options: Options,
    programs: Mapping[str, Path],
    progress: Progress,
) -> Cluster:
    began = time.monotonic()
    site = Site(
        folder=folder,
        ports=Ports(**_free_ports()),
        audit=options.audit,
        node_address=node_files.ADDRESS if options.real_node else None,
    )
    _write_files(site, options)
    started: dict[str, tuple[int, float]] = {}

    def spawn(name: str, arguments: list[str]) -> None:
        started[name] = _spawn(site, name, arguments, die_with_parent=options.die_with_parent)
        _save(Cluster(site=site, processes=dict(started)))

    spawn("etcd", [str(binary), *components.etcd(site)])
    spawn("kube-apiserver", [str(binary), *components.api_server(site)])
    cluster = Cluster(site=site, processes=started)
    api = cluster.api()
    _wait("kube-apiserver", lambda: _ready(api), cluster)
    progress(f"API server ready after {time.monotonic() - began:.1f} s")
    spawn("kube-controller-manager", [str(binary), *components.controllers(site)])
    spawn("kube-scheduler", [str(binary), *components.scheduler(site)])
    spawn("kwok", [str(binary), *components.kwok(site)])
    module = [sys.executable, "-m", "gameai_devcluster", "secrets", str(site.kubeconfig)]
    spawn("secrets", module)
    for manifest in nodes.manifests(options.rows, beside_real=options.real_node):
        api.create(manifest)
    if options.real_node:
        progress("starting a real node: containerd, kubelet, kube-proxy, CoreDNS")
        node_site = real_node(site, programs)
        runtime.start(node_site, api, spawn, images.sandbox(programs["pause"]).archive)
    _wait("kube-controller-manager", lambda: _settled(api), cluster)
    return Cluster(site=site, processes=dict(started))


def real_node(site: Site, programs: Mapping[str, Path]) -> NodeSite:
    """The real node of a cluster."""
    return NodeSite(
        folder=node_folder(site.folder),
        kubeconfig=site.kubeconfig,
        certificates=site.certificates,
        programs=programs,
    )


def _settled(api: Api) -> bool:
    """Nodes are Ready and the default ServiceAccount exists: pods can be admitted and scheduled."""
    ready = [
        any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
        for node in api.list("Node")
        if node["status"].get("conditions")
    ]
    accounts = api.find("ServiceAccount", "default", "default")
    return bool(ready) and all(ready) and len(ready) == len(api.list("Node")) and bool(accounts)


def _free_ports() -> dict[str, int]:
    names = list(Ports.__dataclass_fields__)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in names]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in zip(names, sockets, strict=True)}


def _write_files(site: Site, options: Options) -> None:
    certificates.write(site.certificates, *([site.node_address] if site.node_address else []))
    keys = site.certificates
    kubeconfig = kubeconfig_document(
        Credentials(
            server=site.server,
            ca_file=str(keys / "ca.crt"),
            certificate_file=str(keys / "admin.crt"),
            key_file=str(keys / "admin.key"),
        )
    )
    site.kubeconfig.touch(mode=0o600)
    site.kubeconfig.write_text(yaml.safe_dump(kubeconfig))
    documents = stages.documents(options.start_delays_ms)
    (site.folder / "stages.yaml").write_text(yaml.safe_dump_all(documents))
    (site.folder / "audit-policy.yaml").write_text(yaml.safe_dump(_AUDIT_POLICY))


def kubeconfig_document(credentials: Credentials) -> dict[str, Any]:
    """A kubeconfig with one cluster, one user and one context named `gameai`."""
    cluster = {"server": credentials.server, "certificate-authority": credentials.ca_file}
    user = {
        "client-certificate": credentials.certificate_file,
        "client-key": credentials.key_file,
        "token": credentials.token,
    }
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "gameai", "cluster": _present(cluster)}],
        "users": [{"name": "gameai", "user": _present(user)}],
        "contexts": [{"name": "gameai", "context": {"cluster": "gameai", "user": "gameai"}}],
        "current-context": "gameai",
    }


def _present(entries: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in entries.items() if value is not None}


def _spawn(
    site: Site, name: str, arguments: list[str], *, die_with_parent: bool
) -> tuple[int, float]:
    # A cluster of tests may take memory for time: the API server needs a fifth less of a CPU.
    environment = os.environ | {"GOGC": "300"} if die_with_parent else None
    process = start_in_background(
        arguments,
        site.folder / f"{name}.log",
        die_with_parent=die_with_parent,
        environment=environment,
    )
    return process.pid, psutil.Process(process.pid).create_time()


def _save(cluster: Cluster) -> None:
    saved = {
        "ports": asdict(cluster.site.ports),
        "audit": cluster.site.audit,
        "node_address": cluster.site.node_address,
        "processes": dict(cluster.processes),
    }
    (cluster.site.folder / "cluster.json").write_text(json.dumps(saved))


def _wait(name: str, done: Callable[[], bool], cluster: Cluster) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(ApiError, OSError):
            if done():
                return
        dead = [name for name, process in cluster.processes.items() if not alive(*process)]
        if dead:
            raise StartError(f"{dead[0]} exited: {_log_end(cluster.site, dead[0])}")
        time.sleep(0.05)
    raise StartError(
        f"{name} was not ready in {_START_SECONDS:.0f} s: {_log_end(cluster.site, name)}"
    )


def _log_end(site: Site, name: str) -> str:
    text = (site.folder / f"{name}.log").read_text(errors="replace")
    return "\n".join(text.splitlines()[-12:])


def _ready(api: Api) -> bool:
    try:
        return bool(api.request("GET", "/readyz") == "ok")
    except (ApiError, OSError):
        return False
