"""`python -m benchmarks [name …]`: every benchmark, or those named; 1 where a bar does not hold."""

import importlib
import json
import sys

from benchmarks.report import RESULTS

NAMES = (
    "repair",
    "leadership",
    "ready",
    "worlds",
    "inference",
    "goodput",
    "dispatch",
    "players",
    "scrape",
    "keda",
    "interruptions",
    "memory",
    "bus",
    "inbox",
    "settings",
    "facts",
    "state",
    "jobs",
    "filters",
    "archives",
    "attacks",
    "endurance",
)


def main(names: list[str]) -> int:
    """Run benchmarks; the exit code says whether every bar holds."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(
            f"error: {unknown[0]} is not a benchmark; available: {', '.join(NAMES)}",
            file=sys.stderr,
        )
        return 2
    broken = False
    for name in names or NAMES:
        print(f"running {name}", flush=True)
        importlib.import_module(f"benchmarks.{name}").main()
        rows = json.loads((RESULTS / f"{name}.json").read_text())
        broken |= any(row["holds"] is False for row in rows)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
