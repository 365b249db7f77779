"""What numbers of players cost, from manifests."""

import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from gameai_contract.inference import LatencyClass
from gameai_operator.__main__ import main
from gameai_operator.scaling.budget import Planned, plan, table
from support import tiers

ROOT = Path(__file__).resolve().parents[2]
CAPACITY = {LatencyClass.GOLD: 50.0, LatencyClass.SILVER: 12.0, LatencyClass.BRONZE: 1.0}


def planned(players: int, **spec: Any) -> Planned:
    fields = {"hardware": {"instanceTypes": ["g5.xlarge"]}, "scaling": {"maxReplicas": 50}} | spec
    [row] = plan([tiers.tier(**fields)], [players], CAPACITY)
    return row


def test_replicas_follow_players_within_bounds() -> None:
    # 10,000 players ask 333 times a second; a replica is planned with 77.5 % of 50.
    row = planned(10_000, capacity={"spotPercent": 80})
    assert (row.replicas, row.on_demand, row.spot, row.gpus, row.limited) == (9, 2, 7, 9, False)
    assert row.per_hour == Decimal("5.372")
    assert row.per_month == Decimal("3921.56")
    assert row.per_player == Decimal("0.39")
    assert planned(10, scaling={"minReplicas": 2, "maxReplicas": 4}).replicas == 2
    most = planned(100_000, scaling={"maxReplicas": 4})
    assert (most.replicas, most.limited) == (4, True)


def test_what_was_measured_counts_unless_a_rate_is_given() -> None:
    measured = {
        "templateHash": "abc", "gpuProduct": "NVIDIA A10G", "targetMs": 16, "concurrency": 8,
        "requestsPerSecond": "20.00", "idleP95Ms": "9.0", "measuredAt": "2026-11-28T09:00:00Z",
    }  # fmt: skip

    def replicas(given: dict[LatencyClass, float], **other: Any) -> int:
        status = {"performance": [measured | other]}
        [row] = plan([tiers.tier(status=status, scaling={"maxReplicas": 50})], [10_000], given)
        return row.replicas

    # 333 requests a second, of which a replica is planned with 77.5 % of 20.
    assert replicas({}) == 22
    assert replicas(CAPACITY) == 9
    # At another target, or without keeping it, a measurement says nothing: 8 at a time, of 16 ms each.
    assert replicas({}, targetMs=20) == replicas({}, idleP95Ms="17.0") == 1


def test_a_tier_that_is_not_scaled_costs_what_it_has() -> None:
    assert planned(10_000, scaling=None, replicas=3).replicas == 3
    assert planned(10_000, scaling=None, replicas=None).replicas == 1


def test_a_tier_without_a_price_has_no_cost() -> None:
    row = planned(100, hardware={"gpus": 0})
    assert (row.per_hour, row.per_month, row.per_player) == (None, None, None)
    assert "unknown" in table([row])
    assert row.document()["usdPerHour"] == "unknown"


def test_placeholders_are_planned_too() -> None:
    row = planned(10_000, capacity={"spotPercent": 80, "headroomReplicas": 2})
    assert (row.replicas, row.gpus, row.capacity) == (9, 11, "50/s given")
    assert row.per_hour == Decimal("6.332")


def test_a_sum_with_an_unknown_price_says_so() -> None:
    lines = table([planned(1000), planned(1000, hardware={"gpus": 0})]).splitlines()
    assert lines[-1].split()[2:5] == ["1.006", "+", "unknown"]


def test_manifests_are_read_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(tiers.resource())))
    assert main(["plan", "-f", "-", "--players", "100"]) == 0
    assert "eldermoor/gold" in capsys.readouterr().out


def test_a_table_ends_with_the_cost_of_all_tiers() -> None:
    lines = table([planned(1000), planned(1000)]).splitlines()
    assert lines[0].split() == ["TIER", "PLAYERS", "PER", "REPLICA", "REPLICAS", "ON-DEMAND", "SPOT", "GPUS", "USD/H", "USD/MONTH", "USD/PLAYER/MONTH"]  # fmt: skip
    assert lines[-1].split() == ["all", "1000", "2.012", "1468.76", "1.47"]


def test_the_command_plans_the_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["plan", "-f", str(ROOT / "examples"), "--players", "100,10000", "--output", "json"])
        == 0
    )
    rows = json.loads(capsys.readouterr().out)
    scaled = [each for each in rows if each["tier"] == "studio/scaled"]
    assert [each["players"] for each in scaled] == [100, 10_000]
    assert main(["plan", "-f", str(ROOT / "examples/features/tier-scaling.yaml")]) == 0
    assert "studio/scaled" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--players", "many"], "--players must be numbers"),
        (["--requests-per-second", "Platinum=3"], "--requests-per-second must be CLASS=NUMBER"),
        (["--requests-per-second", "Gold=0"], "--requests-per-second must be CLASS=NUMBER"),
    ],
)
def test_a_wrong_flag_is_named(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "-f", str(ROOT / "examples"), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_list_as_kubectl_prints_it_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "list.yaml"
    items = [tiers.resource(name="a"), tiers.resource(name="b")]
    file.write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": items}))
    assert main(["plan", "-f", str(file), "--players", "100", "--output", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [each["tier"] for each in rows] == ["eldermoor/a", "eldermoor/b"]
    file.write_text("kind: List\n")
    assert main(["plan", "-f", str(file)]) == 2


def test_wrong_manifests_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tier.yaml"
    file.write_text("kind: ModelTier\nmetadata: {name: a}\nspec: {class: Platinum}\n")
    assert main(["plan", "-f", str(file)]) == 2
    assert (
        "tier.yaml: spec.class: Input should be 'Gold', 'Silver' or 'Bronze'"
        in capsys.readouterr().err
    )
    file.write_text("kind: Pod\n")
    assert main(["plan", "-f", str(file)]) == 2
    assert "the files have no ModelTier" in capsys.readouterr().err
