"""The sample lore, and 90 questions that people wrote about it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from gameai.knowledge.embedding.local import LocalEmbedder
from gameai.knowledge.v1 import knowledge_pb2 as pb
from gameai_devcluster import install, postgres
from support.memory import Memory, Served, served

LORE = install.ROOT / "examples/lore"
QUESTIONS = yaml.safe_load((install.ROOT / "tests/data/knowledge/questions.yaml").read_text())
WORLDS = ("eldermoor", "frost", "harrow")


def documents(folder: Path) -> dict[str, str]:
    return {str(each.relative_to(LORE)): each.read_text() for each in sorted(folder.glob("*.md"))}


@pytest.fixture(scope="module")
def lore(database_server: postgres.Postgres, embedder: LocalEmbedder) -> Memory:
    made = Memory(database_server, embedder)
    report = made.ingest(documents(LORE / "shared"))
    assert (report.documents, report.quarantined) == (13, 0)
    for each in WORLDS:
        own = made.ingest(
            documents(LORE / "worlds" / each), name="chronicle", world=f"games/{each}", trust=60
        )
        assert (own.documents, own.quarantined) == (1, 0)
    return made


@pytest.fixture(scope="module")
def service(lore: Memory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(lore.url, tmp_path_factory.mktemp("served")) as made:
        yield made


def found(service: Served, row: dict[str, Any], **request: Any) -> list[pb.Hit]:
    answer = service.search(row["question"], world=f"games/{row['world']}", **request)
    assert not answer.degraded
    return list(answer.hits)


def places(hits: list[pb.Hit]) -> list[tuple[str, str]]:
    return [(each.provenance.document, each.provenance.section) for each in hits]


def test_nine_of_ten_answers_are_among_the_first_five_hits(service: Served) -> None:
    asked = [row for row in QUESTIONS if row["answers"]]
    assert (len(QUESTIONS), len(asked)) == (90, 72)
    missed = [
        row["question"]
        for row in asked
        if not {(each["document"], each["section"]) for each in row["answers"]}
        & set(places(found(service, row, count=5)))
    ]
    assert len(missed) <= len(asked) // 10, missed


@pytest.mark.parametrize("mode", [pb.MODE_HYBRID, pb.MODE_VECTOR, pb.MODE_TEXT])
def test_no_question_is_answered_from_another_world(mode: pb.Mode, service: Served) -> None:
    for row in QUESTIONS:
        hits = places(found(service, row, count=100, mode=mode, minimum_trust=0))
        others = {f"worlds/{each}/" for each in WORLDS if each != row["world"]}
        assert not [each for each, _ in hits if any(each.startswith(other) for other in others)]
        for each in row.get("forbidden", ()):
            assert (each["document"], each["section"]) not in hits
