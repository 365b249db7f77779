"""`python -m gameai.archetypes check` says what operator and gateway would say."""

from pathlib import Path

import pytest
from gameai.archetypes import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "name", ["examples/laptop/npcs.yaml", "examples/archetypes-eldermoor.yaml"]
)
def test_the_examples_are_valid(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(ROOT / name)]) == 0
    assert capsys.readouterr().out.startswith("ok: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 1\narchetypes:\n  guard: {actons: [a]}\n", "npcs.yaml line 3: archetypes.guard.actons: actons is not a known key; did you mean actions?"),
        ("version: 1\narchetypes: {Shop: {}}\n", "Shop"),
        ("version: 1\narchetypes: {guard: {actions: [a], defaults: [b]}}\n", "the default 'b' is not one of the actions"),
        ("{", "npcs.yaml"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "npcs.yaml"
    file.write_text(text)
    assert main(["check", str(file)]) == 1
    assert message in capsys.readouterr().err


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml" in capsys.readouterr().err
