"""EDGE: `python -m gameai_operator plan`: what numbers of players cost, from manifests."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from gameai_contract.inference import LatencyClass
from gameai_contract.lists import objects
from pydantic import ValidationError

from gameai_operator.api.tier import ModelTier
from gameai_operator.scaling.budget import plan, table
from gameai_operator.scaling.chart import svg
from gameai_operator.tier import schedule

_MOST_PLAYERS = 10_000_000
_MOST_REQUESTS = 1_000_000


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument(
        "-f", "--file", dest="files", action="append", type=Path, required=True, metavar="FILE",
        help="manifest or folder of manifests with ModelTiers, -: standard input; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--players", default="100,500,1000,5000,10000", help="comma-separated numbers of players"
    )
    parser.add_argument(
        "--requests-per-second",
        default="",
        help="what one replica serves within the latency target, by class: Gold=60,Silver=12 (default: status.performance of the tier; else spec.scaling.queue.targetPerReplica, or 8, requests at a time, each as long as the target)",
    )
    parser.add_argument(
        "--output", choices=("table", "json", "svg"), default="table", help="form of the plan"
    )


def run(options: argparse.Namespace) -> int:
    """Print the plan; 0 then, 2 where flags or manifests are wrong."""
    try:
        rows = plan(
            tiers(options.files), _players(options.players), capacity(options.requests_per_second)
        )
    except (ValueError, OSError, yaml.YAMLError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if options.output == "json":
        sys.stdout.write(json.dumps([each.document() for each in rows], indent=2) + "\n")
    elif options.output == "svg":
        sys.stdout.write(svg(rows))
    else:
        sys.stdout.write(table(rows) + "\n")
    return 0


def tiers(files: list[Path]) -> list[ModelTier]:
    """Every ModelTier of the files; a tier of the same name counts once, as with `kubectl apply`.

    Raises ValueError, OSError and `yaml.YAMLError`.
    """
    found = {}
    for file, document in _documents(files):
        if isinstance(document, dict) and document.get("kind") == "ModelTier":
            tier = _check(file, _tier(file, document))
            found[tier.metadata.namespace, tier.metadata.name] = tier
    if not found:
        raise ValueError("the files have no ModelTier")
    return list(found.values())


def _documents(files: list[Path]) -> Iterator[tuple[Path, object]]:
    for given in files:
        for file in sorted(given.glob("**/*.yaml")) if given.is_dir() else [given]:
            text = sys.stdin.read() if str(file) == "-" else file.read_text()
            for document in yaml.safe_load_all(text):
                yield from ((file, each) for each in objects(document))


def _tier(file: Path, document: dict[str, object]) -> ModelTier:
    metadata = document.get("metadata")
    named = {"namespace": "default", **(metadata if isinstance(metadata, dict) else {})}
    try:
        return ModelTier.model_validate(
            {**document, "metadata": {"uid": "", "generation": 1, **named}}
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{file}: {place}: {first['msg']}") from error


def _check(file: Path, tier: ModelTier) -> ModelTier:
    """Refuse what the cluster would refuse of `spec.scaling`."""
    scaling = tier.spec.scaling
    if scaling is None:
        return tier
    if scaling.min_replicas > scaling.max_replicas:
        raise ValueError(f"{file}: spec.scaling.minReplicas must not be above maxReplicas")
    for floor in scaling.schedule:
        if found := schedule.faults(floor):
            raise ValueError(f"{file}: {'; '.join(found)}")
        if floor.min_replicas > scaling.max_replicas:
            raise ValueError(
                f"{file}: spec.scaling.schedule[{floor.name}].minReplicas must not be above maxReplicas"
            )
    return tier


def _players(text: str) -> list[int]:
    words = [each.strip() for each in text.split(",")]
    if not all(each.isdecimal() and 0 < int(each) <= _MOST_PLAYERS for each in words):
        raise ValueError(
            f"--players must be numbers from 1 to {_MOST_PLAYERS}, with commas between them"
        )
    return [int(each) for each in words]


def capacity(text: str) -> dict[LatencyClass, float]:
    """Requests per second of a replica for some classes, from `Gold=60,Silver=12`. Raises ValueError."""
    found = {}
    for word in filter(None, (each.strip() for each in text.split(","))):
        name, _, number = word.partition("=")
        try:
            value = float(number)
            found[LatencyClass(name)] = value
        except ValueError:
            value = 0.0
        if not 0 < value < _MOST_REQUESTS:
            raise ValueError(
                "--requests-per-second must be CLASS=NUMBER with Gold, Silver or Bronze: Gold=60,Silver=12"
            )
    return found
