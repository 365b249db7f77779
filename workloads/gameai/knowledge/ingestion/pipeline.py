"""EDGE: one ingestion of a source. It may be killed at any point and started again: the result is the same."""

import contextlib
import hashlib
import logging
from collections.abc import Mapping

import numpy as np
import psycopg
from gameai_contract.knowledge import GLOBAL_TRUST

from gameai.knowledge.embedding.embedder import Embedder, RefusedTextError, Vectors
from gameai.knowledge.ingestion.bursts import bursts
from gameai.knowledge.ingestion.chunking import Cut
from gameai.knowledge.ingestion.documents import DocumentError, parse
from gameai.knowledge.ingestion.sources import SourceError
from gameai.knowledge.records import PIPELINE, Report, Source
from gameai.knowledge.store import facts, writing

_LOG = logging.getLogger(__name__)
# All vectors of a source are compared at the end.
MOST_CHUNKS = 20_000
_BURST = "NearDuplicateBurst"


def ingest(
    connection: writing.Connection,
    source: Source,
    documents: Mapping[str, bytes],
    embedder: Embedder,
    cut: Cut,
) -> Report:
    """Make the memory hold these documents of the source and no others. Raises `SourceError`, `StoreError`, `EmbeddingError`.

    A document that cannot be read is reported by name; what was ingested of it before stays.
    """
    if not source.world and source.trust < GLOBAL_TRUST:
        raise SourceError(
            f"source {source.name}: lore of all worlds needs a trust of at least {GLOBAL_TRUST}, not {source.trust}"
        )
    facts.check(connection, embedder.model, embedder.dimensions)
    with writing.locked(connection, source):
        checked_later = source.trust < GLOBAL_TRUST
        where = writing.place(connection, source, embedder.model, checked_later=checked_later)
        digest = _digest(source, documents, embedder.model)
        done = writing.finished(connection, where, digest)
        if done is not None:
            return done
        writing.begin(connection, where)
        try:
            return _Ingestion(connection, where, embedder, cut).run(documents, digest)
        except Exception as error:
            # An empty digest: the next ingestion tries again.
            with contextlib.suppress(psycopg.Error):
                writing.finish(connection, where, b"", [f"ended early: {type(error).__name__}"])
            raise


def remove(connection: writing.Connection, source: Source) -> int:
    """Remove all documents of a source, and the source; how many they were. Its reviews stay."""
    with writing.locked(connection, source):
        where = writing.known_place(connection, source)
        if where is None:
            return 0
        removed = writing.remove_others(connection, where, ())
        writing.forget(connection, where)
        return removed


class _Ingestion:
    """An ingestion that runs."""

    def __init__(
        self,
        connection: writing.Connection,
        where: writing.Place,
        embedder: Embedder,
        cut: Cut,
    ) -> None:
        self._connection = connection
        self._where = where
        self._embedder = embedder
        self._cut = cut
        self._chunks = 0
        self._embedded = 0

    def run(self, documents: Mapping[str, bytes], digest: bytes) -> Report:
        """Write all documents, then remove those that the source has no more."""
        failed = []
        for number, (name, data) in enumerate(documents.items(), 1):
            try:
                self._write(name, data)
                _LOG.info(
                    "%s: ingested %s (%d of %d)",
                    self._where.source.name,
                    name,
                    number,
                    len(documents),
                )
            except DocumentError as error:
                # It may quote a document, which may hold what no database and no terminal takes.
                failed.append(f"{name}: {error}".encode(errors="backslashreplace").decode())
                _LOG.warning("%s: %s: %s", self._where.source.name, name, error)
        removed = writing.remove_others(self._connection, self._where, documents)
        if self._where.checked_later:
            self._check_whole()
        writing.finish(self._connection, self._where, digest, failed)
        counts = writing.counts(self._connection, self._where)
        return Report(
            source=self._where.source.name,
            documents=counts[0],
            chunks=counts[1],
            quarantined=counts[2],
            embedded=self._embedded,
            removed_documents=removed,
            failed=tuple(failed),
        )

    def _write(self, name: str, data: bytes) -> None:
        document = parse(data)
        chunks = self._cut(document)
        self._chunks += len(chunks)
        if self._chunks > MOST_CHUNKS:
            raise DocumentError(
                f"the source has more than {MOST_CHUNKS} chunks: divide it into several sources"
            )
        texts = {writing.sha256(each): each.embedded for each in chunks}
        vectors = self._vectors(texts)
        writing.write(
            self._connection,
            self._where,
            writing.Written(
                name=name,
                sha256=hashlib.sha256(data).digest(),
                audience=document.audience,
                chunks=chunks,
                vectors=np.stack([vectors[writing.sha256(each)] for each in chunks]),
            ),
        )

    def _vectors(self, texts: Mapping[bytes, str]) -> dict[bytes, Vectors]:
        """A vector for each text; those that the source has already are not computed again."""
        known = writing.known_vectors(self._connection, self._where, texts)
        found = {key: value.to_numpy().astype(np.float32) for key, value in known.items()}
        missing = [key for key in texts if key not in found]
        if missing:
            self._embedded += len(missing)
            made = self._made([texts[key] for key in missing])
            found.update(zip(missing, made, strict=True))
        return found

    def _made(self, texts: list[str]) -> Vectors:
        try:
            return self._embedder.embed(texts)
        except RefusedTextError as error:
            # Other documents of the source are taken all the same.
            raise DocumentError(str(error)) from error

    def _check_whole(self) -> None:
        """Of a source with little trust nothing is found before it was seen as a whole."""
        numbers, vectors = writing.pending(self._connection, self._where)
        rows = np.array([each.to_numpy() for each in vectors], np.float32)
        held = [numbers[each] for each in bursts(rows)]
        writing.release(self._connection, self._where, held, _BURST)


def _digest(source: Source, documents: Mapping[str, bytes], model: str) -> bytes:
    """What an ingestion depends on."""
    found = hashlib.sha256(f"{PIPELINE}\n{model}\n{source.trust}\n".encode())
    for name, data in sorted(documents.items()):
        found.update(f"{len(name)}:{name}".encode() + hashlib.sha256(data).digest())
    return found.digest()
