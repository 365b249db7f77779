"""EDGE: the documents of a source: a folder, as a ConfigMap is mounted."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from gameai.knowledge.ingestion.documents import MOST_BYTES

MOST_DOCUMENTS, MOST_SOURCE_BYTES = 1000, 64 << 20
_ENDINGS = (".md", ".markdown", ".txt")


class SourceError(Exception):
    """A source cannot be read; the message says what is wrong."""


def read(folder: Path) -> Mapping[str, bytes]:
    """The documents below a folder by their paths in it, in order. Raises `SourceError`.

    Of a document that is too large one byte too many is read, so that it is refused by name.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder")
    found: dict[str, bytes] = {}
    size = 0
    try:
        for name, path in _files(folder):
            with path.open("rb") as file:
                found[name] = file.read(MOST_BYTES + 1)
            size += len(found[name])
            if len(found) > MOST_DOCUMENTS or size > MOST_SOURCE_BYTES:
                raise SourceError(
                    f"{folder} has more than {MOST_DOCUMENTS} documents or {MOST_SOURCE_BYTES >> 20} MiB: divide it into several sources"
                )
    except OSError as error:
        raise SourceError(f"{error.filename} cannot be read: {error.strerror}") from error
    if not found:
        raise SourceError(f"{folder} has no documents: {', '.join(_ENDINGS)} files are read")
    return found


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The documents and their names in order. Links that lead out of the folder are not followed."""
    root = folder.resolve()
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        # A ConfigMap's mount has its files twice, once below ..data.
        if name.startswith("..") or path.suffix not in _ENDINGS or not path.is_file():
            continue
        if not name.isprintable() or not path.resolve().is_relative_to(root):
            raise SourceError(f"{name!a} is a link out of the folder, or its name is not text")
        yield name, path
