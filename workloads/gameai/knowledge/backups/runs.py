"""EDGE: one backup and one restore. Each may be killed at any point and run again."""

import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import psycopg
from gameai_contract.archives import ArchiveName, ArchiveReport, archive_report

from gameai.knowledge import archive
from gameai.knowledge.archive import MOST_LINE_BYTES, ArchiveError, Counts
from gameai.knowledge.backups.repositories import Repository, RepositoryError
from gameai.knowledge.backups.retention import archives, doubtful, lost, outdated
from gameai.knowledge.embedding.choice import Choice
from gameai.knowledge.store import archiving

Connection = psycopg.Connection[tuple[Any, ...]]
_PIECE_BYTES = 1 << 20
_MOST_NAMED = 300
# Vectors are as good as random: more effort makes a file hardly smaller.
_LEVEL = 1


def back_up(connection: Connection, place: Repository, slot: str, keep: int) -> ArchiveReport:
    """Write the archive of a slot, read it again, and remove all but the newest `keep`.

    An archive of this slot that is there already is read and reported: a repeated run makes no second one. Raises
    psycopg.Error, OSError, `ArchiveError`, `RepositoryError`.
    """
    names = archiving.archive_names(connection)
    found = (each for each in archives(place.names()) if each.slot == slot)
    made = next((each for each in found if str(each) in names), None)
    counts = _read_again(place, made) if made else None
    if made is None or counts is None:
        made = _write(connection, place, slot)
        counts = archive.checked(lines(place.read(str(made))))
    known = archives(place.names())
    warning = lost(known, {*names, str(made)})
    removed = [] if warning else [each for each in outdated(known, keep) if each != made]
    for each in removed:
        place.remove(str(each))
    return ArchiveReport(
        file=str(made),
        size=place.size(str(made)),
        **asdict(counts),
        kept=len(known) - len(removed),
        warning=warning,
    )


def _read_again(place: Repository, made: ArchiveName) -> Counts | None:
    """What an archive of a former run holds; one that is damaged is removed."""
    try:
        return archive.checked(lines(place.read(str(made))))
    except ArchiveError:
        place.remove(str(made))
        return None


def _write(connection: Connection, place: Repository, slot: str) -> ArchiveName:
    # The name comes before the content: what is written or deleted meanwhile is not counted in it.
    appended, entries = archiving.held(connection)
    lineage = archiving.lineage(connection)
    made = ArchiveName(slot=slot, lineage=lineage, appended=appended, entries=entries)
    archiving.add_archive_names(connection, [str(made)])
    with (
        place.write(str(made)) as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=_LEVEL, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8") as out,
    ):
        archiving.export(connection, out)
    return made


def restore(
    connection: Connection, place: Repository, file: str, once: str, choice: Choice
) -> ArchiveReport:
    """Add what an archive holds, the newest where none is named.

    A database that says it was restored for the same `once` stays as it is: what was deleted since does not come back.
    Raises psycopg.Error, OSError, `ArchiveError`, `EmbeddingError`, `RepositoryError`, `StoreError`.
    """
    archiving.lock(connection)
    before = archiving.restored(connection, once) if once else None
    if known := archive_report(before or ""):
        return replace(
            known, warning=f"this database was restored for {once} before: nothing was added"
        )
    found = archives(place.names())
    chosen = _chosen(place, found, file)
    try:
        # Of a damaged archive nothing is written.
        archive.checked(lines(place.read(str(chosen))))
        counts = archiving.load(connection, lines(place.read(str(chosen))), choice)
    except ArchiveError as error:
        older = ", ".join(str(each) for each in found if each.slot < chosen.slot) or "none"
        raise ArchiveError(
            f"archive {chosen}: {error} (older ones: {older[:_MOST_NAMED]})"
        ) from error
    archiving.add_archive_names(connection, map(str, found))
    report = ArchiveReport(file=str(chosen), size=place.size(str(chosen)), **asdict(counts))
    if once:
        archiving.set_restored(connection, once, report.text())
    return report


def _chosen(place: Repository, found: Sequence[ArchiveName], file: str) -> ArchiveName:
    if not found:
        others = ", ".join(place.others())
        hint = (
            f"it has archives of {others}: name one (spec.restoreFrom.knowledgeBase, --owner)"
            if others
            else "it has no archives at all; they are in NAMESPACE/NAME below it"
        )
        raise RepositoryError(f"the repository has no archive of {place.owner}: {hint}")
    wanted = [each for each in found if not file or file in (str(each), each.slot)]
    if not wanted:
        newest = ", ".join(map(str, found[:3]))
        raise RepositoryError(f"the repository has no archive {file}: the newest are {newest}")
    doubt = "" if file else doubtful(wanted[0], found)
    if doubt:
        raise RepositoryError(doubt)
    return wanted[0]


def lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """The lines of a gzip file, as `plain` gives them. Raises `ArchiveError`."""
    return plain(_unpacked(pieces))


def plain(pieces: Iterable[bytes]) -> Iterator[str]:
    """The lines of a file. A line that is too long is cut, which its reader notices. Raises `ArchiveError`."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for each in whole:
            yield _text(each + b"\n")
        if len(rest) > MOST_LINE_BYTES:
            yield _text(rest[:MOST_LINE_BYTES])
            return
    if rest:
        yield _text(rest)


def _unpacked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A small file may unpack to a very large one: it is unpacked piece by piece."""
    unpacker = zlib.decompressobj(wbits=31)
    for piece in pieces:
        left = piece
        while left and not unpacker.eof:
            try:
                yield unpacker.decompress(left, _PIECE_BYTES)
            except zlib.error as error:
                raise ArchiveError(f"the file is damaged: {error}") from error
            left = unpacker.unconsumed_tail
    if not unpacker.eof:
        raise ArchiveError("the file is damaged: it was cut off")


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise ArchiveError(f"the file is damaged: {error}") from error
