"""Backups and restores of a memory: real Postgres, a folder and a real server of the S3 protocol, the command as Jobs run it."""

import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from gameai.knowledge.backups import repositories
from gameai_contract.archives import ArchiveReport, archive_name, archive_report
from gameai_devcluster.processes import free_port, start_in_background
from gameai_devcluster.testing.waiting import until
from support.concepts import Concepts
from support.history import History, days, event
from support.memory import COMMAND, Memory, served
from support.relations import Relations
from support.rows import CONCEPTS, EVENTS, RELATIONS, REVIEWS
from support.steps import step

New = Callable[[], Memory]
OWNER = "games/lore"
DAYS = [f"202611{day:02}T030000Z" for day in range(1, 29)]


class Repository:
    """A place for archives, as the command and as a test see it."""

    def __init__(self, place: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.place = place
        self.folder = folder
        self.environment = dict(environment)

    def arguments(self, memory: Memory, name: str, *flags: str) -> list[str]:
        own = (f"--repository={self.place}", f"--owner={OWNER}", f"--database={memory.url}")
        return [name, *own, *flags]

    def process(self, memory: Memory, name: str, *flags: str) -> subprocess.Popen[bytes]:
        """The step as a process of its own, as a Job runs it."""
        command = [*COMMAND, *self.arguments(memory, name, *flags)]
        return subprocess.Popen(
            command, env=os.environ | self.environment, stderr=subprocess.DEVNULL
        )

    def run(self, memory: Memory, name: str, *flags: str) -> subprocess.CompletedProcess[str]:
        return step(*self.arguments(memory, name, *flags), environment=self.environment)

    def report(self, memory: Memory, name: str, *flags: str) -> ArchiveReport:
        file = self.folder.parent / "report"
        done = self.run(memory, name, *flags, f"--report={file}")
        assert done.returncode == 0, done.stderr
        found = archive_report(file.read_text())
        assert found is not None
        return found

    @property
    def files(self) -> list[str]:
        return sorted(each.name for each in (self.folder / OWNER).glob("*"))


def in_folder(tmp_path: Path) -> Iterator[Repository]:
    folder = tmp_path / "archives"
    folder.mkdir()
    yield Repository(str(folder), folder, {})


def in_bucket(tmp_path: Path) -> Iterator[Repository]:
    """`rclone serve s3`, which checks signatures."""
    folder, port = tmp_path / "s3", free_port()
    bucket = folder / "backups/studio"
    bucket.mkdir(parents=True)
    program = Path(sys.executable).parent / "rclone"
    command = [str(program), "serve", "s3", str(folder), f"--addr=127.0.0.1:{port}", "--auth-key=reader,s3cret"]  # fmt: skip
    log = tmp_path / "s3.log"
    server = start_in_background(command, log, die_with_parent=True)
    until("it serves", lambda: "Starting s3 server" in log.read_text(), seconds=20)
    environment = {
        "AWS_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "reader",
        "AWS_SECRET_ACCESS_KEY": "s3cret",
    }
    yield Repository("s3://backups/studio", bucket, environment)
    server.terminate()
    server.wait(20)


@pytest.fixture(params=[in_folder, in_bucket], ids=["folder", "s3"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Repository]:
    yield from request.param(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Repository]:
    yield from in_folder(tmp_path)


@pytest.fixture
def filled(memory: Memory, tmp_path: Path) -> Memory:
    with served(memory.url, tmp_path) as service:
        History(service).append(event(), *days())
        Concepts(service, "").evolve("A mason.")
        Concepts(service, "").evolve("A ferryman.", name="Tam")
        Relations(service).write("Tam", "knows", "Ilda Venn", world_seconds=5)
    return memory


def append(memory: Memory, folder: Path, text: str) -> None:
    with served(memory.url, folder) as service:
        History(service).append(event(text))


def test_a_restored_memory_equals_the_one_that_was_backed_up(
    filled: Memory, repository: Repository, new: New, tmp_path: Path
) -> None:
    made = repository.report(filled, "backup", f"--slot={DAYS[0]}")
    assert (made.worlds, made.events, made.concepts, made.relations, made.kept) == (1, 4, 2, 1, 1)
    assert made.size > 0
    assert repository.files == [made.file]
    other = new()
    found = repository.report(other, "restore")
    assert (found.file, found.events, found.concepts) == (made.file, 4, 2)
    for statement in (EVENTS, CONCEPTS, RELATIONS, REVIEWS):
        assert other.rows(statement) == filled.rows(statement)
    with served(other.url, tmp_path) as service:
        assert History(service).append(event("Peace."))[0].sequence == 5


def test_a_backup_that_runs_twice_makes_one_archive(
    filled: Memory, repository: Repository, tmp_path: Path
) -> None:
    first = repository.report(filled, "backup", f"--slot={DAYS[0]}")
    append(filled, tmp_path, "Later.")
    assert repository.report(filled, "backup", f"--slot={DAYS[0]}") == first
    assert repository.files == [first.file]


def test_the_newest_archives_are_kept(
    filled: Memory, repository: Repository, tmp_path: Path
) -> None:
    (repository.folder / OWNER).mkdir(parents=True)
    (repository.folder / OWNER / "notes.txt").write_text("of the user")
    for day in DAYS[:4]:
        found = repository.report(filled, "backup", f"--slot={day}", "--keep=2")
    assert found.kept == 2
    *names, notes = repository.files
    assert notes == "notes.txt", "what is no archive is the user's"
    assert [name[:16] for name in names] == DAYS[2:4]
    # One that is older than all of them, by hand: it is not removed at once.
    late = repository.report(filled, "backup", f"--slot={DAYS[0]}", "--keep=2")
    assert late.file in repository.files


def test_a_memory_that_lost_its_history_removes_no_archive(
    filled: Memory, repository: Repository, new: New, tmp_path: Path
) -> None:
    good = repository.report(filled, "backup", f"--slot={DAYS[0]}", "--keep=1")
    empty = new()
    for day in DAYS[1:4]:
        found = repository.report(empty, "backup", f"--slot={day}", "--keep=1")
        assert f"archive {good.file} was not made by this database" in found.warning
    with served(empty.url, tmp_path) as service:
        History(service).append(*(event(f"{each}. A new beginning.") for each in range(9)))
    found = repository.report(empty, "backup", f"--slot={DAYS[4]}", "--keep=1")
    assert found.warning, "also with more events than before"
    assert good.file in repository.files
    clash = repository.run(empty, "restore", f"--archive={DAYS[0]}")
    assert "other events with the same numbers: delete those events" in clash.stderr
    with served(empty.url, tmp_path) as service:
        History(service).call("ForgetEvents", before_world_seconds=1 << 40)
    assert repository.report(empty, "restore", f"--archive={DAYS[0]}").events == 4
    found = repository.report(empty, "backup", f"--slot={DAYS[5]}", "--keep=1")
    assert (found.warning, found.kept) == ("", 1)
    assert repository.files == [found.file]
    assert repository.report(new(), "restore").events == 4


def test_a_database_that_was_set_back_removes_no_archive(
    filled: Memory, folder: Repository, tmp_path: Path
) -> None:
    """To the state of a snapshot; then it gets more events than it had."""
    folder.report(filled, "backup", f"--slot={DAYS[0]}")
    [(before,)] = filled.rows("SELECT value FROM memory_ops.facts WHERE key = 'archives'")
    later = folder.report(filled, "backup", f"--slot={DAYS[1]}")
    filled.rows(
        "UPDATE memory_ops.facts SET value = %s WHERE key = 'archives' RETURNING key", before
    )
    append(filled, tmp_path, "Another way.")
    for day in DAYS[2:5]:
        found = folder.report(filled, "backup", f"--slot={day}", "--keep=1")
        assert f"archive {later.file} was not made by this database" in found.warning
    assert later.file in folder.files


def test_two_databases_do_not_take_each_others_archives_for_their_own(
    filled: Memory, folder: Repository, new: New, tmp_path: Path
) -> None:
    folder.report(filled, "backup", f"--slot={DAYS[0]}")
    other = new()
    folder.report(other, "restore")
    append(filled, tmp_path, "Only here.")
    first = folder.report(other, "backup", f"--slot={DAYS[1]}")
    second = folder.report(filled, "backup", f"--slot={DAYS[1]}")
    assert (first.events, second.events) == (4, 5)
    assert "may have lost history" in second.warning


def test_the_newest_archive_is_not_restored_where_an_older_one_has_more(
    filled: Memory, folder: Repository, new: New
) -> None:
    good = folder.report(filled, "backup", f"--slot={DAYS[0]}")
    empty = new()
    folder.report(empty, "backup", f"--slot={DAYS[1]}")
    refused = folder.run(new(), "restore")
    assert (refused.returncode, f"fewer events than {good.file}" in refused.stderr) == (1, True)
    assert folder.report(new(), "restore", f"--archive={DAYS[1]}").events == 0


def test_events_that_were_deleted_are_no_loss(
    filled: Memory, folder: Repository, tmp_path: Path
) -> None:
    folder.report(filled, "backup", f"--slot={DAYS[0]}", "--keep=1")
    with served(filled.url, tmp_path) as service:
        History(service).call("ForgetEvents", before_world_seconds=1 << 40)
    found = folder.report(filled, "backup", f"--slot={DAYS[1]}", "--keep=1")
    assert (found.warning, found.events) == ("", 0)
    assert folder.files == [found.file]


def test_a_restore_of_one_name_is_done_once(
    filled: Memory, folder: Repository, new: New, tmp_path: Path
) -> None:
    """What was deleted since does not come back when a Job runs again."""
    folder.report(filled, "backup", f"--slot={DAYS[0]}")
    other = new()
    first = folder.report(other, "restore", "--once=a")
    with served(other.url, tmp_path) as service:
        History(service).call("ForgetEvents", before_world_seconds=1 << 40)
    again = folder.report(other, "restore", "--once=a")
    assert again.warning.endswith("nothing was added")
    assert replace(again, warning="") == first
    assert other.rows("SELECT count(*) FROM memory.story_events") == [(0,)]
    assert folder.report(other, "restore", "--once=b").events == 4


def test_an_archive_that_is_damaged_is_made_again_or_refused(
    filled: Memory, folder: Repository, new: New
) -> None:
    made = folder.report(filled, "backup", f"--slot={DAYS[0]}")
    file = folder.folder / OWNER / made.file
    whole = file.read_bytes()
    for content in (b"", whole[:-9], whole[:40] + b"\0" * 40 + whole[80:], b"text"):
        file.write_bytes(content)
        done = folder.run(new(), "restore")
        assert (done.returncode, "damaged" in done.stderr) == (1, True), content[:20]
    changed = gzip.decompress(whole).replace(b'"importance": 50', b'"importance": 51')
    file.write_bytes(gzip.compress(changed))
    empty = new()
    done = folder.run(empty, "restore")
    assert (done.returncode, "the checksum is not that" in done.stderr) == (1, True), done.stderr
    assert empty.rows("SELECT count(*) FROM memory.worlds") == [(0,)], "nothing of it was written"
    assert folder.report(filled, "backup", f"--slot={DAYS[0]}").events == 4
    assert folder.report(new(), "restore").events == 4


def test_a_restore_without_an_archive_says_what_there_is(
    filled: Memory, repository: Repository, new: New
) -> None:
    def refused(*flags: str) -> str:
        done = repository.run(new(), "restore", *flags)
        assert done.returncode == 1
        return done.stderr.strip()

    assert "no archive of games/lore: it has no archives at all" in refused()
    made = repository.report(filled, "backup", f"--slot={DAYS[0]}")
    assert "it has archives of games/lore: name one" in refused("--owner=games/other")
    other = f"{DAYS[3]}.0a1b2c3d.1.1.jsonl.gz"
    assert refused(f"--archive={other}").endswith(f"the newest are {made.file}")


def test_a_repository_that_does_not_answer_is_another_try(filled: Memory, tmp_path: Path) -> None:
    for bucket in in_bucket(tmp_path):
        bucket.environment["AWS_SECRET_ACCESS_KEY"] = "another-secret"
        done = bucket.run(filled, "backup", f"--report={tmp_path / 'none'}")
        assert (done.returncode, "SignatureDoesNotMatch" in done.stderr) == (1, True), done.stderr
        assert "another-secret" not in done.stderr
        assert "Debug source" not in done.stderr
        assert not (tmp_path / "none").exists()
        bucket.environment["AWS_SECRET_ACCESS_KEY"] = "s3cret"
        bucket.place = "s3://nowhere"
        done = bucket.run(filled, "backup")
        assert (done.returncode, "NoSuchBucket" in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("AWS_REGION", "", "S3 needs a region"),
        ("AWS_ACCESS_KEY_ID", "", "no credentials for S3: set secretRef"),
        ("AWS_ACCESS_KEY_ID", "reader\n", "AWS_ACCESS_KEY_ID has a space, a line end"),
        ("AWS_ENDPOINT_URL_S3", "minio:9000", "AWS_ENDPOINT_URL_S3 must be http"),
        ("AWS_ENDPOINT_URL_S3", "http://minio:99999", "AWS_ENDPOINT_URL_S3 must be http"),
    ],
)
def test_what_s3_needs_is_said_before_it_is_called(
    memory: Memory, tmp_path: Path, name: str, value: str, words: str
) -> None:
    own = {"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    done = Repository("s3://backups", tmp_path, own | {name: value}).run(memory, "backup")
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr


def test_an_archive_can_be_imported_as_it_is(filled: Memory, folder: Repository, new: New) -> None:
    made = folder.report(filled, "backup", f"--slot={DAYS[0]}")
    other = new()
    file = folder.folder / OWNER / made.file
    assert step("import", f"--database={other.url}", f"--file={file}").returncode == 0
    assert other.rows(EVENTS) == filled.rows(EVENTS)


def test_a_folder_that_is_not_there_is_named(filled: Memory, tmp_path: Path) -> None:
    missing = Repository(str(tmp_path / "none"), tmp_path / "none", {})
    done = missing.run(filled, "backup")
    assert done.returncode == 1
    assert f"{tmp_path / 'none'} is not a folder: create one" in done.stderr


@pytest.mark.parametrize("name", ["backup", "restore"])
def test_a_step_that_is_killed_at_any_time_is_completed_by_the_next_one(
    filled: Memory, repository: Repository, new: New, name: str, tmp_path: Path
) -> None:
    """At no time is a file found that is not a whole archive, and nothing is there twice."""
    if name == "restore":
        repository.report(filled, "backup", f"--slot={DAYS[0]}")
    target = new() if name == "restore" else filled
    began = time.monotonic()
    undisturbed = new() if name == "restore" else filled
    with repository.process(undisturbed, name, f"--slot={DAYS[1]}") as process:
        assert process.wait(60) == 0
    seconds = time.monotonic() - began
    for part in range(1, 7):
        with repository.process(target, name, f"--slot={DAYS[1 + part]}") as process:
            time.sleep(seconds * part / 6)
            process.send_signal(signal.SIGKILL)
    report = repository.report(target, name, f"--slot={DAYS[7]}")
    assert report.events in (0, 4), "of a restore, what the killed ones had not added"
    whole = [each for each in repository.files if archive_name(each)]
    for each in whole:
        assert repository.report(new(), "restore", f"--archive={each}").events == 4
    for statement in (EVENTS, CONCEPTS, RELATIONS, REVIEWS):
        assert target.rows(statement) == filled.rows(statement)


@pytest.mark.parametrize("size", [0, 999, 1000, 1001, 2000, 2500])
def test_an_archive_is_read_in_pieces_however_slowly(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    for name, value in repository.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(repositories, "_PIECE_BYTES", 1000)
    data = bytes(range(250)) * 10
    file = repository.folder / OWNER / "20261129T030000Z.5d1f0c2a.1.1.jsonl.gz"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data[:size])
    place = repositories.repository(repository.place, OWNER)
    assert b"".join(place.read(file.name)) == data[:size]
