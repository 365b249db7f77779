"""The steps of the memory as Jobs run them: a report for the kubelet, and the removal of a source."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from gameai_contract.knowledge import SourceReport, source_names, source_report
from support.memory import Memory
from support.steps import step

New = Callable[[], Memory]
FERRIES = "# Ferries\n\n## Tam\n\nThe ferry of Tam crosses the lake Orr at dawn.\n"


def run(memory: Memory, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As a Job does: the password stands in a variable of its own."""
    _, _, rest = memory.url.partition("//")
    user, _, place = rest.partition("@")
    name, _, password = user.partition(":")
    environment = {"GAMEAI_DATABASE": f"postgresql://{name}@{place}", "PGPASSWORD": password}
    return step(*arguments, environment=environment)


def ingested(memory: Memory, folder: Path, source: str = "lore") -> SourceReport:
    file = folder.parent / "report"
    done = run(memory, "ingest", f"--source={source}={folder}", f"--report={file}")
    assert done.returncode == 0, done.stderr
    report = source_report(file.read_text())
    assert report is not None
    return report


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "documents"
    made.mkdir()
    (made / "ferries.md").write_text(FERRIES)
    return made


def test_an_ingestion_reports_what_the_memory_holds_and_what_failed(
    memory: Memory, folder: Path
) -> None:
    assert ingested(memory, folder) == SourceReport(documents=1, chunks=1)
    (folder / "broken.md").write_bytes(b"\xff\xfe")
    report = ingested(memory, folder)
    assert (report.documents, report.failed_documents, report.error) == (1, 1, "")
    assert "broken.md" in report.failed[0]


def test_a_source_without_documents_is_reported_and_keeps_what_it_had(
    memory: Memory, folder: Path
) -> None:
    ingested(memory, folder)
    (folder / "ferries.md").unlink()
    assert "has no documents" in ingested(memory, folder).error
    assert len(memory.chunks()) == 1


def test_a_removed_source_leaves_nothing_but_its_reviews(memory: Memory, folder: Path) -> None:
    ingested(memory, folder)
    ingested(memory, folder, source="guides")
    done = run(memory, "remove", "--source=lore")
    assert (done.returncode, done.stdout) == (0, "lore: 1 documents removed\n")
    assert {row[1] for row in memory.chunks()} == {"guides"}
    assert memory.rows("SELECT name FROM memory_ops.sources") == [("guides",)]
    again = run(memory, "remove", "--source=lore", "--source=lore,world=games/unknown")
    assert (again.returncode, again.stderr) == (0, "")
    assert memory.rows("SELECT name FROM memory.worlds") == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["remove"], "remove needs --source NAME"),
        (["remove", "--source=a=/tmp"], "write NAME, then ,world="),
        (["remove", "--source=a,trust=3"], "write NAME, then ,world="),
        (
            ["serve", "--report=/tmp/x"],
            "--report needs the step migrate, backup or restore, or the step ingest and",
        ),
        (
            ["ingest", "--report=/tmp/x", "--source=a=/tmp", "--source=b=/tmp"],
            "--report needs the step migrate, backup or restore, or the step ingest and one --source",
        ),
    ],
)
def test_a_wrong_step_ends_with_a_sentence(arguments: list[str], words: str) -> None:
    found = step(*arguments, "--database=postgresql://x")
    assert (found.returncode, words in found.stderr) == (2, True), found.stderr


def test_a_database_belongs_to_one_knowledge_base(memory: Memory, folder: Path) -> None:
    """Two would remove each other's sources."""
    file = folder.parent / "report"
    own = ("migrate", "--owner=games/lore", f"--report={file}")
    ingested(memory, folder)
    for _ in range(2):
        assert run(memory, *own).returncode == 0
    assert source_names(file.read_text()) == (("lore", ""),)
    other = run(memory, "migrate", "--owner=games/other")
    assert (other.returncode, "belongs to the knowledge base games/lore" in other.stderr) == (
        1,
        True,
    )


def test_no_value_of_a_secret_is_in_a_message(memory: Memory) -> None:
    _, _, place = memory.url.partition("@")
    environment = {
        "GAMEAI_DATABASE": f"postgresql://{place}",
        "PGUSER": "hunter2-as-a-user",
        "PGPASSWORD": "hunter2-itself",
    }
    for arguments in (["migrate"], ["remove", "--source=a"]):
        done = step(*arguments, environment=environment)
        assert (done.returncode, "hunter2" in done.stderr) == (1, False), done.stderr
        assert "[PGUSER]" in done.stderr


def test_a_document_that_cannot_be_quoted_is_reported(memory: Memory, folder: Path) -> None:
    (folder / "odd.md").write_text('---\n"titl\\uD800e": x\n---\nx\n')
    report = ingested(memory, folder)
    assert (report.documents, report.failed_documents) == (1, 1)
