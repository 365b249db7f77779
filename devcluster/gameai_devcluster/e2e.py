"""`make e2e`: our images and charts on a real node beside simulated GPU nodes, or on any other cluster.

Exit codes: 0 passed, 1 failed, 3 this machine cannot be a node (it says what is missing and how to get it).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml
from gameai_operator.api.database import DEFAULT_IMAGE as POSTGRES_IMAGE

from gameai_devcluster import charts, cluster, images, install, vllm
from gameai_devcluster.api import from_kubeconfig
from gameai_devcluster.binary import BuildError
from gameai_devcluster.broker import SERVER
from gameai_devcluster.node import machine, programs, runtime
from gameai_devcluster.node.machine import MachineError
from gameai_devcluster.node.runtime import NodeError

CANNOT = 3
FOLDER = install.ROOT / ".dev" / "e2e"
REGISTRY = "registry.example/gameai"
# The example of an own image names it so.
DUEL_IMAGE = "registry.example/duel-judge:1.2"
_VLLM_IMAGE = f"{REGISTRY}/vllm-openai:v{vllm.VERSION}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """Input of the tests: a kubeconfig, our images, and where evidence of failures goes.

    On a cluster of our own (`real_node`) simulated GPU nodes stand beside the real one, `audit_log` records every
    write, and `former` are images and charts of an earlier commit. With `vllm_image` only the tests of a real engine run.
    """

    kubeconfig: str
    folder: str
    registry: str
    operator_tag: str
    workloads_tag: str
    knowledge_tag: str
    double_image: str
    real_node: bool = False
    audit_log: str = ""
    former: str = ""
    former_operator_tag: str = ""
    vllm_image: str = ""
    duel_image: str = DUEL_IMAGE


def read(file: Path) -> Environment:
    """The environment that a run wrote down."""
    return Environment(**json.loads(file.read_text()))


def tag(image: str, other: str) -> None:
    """Give an image of the running cluster's real node another name too. Raises `MachineError`."""
    running = cluster.load(FOLDER / "cluster")
    if running is None:
        raise MachineError("no cluster of our own runs")
    runtime.tag(cluster.real_node(running.site, programs.build_all(_say)), image, other)


def main() -> int:
    """Run the end-to-end tests; see the module for exit codes."""
    options = _parser().parse_args()
    began = time.monotonic()
    try:
        failed = _elsewhere(options) if options.cluster else _held(options)
    except MachineError as error:
        print(f"error: {error}", file=sys.stderr)
        return CANNOT
    except (BuildError, NodeError, cluster.StartError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _say(f"e2e: {'FAILED' if failed else 'passed'} in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="e2e", description=__doc__)
    parser.add_argument("--cluster", type=Path, help="kubeconfig of another cluster")
    parser.add_argument("--registry", default="", help="where the other cluster finds our images")
    parser.add_argument("--tag", default="", help="their tag there")
    parser.add_argument(
        "--vllm", action="store_true", help="instead: a real vLLM on CPUs in our own pod (6 GB)"
    )
    parser.add_argument("--duel", default=DUEL_IMAGE, help="there: the own image of examples/")
    parser.add_argument("--base", default=images.LOCAL, help="base of our images (default local)")
    parser.add_argument("--keep", action="store_true", help="leave the cluster running")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    return parser


def _say(text: str) -> None:
    print(text, flush=True)


def _elsewhere(options: argparse.Namespace) -> bool:
    if not options.cluster.is_file():
        raise MachineError(
            f"CLUSTER={options.cluster} is not a file: set it to the path of a kubeconfig"
        )
    if not (options.registry and options.tag):
        raise MachineError(
            "another cluster needs our images in a registry that it reaches: make images TAG=0.1.0 DOUBLE=1, push "
            "all four, then make e2e CLUSTER=… REGISTRY=registry.example/studio TAG=0.1.0 DUEL=IMAGE"
        )
    FOLDER.mkdir(parents=True, exist_ok=True)
    environment = Environment(
        kubeconfig=str(options.cluster.resolve()),
        folder=str(FOLDER),
        registry=options.registry,
        duel_image=options.duel or DUEL_IMAGE,
        operator_tag=options.tag,
        workloads_tag=options.tag,
        knowledge_tag=options.tag,
        double_image=f"{options.registry}/gameai-double:{options.tag}",
    )
    return _pytest(environment, options.pytest)


def _held(options: argparse.Namespace) -> bool:
    programs.check_rights()
    with machine.hold():
        return _here(options)


def _here(options: argparse.Namespace) -> bool:
    stages = _Stages()
    # What a run left behind that was killed; it must not count as having been here before.
    cluster.free_machine(FOLDER / "cluster")
    cluster.stop(FOLDER / "cluster")
    programs.check_machine()
    before = machine.traces(FOLDER / "cluster")
    stages.done("clean up")
    made = images.ours(
        (
            "gameai-operator",
            "gameai-workloads",
            "gameai-double",
            "gameai-knowledge",
            "gameai-postgres",
        ),
        base=options.base,
        progress=_say,
        prefix=f"{REGISTRY}/",
    )
    for image in made:
        _say(f"  {image.name}: {image.megabytes} MB")
    former = _former(options.base)
    engine = [vllm.image(_VLLM_IMAGE, _say)] if options.vllm else []
    stages.done("images")
    wanted = cluster.Options(real_node=True, audit=True, die_with_parent=not options.keep)
    running = cluster.start(FOLDER / "cluster", wanted, _say)
    stages.done("programs and cluster")
    try:
        built = programs.build_all(_say)
        site = cluster.real_node(running.site, built)
        duel = images.of_program(built["duel"], DUEL_IMAGE)
        own = (*made, duel, _nats(), *engine)
        runtime.load(site, [*(each.archive for each in own), *former.archives])
        stages.done("load images")
        runtime.tag(site, made[4].name, f"{REGISTRY}/{POSTGRES_IMAGE}")
        environment = Environment(
            kubeconfig=str(running.kubeconfig),
            folder=str(FOLDER),
            registry=REGISTRY,
            operator_tag=_tag(made[0]),
            workloads_tag=_tag(made[1]),
            knowledge_tag=_tag(made[3]),
            double_image=made[2].name,
            real_node=True,
            audit_log=str(running.site.audit_log),
            former=former.folder,
            former_operator_tag=former.tag,
            vllm_image=_VLLM_IMAGE if options.vllm else "",
        )
        failed = _pytest(environment, options.pytest)
        stages.done("tests")
    finally:
        if not options.keep:
            cluster.stop(FOLDER / "cluster")
    left = [] if options.keep else _left(before)
    stages.done("stop")
    stages.show()
    return failed or bool(left)


def _nats() -> images.Image:
    """The servers of the event bus, by the name that the chart has for NATS' own image, which is not reached here."""
    values = yaml.safe_load((charts.OPERATOR / "values.yaml").read_text())
    name = f"{REGISTRY}/{values['bus']['managed']['image']}"
    return images.of_program(SERVER, name, folder="/usr/local/bin/")


def _left(before: dict[str, set[str]]) -> list[str]:
    """What is there now and was not before; what others did meanwhile is reported and does not count."""
    folder = FOLDER / "cluster"
    after = machine.traces(folder)
    new = [(what, each) for what in before for each in sorted(after[what] - before[what])]
    left = [f"{what}: {each}" for what, each in new if machine.is_ours(what, each, folder)]
    for what, each in new:
        said = "left behind" if machine.is_ours(what, each, folder) else "came up meanwhile"
        _say(f"{said}: {what}: {each}")
    if not left:
        _say("nothing left behind: interfaces, packet rules, mounts, processes, settings as before")
    return left


def _pytest(environment: Environment, arguments: list[str]) -> bool:
    file = FOLDER / "environment.json"
    file.write_text(json.dumps(asdict(environment)))
    try:
        from_kubeconfig(Path(environment.kubeconfig))
    except ValueError as error:
        raise MachineError(str(error)) from error
    command = [sys.executable, "-u", "-m", "pytest", "-v", "tests/e2e", f"--e2e={file}", *arguments]
    return subprocess.run(command, check=False, cwd=install.ROOT).returncode != 0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Former:
    """What upgrades are tested from: charts of a commit, and the operator's image; empty if absent."""

    folder: str = ""
    tag: str = ""
    archives: tuple[Path, ...] = ()


def _former(base: str) -> _Former:
    """The last tag, else the oldest commit that has charts and Dockerfiles."""
    if _git("rev-parse", "--is-shallow-repository") == "true":
        _say(
            "NOT TESTED: upgrades, for a shallow clone has no former commit: git fetch --unshallow"
        )
        return _Former()
    commit, folder = _former_commit(), FOLDER / "former"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "archive", commit],  # noqa: S607 - from the PATH of the developer
        check=True,
        capture_output=True,
        cwd=install.ROOT,
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)  # noqa: S607 - same
    _say(f"upgrades are tested from {commit[:10]}")
    [made] = images.ours(
        ("gameai-operator",),
        base=base,
        progress=_say,
        prefix=f"{REGISTRY}/former-",
        root=folder,
    )
    return _Former(folder=str(folder), tag=_tag(made), archives=(made.archive,))


def _former_commit() -> str:
    tags = _git("tag", "--sort=-creatordate", "--merged", "HEAD~1")
    if tags:
        return _git("rev-list", "-1", tags.split()[0])
    commits = _git("log", "--format=%H", "--diff-filter=A", "--", "operator.Dockerfile").split()
    if not commits:
        raise MachineError("no commit has operator.Dockerfile: run this in a git checkout")
    return commits[-1]


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],  # noqa: S607 - from the PATH of the developer
        check=False,
        capture_output=True,
        text=True,
        cwd=install.ROOT,
    )
    return done.stdout.strip()


def _tag(image: images.Image) -> str:
    return image.name.rpartition(":")[2]


class _Stages:
    """How long each part took."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()
        self._rows: list[tuple[str, float]] = []

    def done(self, name: str) -> None:
        now = time.monotonic()
        self._rows.append((name, now - self._last))
        self._last = now

    def show(self) -> None:
        for name, seconds in self._rows:
            _say(f"  {name:<22} {seconds:6.1f} s")


if __name__ == "__main__":
    os.umask(0o022)
    # Where a plain `su` to root leaves it out, nft and debootstrap are not found.
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    sys.exit(main())
