"""Rows of a benchmark: printed as a table, kept as JSON."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One bar: what was measured, against which limit (None: reported only), and every round's value.

    `least` says that the limit is a lower one.
    """

    bar: str
    value: float
    limit: float | None
    unit: str
    rounds: tuple[float, ...]
    least: bool = False

    @property
    def holds(self) -> bool | None:
        """Whether the bar holds; None without a limit."""
        if self.limit is None:
            return None
        return self.value >= self.limit if self.least else self.value <= self.limit


def median(
    bar: str, rounds: Sequence[float], *, limit: float | None, unit: str, least: bool = False
) -> Row:
    """A row whose value is the median of its rounds."""
    values = tuple(round(each, 3) for each in rounds)
    value = statistics.median(values)
    return Row(bar=bar, value=value, limit=limit, unit=unit, rounds=values, least=least)


def write(name: str, rows: Sequence[Row]) -> None:
    """Print the table and write `benchmarks/results/<name>.json`."""
    print(f"\n{name}\n{'bar':58} {'value':>9} {'limit':>9} {'unit':8} holds  rounds")
    for row in rows:
        limit = "" if row.limit is None else f"{'≥ ' if row.least else ''}{row.limit:g}"
        word = {True: "yes", False: "NO", None: ""}[row.holds]
        rounds = " ".join(f"{each:g}" for each in row.rounds)
        print(f"{row.bar:58} {row.value:9.3f} {limit:>9} {row.unit:8} {word:5}  {rounds}")
    RESULTS.mkdir(exist_ok=True)
    document = [{**asdict(row), "holds": row.holds} for row in rows]
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")
