"""Knowledge bases with archives, for tests of decisions."""

import datetime
from typing import Any

from gameai_contract.archives import ArchiveReport
from gameai_contract.knowledge import SourceReport
from gameai_operator.controller.kind import Decision

from support.knowledge_decisions import HISTORIES, Life
from support.tier_decisions import a_pod

CLAIM = {"persistentVolumeClaim": {"claimName": "lore-archives"}}
S3 = {"s3": {"bucket": "studio", "prefix": "gameai", "region": "eu-central-1"}}
NIGHTLY: dict[str, Any] = {"schedule": "0 3 * * *", "repository": CLAIM}
FROM: dict[str, Any] = {"repository": CLAIM, "knowledgeBase": "games/lore"}
MADE = ArchiveReport(
    file="20261129T030000Z.0a1b2c3d.12.15.jsonl.gz",
    size=900,
    worlds=1,
    events=12,
    concepts=2,
    reviews=1,
    kept=1,
)
TWO = SourceReport(documents=2, chunks=40)


def backing_up(**backup: Any) -> Life:
    """Served, with the Job of the first backup."""
    return Life(HISTORIES, backup={**NIGHTLY, **backup}).served(TWO)


def report(life: Life, verb: str, found: ArchiveReport | None) -> str:
    """The Job ends, and its pod says this."""
    [name] = life.due(verb)
    life.end(name)
    if found is not None:
        life.pods.append(a_pod(group=name, name=name, dead="Succeeded", said=found.text()))
    return name


def backed_up(found: ArchiveReport = MADE, **backup: Any) -> Life:
    life = backing_up(**backup)
    report(life, "backup", found)
    life.settle()
    return life


def job(life: Life, decision: Decision, verb: str) -> dict[str, Any]:
    [found] = [e for e in decision.wanted if f"-{verb}-" in e["metadata"]["name"]]
    return dict(found)


def container(found: dict[str, Any]) -> dict[str, Any]:
    [only] = found["spec"]["template"]["spec"]["containers"]
    return dict(only)


def at(life: Life, hour: int, day: int = 1) -> None:
    """So many days later, at this hour."""
    later = life.now + datetime.timedelta(days=day)
    life.now = later.replace(hour=hour, minute=0, second=0)


def life_policy(decision: Decision) -> dict[str, Any]:
    [found] = [e for e in decision.wanted if e["metadata"]["name"] == "lore-archives"]
    return dict(found)
