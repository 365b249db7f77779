"""What attacks on a gateway cost an innocent tenant beside: its goodput, the gateway's memory and its loop.

The gateway, its engine and the attacker are processes of their own, the attacker with the least claim to CPU. Each attack
has a fresh gateway, and is compared with the same tenant alone at the same gateway just before.
"""

import asyncio
import tempfile
from pathlib import Path

from gameai_devcluster.testing import flood
from gameai_devcluster.testing.neighbours import attack, share_beside

from benchmarks import report

ROUNDS, SECONDS = 3, 5.0
MEBI = 1 << 20


def main() -> None:
    """Run all attacks and write the table."""
    rows = [row for kind in flood.KINDS if kind != "worlds" for row in _rows(kind)]
    shares = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as name:
            shares.append(asyncio.run(share_beside(Path(name), worlds=99, seconds=SECONDS)))
        print(f"  share beside 99 worlds: {shares[-1]:.3f}", flush=True)
    bar = "1 world's part of a full tier, beside 99 of one namespace"
    report.write("attacks", [*rows, report.median(bar, shares, limit=0.45, unit="", least=True)])


def _rows(kind: str) -> list[report.Row]:
    found = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as name:
            found.append(asyncio.run(attack(Path(name), kind, SECONDS)))
        print(f"  {kind:10} {found[-1]}", flush=True)
    goodputs = [each.goodput for each in found]
    grown = [each.grown_bytes / MEBI for each in found]
    longest = [each.longest_refusal for each in found]
    return [
        report.median(f"{kind}: goodput, of that alone", goodputs, limit=0.95, unit="", least=True),
        report.median(f"{kind}: memory of the gateway", grown, limit=64, unit="MiB"),
        report.median(f"{kind}: longest wait for a refusal", longest, limit=1.0, unit="s"),
    ]


if __name__ == "__main__":
    main()
