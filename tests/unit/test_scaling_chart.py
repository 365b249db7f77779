"""A plan as a picture."""

import itertools
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from gameai_devcluster.install import ROOT
from gameai_operator import planning
from gameai_operator.__main__ import main
from gameai_operator.scaling.budget import Planned, plan
from gameai_operator.scaling.chart import svg

SVG = "{http://www.w3.org/2000/svg}"


def planned(tier: str, players: int, replicas: int, hour: str | None) -> Planned:
    return Planned(
        tier=tier,
        players=players,
        replicas=replicas,
        on_demand=replicas,
        spot=0,
        gpus=replicas,
        capacity="8/s assumed",
        limited=False,
        fixed=False,
        per_hour=None if hour is None else Decimal(hour),
    )


def drawn(*rows: Planned) -> tuple[list[str], list[list[tuple[float, float]]]]:
    """The texts, and the points of each line."""
    root = ET.fromstring(svg(rows))  # noqa: S314 - our own text
    lines = [
        [
            (float(x), float(y))
            for x, y in (point.split(",") for point in each.attrib["points"].split())
        ]
        for each in root.iter(f"{SVG}polyline")
    ]
    return [each.text or "" for each in root.iter(f"{SVG}text")], lines


def test_each_tier_has_a_line_and_costs_have_two() -> None:
    texts, lines = drawn(
        planned("a/gold", 100, 1, "1"),
        planned("a/gold", 1000, 10, "10"),
        planned("a/silver", 100, 1, None),
        planned("a/silver", 1000, 5, None),
    )
    assert len(lines) == 4
    assert {"a/gold", "a/silver", "Replicas", "100", "1,000", "7,300"} & set(texts) >= {
        "a/gold",
        "a/silver",
        "Replicas",
    }
    gold, silver, _, _ = lines
    assert gold[1][1] < silver[1][1], "more replicas are higher"
    assert gold[0] == silver[0]
    assert gold[0][0] < gold[1][0]


def test_labels_never_lie_on_each_other() -> None:
    root = ET.fromstring(svg([planned(f"a/t{n}", 100, 3, "1") for n in range(9)]))  # noqa: S314 - our own text
    heights = [
        float(each.attrib["y"])
        for each in root.iter(f"{SVG}text")
        if (each.text or "").startswith("a/t")
    ]
    gaps = [after - before for before, after in itertools.pairwise(heights)]
    assert len(heights) == 9
    assert min(gaps) >= 14


@pytest.mark.parametrize(
    ("replicas", "most"), [(0, "1"), (1, "1"), (3, "5"), (10, "10"), (11, "20"), (43, "50")]
)
def test_the_axis_ends_at_a_round_number(replicas: int, most: str) -> None:
    texts, lines = drawn(planned("a/gold", 100, replicas, "0"))
    assert most in texts
    assert all(50 <= y <= 300 for _, y in lines[0])


def test_a_name_is_no_markup() -> None:
    texts, _ = drawn(planned("a/<b>&", 100, 1, "1"))
    assert "a/<b>&" in texts


def test_the_command_draws_the_examples(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[Any] = plan(
        planning.tiers([ROOT / "examples/players/tiers.yaml"]), [100], planning.capacity("")
    )
    assert [each.per_hour is not None for each in rows] == [True] * 3

    assert main(["plan", "-f", "examples/players/tiers.yaml", "--output", "svg"]) == 0
    assert capsys.readouterr().out.startswith("<svg ")
