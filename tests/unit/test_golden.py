"""Rendered objects and status, compared with files that people read in review."""

from pathlib import Path
from typing import Any

import pytest
import tiers
import yaml
from gameai_operator.engine.kind import Sight
from gameai_operator.engine.manifest import Owner, owned_by, without_empty
from gameai_operator.tier.decide import decide

DATA = Path(__file__).parent.parent / "data" / "tier"
CASES = sorted(path.parent.name for path in DATA.glob("*/resource.yaml"))


def rendered(case: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The objects as they are applied, and the first status, of a case's resource."""
    document = yaml.safe_load((DATA / case / "resource.yaml").read_text())
    metadata = document["metadata"] | {"uid": tiers.UID, "generation": 1}
    root = document | {"metadata": metadata}
    decision = decide(Sight(root=root, children={}, pods=()), current=tiers.CURRENT)
    owner = Owner(kind="ModelTier", name=metadata["name"], uid=tiers.UID)
    objects = [owned_by(owner, each) for each in decision.wanted or ()]
    conditions = [
        {"type": c.type, "status": c.word, "reason": c.reason, "message": c.message}
        for c in decision.conditions
    ]
    return objects, {**decision.status, "conditions": conditions}


@pytest.mark.parametrize("case", CASES)
def test_a_tier_renders_as_its_golden_files_say(case: str, pytestconfig: pytest.Config) -> None:
    objects, status = rendered(case)
    written = {
        DATA / case / "objects.yaml": yaml.safe_dump_all(objects, sort_keys=False, width=110),
        DATA / case / "status.yaml": yaml.safe_dump(status, sort_keys=False, width=110),
    }
    for file, text in written.items():
        if pytestconfig.getoption("--write-golden"):
            file.write_text(text)
        assert file.read_text() == text, f"{file} is stale: run make golden and read the diff"


@pytest.mark.parametrize("case", CASES)
def test_nothing_rendered_is_empty(case: str) -> None:
    # An empty list or map in a server-side apply can write for ever.
    objects, _ = rendered(case)
    assert [without_empty(each) for each in objects] == objects


def test_there_are_golden_cases() -> None:
    assert len(CASES) >= 6
