"""`python -m gameai_devcluster up | down | status | postgres | bus | story | build | images | missing-packages | secrets`."""

import argparse
import asyncio
import json
import signal
import sys
import threading
from pathlib import Path

from gameai_devcluster import cluster, images, laptop_bus, operators, postgres, secrets, story
from gameai_devcluster.api import Api, from_kubeconfig
from gameai_devcluster.binary import (
    KARPENTER,
    KEDA_ADAPTER,
    KEDA_OPERATOR,
    BuildError,
    built,
    control_plane,
)
from gameai_devcluster.node import programs

_BASE = "docker.io/library/python:3.13-slim-bookworm"
_WORLD = "games/eldermoor"
DEFAULT_FOLDER = Path(".dev/cluster")


def main() -> int:
    """Run one command; 0 when it did what it says."""
    options = _parser().parse_args()
    try:
        return int(options.run(options))
    except (BuildError, cluster.StartError, TimeoutError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gameai_devcluster", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="start a cluster, or keep the one that runs")
    up.add_argument("--audit", action="store_true", help="keep an audit log of all writes")
    up.set_defaults(run=_up)
    down = commands.add_parser("down", help="stop it")
    down.set_defaults(run=_down)
    status = commands.add_parser("status", help="say whether it runs")
    status.set_defaults(run=_status)
    for command in (up, down, status):
        command.add_argument(
            "--folder", type=Path, default=DEFAULT_FOLDER, help="the cluster's folder"
        )
    _add_servers(commands)
    build = commands.add_parser("build", help="build the control plane's binary, or find it")
    build.add_argument(
        "--integrations", action="store_true", help="KEDA and Karpenter too: make test-integrations"
    )
    build.set_defaults(run=_build)
    lacking = commands.add_parser(
        "missing-packages", help="Debian packages a real node still takes"
    )
    lacking.set_defaults(run=_missing_packages)
    made = commands.add_parser("images", help="build the images of operator and game services")
    made.add_argument("--base", default=_BASE, help=f"base image, or local (default {_BASE})")
    made.add_argument("--prefix", default="", help="what stands before their names")
    made.add_argument("--double", action="store_true", help="the double of vLLM too: for make e2e")
    made.add_argument("--tag", default="", help="their tag (default: a hash of what is in them)")
    made.set_defaults(run=_images)
    waits = commands.add_parser("secrets", help="(internal) play the kubelets' look at Secrets")
    waits.add_argument("kubeconfig", type=Path)
    waits.set_defaults(run=_secrets)
    return parser


def _add_servers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """What a laptop runs without a cluster."""
    database = commands.add_parser(
        "postgres", help="run Postgres with pgvector and a database named memory, until Ctrl-C"
    )
    database.add_argument("--folder", type=Path, default=Path(".dev/postgres"), help="its data")
    database.add_argument("--port", type=int, default=5433, help="its port (default 5433)")
    database.set_defaults(run=_postgres)
    events = commands.add_parser(
        "bus", help="run an event bus, and print what is published on it, until Ctrl-C"
    )
    events.add_argument("--folder", type=Path, default=Path(".dev/bus"), help="its data")
    events.add_argument("--port", type=int, default=4222, help="its port (default 4222)")
    events.add_argument(
        "--types",
        action="append",
        default=[],
        metavar="MODULE",
        help="a generated module with event types of your own, such as guild_pb2; may be given more than once",
    )
    events.set_defaults(run=_bus)
    tale = commands.add_parser(
        "story", help="run a storyteller with a memory and a gateway, until Ctrl-C"
    )
    tale.add_argument("--folder", type=Path, default=Path(".dev/story"), help="its data and logs")
    tale.add_argument("--port", type=int, default=50053, help="its port (default 50053)")
    tale.add_argument(
        "--lore", type=Path, default=story.LORE, help="folder of Markdown (default: sample lore)"
    )
    tale.add_argument(
        "--chronicle",
        type=Path,
        help="folder of Markdown of the world alone (default: the sample's, with the sample lore)",
    )
    tale.add_argument(
        "--engine",
        default="",
        help="host:port of vLLM or another OpenAI-compatible server (default: a simulator without a model)",
    )
    tale.add_argument("--model", default="", help="the model's name in --engine")
    tale.set_defaults(run=_story)


def _say(text: str) -> None:
    print(text, flush=True)


def _up(options: argparse.Namespace) -> int:
    folder = options.folder.resolve()
    running = cluster.load(folder)
    if running is None or not running.ready():
        running = cluster.start(folder, cluster.Options(audit=options.audit), _say)
    _say(f"API server: {running.site.server}\nkubeconfig: {running.kubeconfig}")
    return 0


def _down(options: argparse.Namespace) -> int:
    folder = options.folder.resolve()
    beside = folder.parent / "e2e" / "cluster"
    stopped = [
        operators.stop_remembered(folder.parent / "operator.json"),
        cluster.stop(folder),
        cluster.stop(beside),
    ]
    _say("stopped" if any(stopped) else "nothing was running")
    return 0


def _status(options: argparse.Namespace) -> int:
    running = cluster.load(options.folder.resolve())
    ready = running is not None and running.ready()
    _say("ready" if ready else "not running")
    return 0 if ready else 1


def _postgres(options: argparse.Namespace) -> int:
    running = postgres.start(options.folder.resolve(), options.port)
    try:
        _say(f"{running.database('memory')}\nserving until Ctrl-C; data stays in {running.folder}")
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    finally:
        running.stop()
    return 0


def _bus(options: argparse.Namespace) -> int:
    # As `python -m` has it: the modules are those of the folder from which this is called.
    sys.path.insert(0, str(Path.cwd()))
    try:
        types = laptop_bus.types_of(options.types)
    except (ImportError, ValueError) as error:
        _say(f"error: --types: {error}")
        return 2
    with laptop_bus.running(options.folder.resolve(), options.port) as server:
        place = json.dumps({"endpoint": f"127.0.0.1:{server.port}", "world": "laptop"})
        _say(f'for world.json: "bus": {place}\nprinting events until Ctrl-C')
        asyncio.run(laptop_bus.printed_until_stopped(server.url, types, _say))
    return 0


def _story(options: argparse.Namespace) -> int:
    if bool(options.engine) != bool(options.model):
        _say("error: give --engine and --model together, or neither")
        return 2
    sample = options.lore == story.LORE
    chronicle = options.chronicle or (story.CHRONICLE if sample else None)
    for folder in filter(None, (options.lore, chronicle)):
        if not folder.is_dir():
            _say(f"error: {folder} is not a folder: give one with Markdown files")
            return 2
    chosen = story.Options(
        lore=options.lore.resolve(),
        chronicle=chronicle.resolve() if chronicle else None,
        engine=options.engine,
        model=options.model,
        port=options.port,
    )
    # Not blocked: the processes that it starts would inherit that, and could not be stopped.
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    document = story.world(_WORLD)
    with story.laptop(options.folder.resolve(), document, _say, chosen) as service:
        _say(f"storyteller of {_WORLD} on {service.endpoint}, until Ctrl-C")
        question = "What does a cart pay at Tamrel bridge?"
        _say(f'ask it: .venv/bin/python examples/laptop/story.py "{question}" {service.endpoint}')
        stop.wait()
    return 0


def _build(options: argparse.Namespace) -> int:
    _say(str(control_plane(_say)))
    for each in (KEDA_OPERATOR, KEDA_ADAPTER, KARPENTER) if options.integrations else ():
        _say(str(built(each, _say)))
    return 0


def _missing_packages(_: argparse.Namespace) -> int:
    _say(" ".join(programs.missing_packages()))
    return 0


def _images(options: argparse.Namespace) -> int:
    double = ("gameai-double",) if options.double else ()
    names = ("gameai-operator", "gameai-workloads", "gameai-knowledge", *double)
    made = images.ours(
        names, base=options.base, progress=_say, prefix=options.prefix, tag=options.tag
    )
    for image in made:
        _say(f"{image.name}  {image.megabytes} MB  {image.archive}")
    _say(
        "To use one: docker load --input ARCHIVE, or skopeo copy docker-archive:ARCHIVE docker://IMAGE"
    )
    return 0


def _secrets(options: argparse.Namespace) -> int:
    secrets.serve(Api(from_kubeconfig(options.kubeconfig)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
