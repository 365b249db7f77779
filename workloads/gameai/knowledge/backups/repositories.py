"""EDGE: where the archives of knowledge bases are: a folder, or a bucket of S3. Each knowledge base has a folder of its own there."""

import contextlib
import datetime
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import obstore
from gameai_contract.archives import BUCKET_PATTERN, ENDPOINT_PATTERN
from gameai_contract.knowledge import is_world
from obstore.exceptions import BaseError, GenericError
from obstore.store import S3Store

from gameai.knowledge.store.errors import hidden

_S3 = "s3://"
_PART = ".part"
# One of them is there where a pod or a person has credentials.
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
_CHUNK_BYTES = 1 << 20
# An object has at most 10,000 parts of this size.
_UPLOAD_BYTES = _PIECE_BYTES = 8 << 20
_RETRIES, _RETRY_SECONDS, _TIMEOUT = 5, 60, "60s"
# Others that a message names.
_MOST_NAMED = 5
_MOST_WORDS = 500
_NO_RANGES = "non-partial response"
_ERROR_BODY = re.compile(
    "<Code>(?P<code>[^<]*)</Code>.*?<Message>(?P<message>[^<]*)</Message>", re.DOTALL
)


class RepositoryError(Exception):
    """The repository cannot be used as it is; the message says what to do."""


class Repository(Protocol):
    """The archives of one knowledge base, `owner`. Each method raises OSError, with the storage's message."""

    @property
    def owner(self) -> str:
        """The knowledge base, `namespace/name`."""

    def names(self) -> list[str]:
        """Files that are complete, in any order."""

    def write(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A new file. It is there when the body ends without an error, and not before."""

    def read(self, name: str) -> Iterator[bytes]:
        """The bytes of a file, in pieces."""

    def size(self, name: str) -> int:
        """Number of bytes of a file."""

    def remove(self, name: str) -> None:
        """Remove a file."""

    def others(self) -> list[str]:
        """Some knowledge bases that have archives here, `namespace/name`."""


class Folder:
    """A folder of a file system."""

    def __init__(self, root: Path, owner: str) -> None:
        self.owner = owner
        self._root, self._own = root, root / owner

    def names(self) -> list[str]:
        """Files that are complete, in any order."""
        if not self._root.is_dir():
            raise RepositoryError(f"{self._root} is not a folder: create one, or name s3://BUCKET")
        if not self._own.is_dir():
            return []
        return [each.name for each in self._own.iterdir() if each.is_file()]

    @contextlib.contextmanager
    def write(self, name: str) -> Iterator[BinaryIO]:
        """A new file, which is there when the body ends without an error."""
        self._own.mkdir(parents=True, exist_ok=True)
        # What a backup left that was killed.
        for each in self._own.glob(f"*{_PART}"):
            if each.is_file():
                each.unlink(missing_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._own, suffix=_PART, delete=False) as out:
            part = Path(out.name)
            try:
                yield cast("BinaryIO", out)
                out.flush()
                os.fsync(out.fileno())
                part.rename(self._own / name)
            finally:
                part.unlink(missing_ok=True)
        self._sync()

    def _sync(self) -> None:
        """After a power failure the file must still have its name."""
        number = os.open(self._own, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)

    def read(self, name: str) -> Iterator[bytes]:
        """The bytes of a file, in pieces."""
        with (self._own / name).open("rb") as file:
            while piece := file.read(_CHUNK_BYTES):
                yield piece

    def size(self, name: str) -> int:
        """Number of bytes of a file."""
        return (self._own / name).stat().st_size

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self._own / name).unlink(missing_ok=True)

    def others(self) -> list[str]:
        """Some knowledge bases that have archives here, `namespace/name`."""
        found = (each.relative_to(self._root).as_posix() for each in self._root.glob("*/*"))
        return sorted(filter(is_world, found))[:_MOST_NAMED]


class Bucket:
    """A bucket of S3, or of what speaks its protocol. Region, endpoint and credentials are those of the AWS_ variables."""

    def __init__(self, bucket: str, prefix: str, owner: str) -> None:
        self.owner = owner
        # An endpoint without TLS is its user's choice, as a server in the same cluster may be.
        plain = os.environ.get("AWS_ENDPOINT_URL_S3", "").startswith("http://")
        seconds = datetime.timedelta(seconds=_RETRY_SECONDS)
        self._store = S3Store(
            bucket,
            prefix=prefix or None,
            client_options={"timeout": _TIMEOUT, "allow_http": plain},
            retry_config={"max_retries": _RETRIES, "retry_timeout": seconds},
        )

    def names(self) -> list[str]:
        """Files that are complete, in any order."""
        with _said():
            pages = list(obstore.list(self._store, self.owner))
        paths = [each["path"].removeprefix(f"{self.owner}/") for page in pages for each in page]
        return [each for each in paths if "/" not in each]

    @contextlib.contextmanager
    def write(self, name: str) -> Iterator[BinaryIO]:
        """A new file, which is there when the body ends without an error."""
        with (
            _said(),
            obstore.open_writer(self._store, self._path(name), buffer_size=_UPLOAD_BYTES) as out,
        ):
            yield cast("BinaryIO", out)

    def read(self, name: str) -> Iterator[bytes]:
        """The bytes of a file, in pieces."""
        # Each piece is a request of its own: what is read slowly would exceed the time of one.
        size, path = self.size(name), self._path(name)
        with _said():
            if size <= _PIECE_BYTES or not self._gives_ranges(path):
                for piece in obstore.get(self._store, path).stream(_CHUNK_BYTES):
                    yield bytes(piece)
                return
        for begin in range(0, size, _PIECE_BYTES):
            end = min(begin + _PIECE_BYTES, size)
            with _said():
                part = obstore.get_range(self._store, path, start=begin, end=end)
            yield bytes(part)

    def _gives_ranges(self, path: str) -> bool:
        """Whether the server answers a range with that range; some answer with the whole."""
        try:
            obstore.get_range(self._store, path, start=0, end=1)
        except GenericError as error:
            if _NO_RANGES in str(error):
                return False
            raise
        return True

    def size(self, name: str) -> int:
        """Number of bytes of a file."""
        with _said():
            return obstore.head(self._store, self._path(name))["size"]

    def remove(self, name: str) -> None:
        """Remove a file."""
        with _said():
            obstore.delete(self._store, self._path(name))

    def others(self) -> list[str]:
        """Some knowledge bases that have archives here, `namespace/name`."""
        with _said():
            spaces = obstore.list_with_delimiter(self._store)["common_prefixes"]
            found = [
                each
                for space in spaces[:_MOST_NAMED]
                for each in obstore.list_with_delimiter(self._store, space)["common_prefixes"]
            ]
        return sorted(filter(is_world, found))[:_MOST_NAMED]

    def _path(self, name: str) -> str:
        return f"{self.owner}/{name}"


def repository(place: str, owner: str) -> Repository:
    """The archives of a knowledge base in a folder, or in `s3://bucket/prefix`. Raises `RepositoryError`."""
    if not place.startswith(_S3):
        return Folder(Path(place), owner)
    bucket, _, prefix = place.removeprefix(_S3).partition("/")
    if not re.fullmatch(BUCKET_PATTERN, bucket):
        raise RepositoryError(f"{place}: write {_S3}BUCKET or {_S3}BUCKET/PREFIX")
    _check_environment()
    return Bucket(bucket, prefix.strip("/"), owner)


def _check_environment() -> None:
    """What the storage would say in words of its own, or wait for."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3", "")
    if endpoint and not re.fullmatch(ENDPOINT_PATTERN, endpoint):
        raise RepositoryError(
            "AWS_ENDPOINT_URL_S3 must be http:// or https://, a host, and a port from 1 to 65535"
        )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        value = os.environ.get(name, "")
        if not value.isprintable() or " " in value:
            raise RepositoryError(
                f"{name} has a space, a line end or another character that no key has: correct the Secret"
            )
    if not (os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")):
        raise RepositoryError("S3 needs a region: set AWS_REGION")
    if not any(os.environ.get(each) for each in _CREDENTIALS):
        raise RepositoryError(
            "no credentials for S3: set secretRef, or associate a role with the ServiceAccount <name>-memory (EKS Pod Identity); "
            "on a laptop set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """Errors of the storage as one line, without values of a Secret."""
    try:
        yield
    except BaseError as error:
        raise OSError(_words(str(error))) from error


def _words(text: str) -> str:
    first = text.strip().partition("\n")[0]
    found = _ERROR_BODY.search(text)
    if found is not None:
        first = f"{first.partition(': <?xml')[0]}: {found['code']}: {found['message']}"
    shown = "".join(each if each.isprintable() else " " for each in first)
    return hidden(shown)[:_MOST_WORDS]
