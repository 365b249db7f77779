"""EDGE: the steps export, import, backup and restore of `python -m gameai.knowledge`."""

import argparse
import datetime
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from io import BufferedReader
from pathlib import Path
from typing import TextIO, cast

from gameai_contract.archives import MOST_KEPT, ArchiveReport, is_slot
from gameai_contract.knowledge import is_world

from gameai.knowledge import archive
from gameai.knowledge.archive import Counts
from gameai.knowledge.backups import runs
from gameai.knowledge.backups.repositories import repository
from gameai.knowledge.embedding.choice import Choice
from gameai.knowledge.store import archiving
from gameai.knowledge.store.writing import connect
from gameai.knowledge.usage import UsageError

EXPORT, IMPORT, BACKUP, RESTORE = "export", "import", "backup", "restore"
STEPS = (EXPORT, IMPORT, BACKUP, RESTORE)
# Of a file alone, without a database.
CHECK = "check"
_KEEP = 14
_PIECE_BYTES, _GZIP = 1 << 20, b"\x1f\x8b"
# Of a memory that is no KnowledgeBase.
_OWNER = "local/memory"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of these steps."""
    add = parser.add_argument_group("export, import, check, backup, restore").add_argument
    add(
        "--file",
        default="-",
        help="with export: file to write, which must not exist; with import and check: file to read, which import checks before it opens the database; "
        "-: standard output, standard input (default; a pipe is not checked before)",
    )
    add(
        "--repository",
        default="",
        metavar="FOLDER|s3://BUCKET[/PREFIX]",
        help="with backup and restore: where archives are kept; region, endpoint and credentials of S3 are those of "
        "AWS_REGION, AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, or of the pod's identity",
    )
    add(
        "--keep",
        type=int,
        default=_KEEP,
        help=f"with backup: number of archives to keep (default {_KEEP})",
    )
    add(
        "--slot",
        default="",
        help="with backup: time of the archive, YYYYMMDDTHHMMSSZ (default: now)",
    )
    add(
        "--archive",
        default="",
        help="with restore: name of an archive, or its time alone (default: the newest)",
    )
    add(
        "--once",
        default="",
        help="with restore: a name for this restore; the database remembers it and is not restored twice for it",
    )


def check(given: argparse.Namespace) -> None:
    """Raises `UsageError`."""
    if given.step not in (BACKUP, RESTORE):
        return
    if not given.repository:
        raise UsageError(f"{given.step} needs --repository FOLDER or --repository s3://BUCKET")
    if not 1 <= given.keep <= MOST_KEPT:
        raise UsageError(f"--keep must be from 1 to {MOST_KEPT}")
    if given.slot and not is_slot(given.slot):
        raise UsageError("--slot must be a time such as 20261129T030000Z")
    if given.report is not None and not given.report.parent.is_dir():
        raise UsageError(f"--report: {given.report.parent} is not a folder")
    if given.owner and not is_world(given.owner):
        raise UsageError("--owner must be NAMESPACE/NAME")


def run(database: str, given: argparse.Namespace, choice: Choice) -> int:
    """Do the step. What was done is said on standard error. Raises what the step raises."""
    # As the first process of a container it would ignore SIGTERM otherwise.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if given.step == EXPORT:
        _export(database, given.file)
        return 0
    if given.step == IMPORT:
        _import(database, given.file, choice)
        return 0
    report = _of_repository(database, given, choice)
    if given.report is not None:
        given.report.write_text(report.text())
    sys.stderr.write(_sentence(given.step, report))
    return 0


def _of_repository(database: str, given: argparse.Namespace, choice: Choice) -> ArchiveReport:
    place = repository(given.repository, given.owner or _OWNER)
    with connect(database) as connection:
        if given.step == RESTORE:
            return runs.restore(connection, place, given.archive, given.once, choice)
        now = datetime.datetime.now(datetime.UTC)  # noqa: TID251 - the time of an archive that was asked for by hand
        slot = given.slot or f"{now:%Y%m%dT%H%M%SZ}"
        return runs.back_up(connection, place, slot, given.keep)


def _sentence(step: str, report: ArchiveReport) -> str:
    found = _counted(report)
    if step == RESTORE:
        done = f"restored from {report.file}: {found}; what was there stays\n"
        return f"{report.warning}; then it was {done}" if report.warning else done
    warning = f"warning: {report.warning}\n" if report.warning else ""
    return f"archived in {report.file}: {found}, {report.size} bytes; {report.kept} archives are kept\n{warning}"


def _export(database: str, file: str) -> None:
    with connect(database) as connection, _written(file) as out:
        found = archiving.export(connection, out)
    sys.stderr.write(f"exported: {_counted(found)}\n")


def check_file(file: str) -> int:
    """Read a whole archive and say what it holds. Raises `ArchiveError`, OSError."""
    with _read(file) as given:
        found = archive.checked(_lines(given))
    sys.stderr.write(f"whole: {_counted(found)}\n")
    return 0


def _import(database: str, file: str, choice: Choice) -> None:
    with _read(file) as given:
        # Of a damaged file nothing is written. What comes through a pipe can be read once only.
        if given.seekable():
            begin = given.tell()
            archive.checked(_lines(given))
            given.seek(begin)
        with connect(database) as connection:
            found = archiving.load(connection, _lines(given), choice)
    sys.stderr.write(f"imported: {_counted(found)}; what was there stays\n")


def _lines(given: BufferedReader) -> Iterator[str]:
    pieces = iter(lambda: given.read(_PIECE_BYTES), b"")
    packed = given.peek(2)[:2] == _GZIP
    return runs.lines(pieces) if packed else runs.plain(pieces)


def _written(file: str) -> AbstractContextManager[TextIO]:
    return nullcontext(sys.stdout) if file == "-" else Path(file).open("x", encoding="utf-8")


def _read(file: str) -> AbstractContextManager[BufferedReader]:
    """Compressed or not."""
    return (
        nullcontext(cast("BufferedReader", sys.stdin.buffer))
        if file == "-"
        else Path(file).open("rb")
    )


def _counted(found: Counts | ArchiveReport) -> str:
    return (
        f"{found.worlds} worlds, {found.events} events, {found.concepts} versions of concepts,"
        f" {found.relations} of relations, {found.reviews} reviews"
    )
