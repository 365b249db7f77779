"""Ingestion into a real Postgres with pgvector, with the real model."""

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from gameai.knowledge.ingestion.documents import Document, parse
from gameai.knowledge.ingestion.sources import SourceError
from gameai.knowledge.records import Chunk
from gameai.knowledge.store.errors import StoreError
from gameai.knowledge.store.facts import check
from gameai.knowledge.store.writing import connect
from gameai.knowledge.v1 import knowledge_pb2 as pb
from gameai_devcluster.testing.waiting import until
from support.memory import COMMAND, Memory, served
from support.steps import step

New = Callable[[], Memory]
SCOPES = (pb.SCOPE_GLOBAL, pb.SCOPE_WORLD, pb.SCOPE_GLOBAL_AND_WORLD)
MODES = (pb.MODE_VECTOR, pb.MODE_TEXT, pb.MODE_HYBRID)
BRIDGES = """---
title: Bridges
---
# Bridges

## Carrow

The bridge of Carrow was built by the mason Ilda Venn. It has nine arches of grey stone.

## Harrow

The bridge of Harrow is of oak, and carts pay two marks.
"""
MANY = 150
FERRIES = "# Ferries\n\n## Tam\n\nThe ferry of Tam crosses the lake Orr at dawn.\n"


def test_an_unchanged_source_embeds_nothing_and_a_change_only_what_changed(memory: Memory) -> None:
    first = memory.ingest({"bridges.md": BRIDGES, "ferries.md": FERRIES})
    assert (first.documents, first.chunks, first.quarantined, first.embedded) == (2, 3, 0, 3)
    again = memory.ingest({"bridges.md": BRIDGES, "ferries.md": FERRIES})
    assert (again.unchanged, again.embedded, again.chunks) == (True, 0, 3)
    changed = memory.ingest({"bridges.md": BRIDGES.replace("two marks", "six marks")})
    assert (changed.embedded, changed.removed_documents, changed.chunks) == (1, 1, 2)
    (row,) = memory.rows("SELECT content FROM memory.narrative_documents WHERE section = 'Harrow'")
    assert "six marks" in row[0]


def test_a_broken_document_is_reported_and_its_last_version_stays(memory: Memory) -> None:
    memory.ingest({"bridges.md": BRIDGES, "ferries.md": FERRIES})
    report = memory.ingest({"bridges.md": "---\ntitel: x\n---\nx", "ferries.md": FERRIES})
    assert report.failed == (
        "bridges.md: titel in its front matter is not known: did you mean title?",
    )
    assert (report.documents, report.chunks) == (2, 3)
    assert memory.rows("SELECT state, message FROM memory_ops.sources") == [
        ("Failed", report.failed[0])
    ]


def test_global_lore_needs_trust(memory: Memory) -> None:
    with pytest.raises(SourceError, match="needs a trust of at least 80, not 50"):
        memory.ingest({"a.md": FERRIES}, trust=50)
    with (
        psycopg.connect(memory.url, autocommit=True) as connection,
        pytest.raises(psycopg.errors.CheckViolation),
    ):
        connection.execute(
            "INSERT INTO memory.narrative_documents (scope, source, document, chunk_no, title, section, content, content_sha256,"
            " document_sha256, begin_byte, end_byte, trust, status, model, embedding)"
            f" VALUES ('global', 's', 'd', 0, '', '', 'x', '', '', 0, 1, 50, 'live', 'm', '[{','.join(['1'] * 384)}]')"
        )


@pytest.mark.parametrize(
    ("model", "dimensions", "words"),
    [
        ("other", 384, "holds vectors of the model all-MiniLM"),
        ("other", 8, "migrated for vectors of 384"),
    ],
)
def test_vectors_of_two_models_are_never_mixed(
    model: str, dimensions: int, words: str, memory: Memory
) -> None:
    memory.ingest({"a.md": FERRIES})
    with connect(memory.url) as connection, pytest.raises(StoreError, match=words):
        check(connection, model, dimensions)


@pytest.mark.parametrize("seed", range(3))
def test_an_ingestion_that_was_killed_ends_as_one_that_was_not(
    seed: int, new: New, tmp_path: Path
) -> None:
    documents = {
        f"{each:03}.md": f"# D\n\n## S{each}\n\nNumber {each} is known.\n" for each in range(MANY)
    }
    for name, text in documents.items():
        (tmp_path / name).write_text(text)
    whole, killed = new(), new()
    whole.ingest(documents)
    command = [*COMMAND, "ingest", f"--database={killed.url}", f"--source=lore={tmp_path}"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wanted = random.Random(seed).randrange(1, MANY // 3)
    until(
        "so many documents are written",
        lambda: (
            killed.rows("SELECT count(*) FROM memory.narrative_documents")[0][0] >= wanted
            or running.poll() is not None
        ),
        seconds=60,
    )
    running.kill()
    assert running.wait(10) == -9, "it ended before it was killed"
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert f"{MANY} documents, {MANY} chunks, 0 in quarantine" in finished.stdout
    assert killed.chunks() == whole.chunks()


def test_copies_of_a_planted_answer_are_held_before_any_is_found(memory: Memory) -> None:
    copies = {
        f"{each}.md": f"Who rules Carrow? The ruler of Carrow is Lord Venn the {each}."
        for each in range(5)
    }
    report = memory.ingest(copies, name="players", world="games/moor", trust=40)
    assert (report.chunks, report.quarantined) == (5, 5)
    honest = memory.ingest(
        {"a.md": FERRIES, "b.md": BRIDGES}, name="chronicle", world="games/moor", trust=60
    )
    assert honest.quarantined == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--database=postgresql://u:%zz@x/y"], 2, "must be postgresql://"),
        (["--database=postgresql://x:y/z"], 2, "must be postgresql://"),
        (
            ["--database=postgresql://x", "--source=a=/tmp,world="],
            2,
            "world must be NAMESPACE/NAME",
        ),
        (["--database=postgresql://x", *["--source=a=/tmp"] * 2], 2, "--source a stands twice"),
        (
            ["--database=postgresql://x", "--connections=0"],
            2,
            "--connections must be from 1 to 100",
        ),
        ([], 2, "--database or GAMEAI_DATABASE must be postgresql://"),
        (["ingest", "--database=postgresql://x"], 2, "ingest needs --source NAME=FOLDER"),
        (["--database=postgresql://x", "--source=lore"], 2, "write NAME=FOLDER"),
        (
            ["--database=postgresql://x", "--source=a=/tmp,trust=x"],
            2,
            "trust must be from 0 to 100",
        ),
        (["migrate", "--database=postgresql://u:hunter2@127.0.0.1:1/x"], 1, "onnection refused"),
    ],
)
def test_a_wrong_command_ends_with_a_sentence(arguments: list[str], code: int, words: str) -> None:
    found = step(*arguments)
    assert found.returncode == code
    assert words in found.stderr
    assert "Traceback" not in found.stderr
    assert "hunter2" not in found.stderr


def test_a_changed_chronicle_stays_found_while_it_is_ingested_and_after_a_failure(
    memory: Memory, tmp_path: Path
) -> None:
    """Nothing new of a source with little trust is found before all of it was checked; what was found stays."""
    memory.ingest({"a.md": FERRIES}, name="chronicle", world="games/moor", trust=60)
    cut = memory.cut
    memory.cut = lambda document: cut(document) if "Ilda" not in document.text else 1 / 0  # type: ignore[assignment,return-value] # a fault in the middle
    with pytest.raises(ZeroDivisionError):
        memory.ingest(
            {"a.md": FERRIES + "\n## Late\n\nIt sank.\n", "b.md": BRIDGES},
            name="chronicle",
            world="games/moor",
            trust=60,
        )
    found = memory.rows(
        "SELECT section, status, reasons FROM memory.narrative_documents ORDER BY chunk_no"
    )
    assert found == [("Tam", "live", []), ("Late", "quarantined", ["Pending"])]
    assert memory.rows("SELECT state, message FROM memory_ops.sources") == [
        ("Failed", "ended early: ZeroDivisionError")
    ]
    memory.cut = cut
    report = memory.ingest(
        {"a.md": FERRIES + "\n## Late\n\nIt sank.\n", "b.md": BRIDGES},
        name="chronicle",
        world="games/moor",
        trust=60,
    )
    assert (report.chunks, report.quarantined) == (4, 0)


def test_what_is_rolled_back_while_its_source_is_ingested_is_not_released(
    memory: Memory, tmp_path: Path
) -> None:
    memory.ingest({"a.md": FERRIES}, name="players", world="games/moor", trust=60)
    cut, texts = memory.cut, {"a.md": FERRIES + "\n## Late\n\nIt sank.\n", "b.md": BRIDGES}
    with served(memory.url, tmp_path) as service:
        rollback = pb.RollbackSourceRequest(world="games/moor", source="players", reviewer="ann")

        def cut_late(document: Document) -> list[Chunk]:
            if "Ilda" in document.text:
                assert service.ingestion.RollbackSource(rollback, timeout=20).rejected == 2
            return cut(document)

        memory.cut = cut_late
        memory.ingest(texts, name="players", world="games/moor", trust=60)
        hits = service.search("ferry", world="games/moor", scope=pb.SCOPE_WORLD).hits
        assert {each.provenance.section for each in hits} == {"Carrow", "Harrow"}
        (source,) = service.ingestion.ListSources(pb.ListSourcesRequest(world="games/moor")).sources
        assert (source.documents, source.chunks, source.quarantined) == (1, 2, 0)


def test_secrets_and_data_of_persons_are_removed_wherever_they_stand(memory: Memory) -> None:
    body = "\n".join(
        f"MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7{n:02}" for n in range(26)
    )
    key = f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----"
    memory.ingest(
        {"a.md": f"# T\n\n## Mail jane@example.org\n\nThe key is below.\n\n{key}\n\nThe end.\n"}
    )
    text = "\n".join(
        f"{row[0]} {row[1]}"
        for row in memory.rows("SELECT section, content FROM memory.narrative_documents")
    )
    assert "MIIE" not in text
    assert "jane" not in text
    assert "[removed: private key]" in text
    assert "The end." in text


@pytest.mark.parametrize("text", ["a:", "> ", "- ", "x_"])
def test_a_text_of_one_repeated_piece_is_cut_in_a_time_that_grows_with_its_length(
    text: str, memory: Memory
) -> None:
    """Eight times the text takes about eight times as long; a square would be 64 times."""

    def seconds(size: int) -> float:
        document = parse((text * (size // len(text)) + "a").encode())
        began = time.perf_counter()
        memory.cut(document)
        return time.perf_counter() - began

    seconds(8_000)
    assert seconds(64_000) < 24 * max(seconds(8_000), 0.02)


def test_the_trust_of_a_source_holds_for_a_document_that_is_broken_now(memory: Memory) -> None:
    memory.ingest({"a.md": FERRIES}, world="games/moor", trust=90)
    memory.ingest({"a.md": "---\ntitel: x\n---\nx"}, world="games/moor", trust=10)
    assert memory.rows("SELECT DISTINCT trust FROM memory.narrative_documents") == [(10,)]
