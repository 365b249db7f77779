"""`python -m gameai_operator run | scaler | plan | crds`: the composition root, the only place that wires."""

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from gameai_operator import planning, telemetry
from gameai_operator.api import crd
from gameai_operator.environment import settings
from gameai_operator.flags import add_flags, add_scaler_flags


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 when it ended as asked."""
    parser = argparse.ArgumentParser(
        prog="gameai_operator", description="Declare a game world; get its AI."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run the operator until SIGTERM")
    add_flags(run, os.environ)
    run.set_defaults(do=_run)
    scaler = commands.add_parser("scaler", help="run the scaler until SIGTERM")
    add_scaler_flags(scaler, os.environ)
    scaler.set_defaults(do=_scale)
    plan = commands.add_parser("plan", help="print replicas and costs for numbers of players")
    planning.add_flags(plan)
    plan.set_defaults(do=planning.run)
    crds = commands.add_parser("crds", help="write the CustomResourceDefinitions")
    crds.add_argument("--output", type=Path, help="output directory; default: standard output")
    crds.set_defaults(do=_crds)
    options = parser.parse_args(arguments)
    return int(options.do(options))


def _crds(options: argparse.Namespace) -> int:
    for definition in crd.DEFINITIONS:
        text = yaml.safe_dump(
            crd.document(definition), sort_keys=False, width=120, allow_unicode=True
        )
        if options.output is None:
            sys.stdout.write(f"---\n{text}")
            continue
        options.output.mkdir(parents=True, exist_ok=True)
        header = "# Generated from operator/gameai_operator/api by `make crds`; do not edit.\n"
        (options.output / definition.file).write_text(header + text)
    return 0


def _scale(options: argparse.Namespace) -> int:
    from gameai_operator.run.scaler import Scaler  # noqa: PLC0415 - help needs neither kopf nor a client

    return _process(options, Scaler)


def _run(options: argparse.Namespace) -> int:
    from gameai_operator.run.operator import Operator  # noqa: PLC0415 - same

    return _process(options, Operator)


def _process(options: argparse.Namespace, make: Any) -> int:
    try:
        made = settings(options)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    telemetry.configure_logging(made.log_level)
    from gameai_operator.run.process import run  # noqa: PLC0415 - same

    gc.freeze()  # what is imported stays: the collector need not walk it again and again
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(run(made, make))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Uvloop where it exists, which is everywhere but on Windows."""
    try:
        import uvloop  # noqa: PLC0415 - may be absent
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main())
