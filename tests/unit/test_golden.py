"""Rendered objects and status, compared with files that people read in review."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from gameai_devcluster.testing.rendering import decided, owned
from gameai_operator.controller.manifest import without_empty
from gameai_operator.kinds import kinds
from gameai_operator.settings import KedaSettings, Policy, Settings
from support import tiers
from support.worlds import READY_TIERS

DATA = Path(__file__).parent.parent / "data"
CASES = sorted(str(path.parent.relative_to(DATA)) for path in DATA.glob("*/*/resource.yaml"))
CREATED = "2026-11-22T09:00:00Z"


def rendered(case: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The objects as they are applied, and the first status, of a case's resource."""
    root = yaml.safe_load((DATA / case / "resource.yaml").read_text())
    root["metadata"] |= {"uid": tiers.UID, "generation": 1, "creationTimestamp": CREATED}
    keda = KedaSettings("gameai-operator-scaler.gameai-system.svc:6000")
    settings = Settings(policy=Policy(host_paths=("/mnt/models",)), keda=keda)
    wanted = kinds(settings)[root["kind"]].refers(root)
    references = {key: view for key, view in READY_TIERS.items() if key in wanted}
    decision = decided(root, settings, references=references)
    conditions = [
        {"type": c.type, "status": c.word, "reason": c.reason, "message": c.message}
        for c in decision.conditions
    ]
    return owned(root, decision), {**decision.status, "conditions": conditions}


@pytest.mark.parametrize("case", CASES)
def test_a_resource_renders_as_its_golden_files_say(case: str, pytestconfig: pytest.Config) -> None:
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
    # An empty list or map in a server-side apply can write forever.
    objects, _ = rendered(case)
    assert [without_empty(each) for each in objects] == objects


@pytest.mark.parametrize(("kind", "least"), [("tier/", 5), ("world/", 5), ("knowledge_base/", 3)])
def test_there_are_golden_cases(kind: str, least: int) -> None:
    assert len([each for each in CASES if each.startswith(kind)]) >= least
