"""Documents cut into chunks that fit the embedding model."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from semantic_text_splitter import MarkdownSplitter

from gameai.knowledge.ingestion.cleaning import clean
from gameai.knowledge.ingestion.documents import Document, DocumentError
from gameai.knowledge.ingestion.redaction import redact
from gameai.knowledge.ingestion.suspicion import reasons
from gameai.knowledge.records import Chunk, Status

# In tokens of the model, which reads 256: the rest is for the title and the path of sections.
_LEAST_TOKENS, _MOST_TOKENS, _OVERLAP = 160, 200, 24
# A word that the model does not know is one token, however long it is.
_MOST_CHARACTERS = 2000
_WINDOW = 8000
_MOST_SECTION = 120
MOST_CHUNKS = 2000

Cut = Callable[[Document], list[Chunk]]


def cutter(tokenizer: Any) -> Cut:
    """What cuts documents, by tokens of this tokenizer. It raises `DocumentError`."""
    splitter = MarkdownSplitter.from_huggingface_tokenizer(
        tokenizer, (_LEAST_TOKENS, _MOST_TOKENS), _OVERLAP
    )

    def cut(document: Document) -> list[Chunk]:
        found: list[Chunk] = []
        title = redact(clean(document.title))
        for section, begin, end in _pieces(document, splitter):
            # Again redacted: full-width letters and digits are plain ones only now.
            content = redact(clean(document.text[begin:end]))
            if not content:
                continue
            if len(found) == MOST_CHUNKS:
                raise DocumentError(
                    f"it has more than {MOST_CHUNKS} chunks: divide it into several documents"
                )
            why = reasons(f"{document.title}\n{section}\n{document.text[begin:end]}")
            found.append(
                Chunk(
                    number=len(found),
                    title=title,
                    section=redact(clean(section))[:_MOST_SECTION],
                    content=content,
                    begin_byte=document.byte(begin),
                    end_byte=document.byte(end),
                    status=Status.QUARANTINED if why else Status.LIVE,
                    reasons=why,
                )
            )
        if not found:
            raise DocumentError("it has no text")
        return found

    return cut


def _pieces(document: Document, splitter: MarkdownSplitter) -> Iterator[tuple[str, int, int]]:
    """Section, and where a piece begins and ends in the document's text."""
    for section in document.sections:
        windows = _windows(document.text, section.begin, section.end)
        for start, window in windows:
            for begin, end in _short(start, splitter.chunk_indices(window)):
                yield section.path, begin, end


def _windows(text: str, begin: int, end: int) -> Iterator[tuple[int, str]]:
    """A section in parts of bounded length, cut at white space: the splitter's time can grow with the square of it."""
    while begin < end:
        stop = min(begin + _WINDOW, end)
        if stop < end:
            space = max(text.rfind(each, begin + _WINDOW // 2, stop) for each in "\n ")
            stop = space if space > begin else stop
        yield begin, text[begin:stop]
        begin = stop


def _short(start: int, pieces: Iterable[tuple[int, str]]) -> Iterator[tuple[int, int]]:
    """Begin and end of pieces of bounded length."""
    for offset, text in pieces:
        for part in range(0, len(text), _MOST_CHARACTERS):
            begin = start + offset + part
            yield begin, begin + min(_MOST_CHARACTERS, len(text) - part)
