"""Documents cut into chunks that fit the embedding model."""

from collections.abc import Callable, Iterator
from typing import Any

from semantic_text_splitter import MarkdownSplitter

from gameai.knowledge.ingestion.cleaning import clean
from gameai.knowledge.ingestion.documents import Document, DocumentError
from gameai.knowledge.ingestion.redaction import redact
from gameai.knowledge.ingestion.suspicion import reasons
from gameai.knowledge.records import Chunk, Status

# In tokens of the model, which reads 256: the rest is for the path of sections.
_LEAST_TOKENS, _MOST_TOKENS, _OVERLAP = 160, 210, 24
_MOST_SECTION = 300
MOST_CHUNKS = 2000

Cut = Callable[[Document], list[Chunk]]


def cutter(tokenizer: Any, *, redacts: bool = True, quarantines: bool = True) -> Cut:
    """What cuts documents, by tokens of this tokenizer. It raises `DocumentError`."""
    splitter = MarkdownSplitter.from_huggingface_tokenizer(
        tokenizer, (_LEAST_TOKENS, _MOST_TOKENS), _OVERLAP
    )

    def cut(document: Document) -> list[Chunk]:
        found: list[Chunk] = []
        for piece in _pieces(document, splitter):
            if len(found) == MOST_CHUNKS:
                raise DocumentError(
                    f"it has more than {MOST_CHUNKS} chunks: divide it into several documents"
                )
            found.append(_chunk(len(found), *piece, redacts=redacts, quarantines=quarantines))
        if not found:
            raise DocumentError("it has no text")
        return found

    return cut


def _pieces(document: Document, splitter: MarkdownSplitter) -> Iterator[tuple[str, str, int]]:
    """Section, text as it was written, and where it begins in the document's bytes."""
    for section in document.sections:
        body = document.text[section.begin : section.end]
        begin = len(document.text[: section.begin].encode())
        seen = 0
        for offset, text in splitter.chunk_indices(body):
            # Bytes are counted once: a section may have a thousand chunks.
            begin += (
                len(body[seen:offset].encode())
                if offset >= seen
                else -len(body[offset:seen].encode())
            )
            seen = offset
            if clean(text):
                yield section.path, text, begin


def _chunk(
    number: int, section: str, text: str, begin: int, *, redacts: bool, quarantines: bool
) -> Chunk:
    content = clean(text)
    if redacts:
        content, _ = redact(content)
    why = reasons(f"{section}\n{text}") if quarantines else ()
    return Chunk(
        number=number,
        section=clean(section)[:_MOST_SECTION],
        content=content,
        begin_byte=begin,
        end_byte=begin + len(text.encode()),
        status=Status.QUARANTINED if why else Status.LIVE,
        reasons=why,
    )
