"""PURE: a document of Markdown with front matter, and its sections."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import accumulate

from gameai_contract.plain_yaml import YamlError, compose, construct
from markdown_it import MarkdownIt

from gameai.knowledge.ingestion.edits import Edit, Edited
from gameai.knowledge.ingestion.redaction import edits
from gameai.knowledge.records import MOST_AUDIENCE, MOST_AUDIENCE_CHARACTERS

MOST_BYTES = 4 << 20
_MOST_FRONT_MATTER = 16 << 10
_LINE = r"(?:\r\n|\n|\r)"
_FRONT_MATTER = re.compile(rf"\A---[ \t]*{_LINE}(.*?{_LINE})??---[ \t]*(?:{_LINE}|\Z)", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_KEYS = ("title", "audience")
_MOST_TITLE = 200
_MARK = 4096
_MOST_MARKS, _MOST_HEADINGS = 30, 5000
_BOM = "\ufeff"
_TITLE_LEVEL = 1


class DocumentError(Exception):
    """A document cannot be read; the message says what is wrong and where."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A part of a document below one heading: `begin` and `end` count characters of the document's text."""

    path: str
    begin: int
    end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A document without comments, personal data and secrets, and what it was before.

    `title` is that of the front matter, or of a single heading of the first level.
    """

    original: str
    edited: Edited
    title: str
    audience: tuple[str, ...]
    sections: tuple[Section, ...]
    # Bytes before every so many characters of the original.
    marks: tuple[int, ...]

    @property
    def text(self) -> str:
        """The text to cut; sections count its characters."""
        return self.edited.text

    def byte(self, position: int) -> int:
        """Where a character of the text stands in the document's bytes."""
        old = self.edited.old(position)
        mark = old // _MARK
        return self.marks[mark] + len(self.original[mark * _MARK : old].encode())


def parse(data: bytes) -> Document:
    """The document in UTF-8 bytes. Raises `DocumentError`."""
    if len(data) > MOST_BYTES:
        raise DocumentError(
            f"it has {len(data)} bytes, at most {MOST_BYTES} are allowed: divide it into several documents"
        )
    try:
        original = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DocumentError(f"it is not UTF-8: byte {error.start} cannot be decoded") from error
    if "\0" in original:
        raise DocumentError(f"it is not text: character {original.index(chr(0))} is NUL")
    if _stacked(original):
        raise DocumentError(
            f"it is not text: more than {_MOST_MARKS} combining marks follow each other"
        )
    matter = _FRONT_MATTER.match(original.removeprefix(_BOM))
    facts = _facts(matter.group(1) or "") if matter else {}
    head = original.startswith(_BOM) + (matter.end() if matter else 0)
    edited = Edited(original, [Edit(begin=0, end=head, text=""), *_edits(original, head)])
    sections, heading = _sections(edited.text)
    if not sections:
        raise DocumentError("it has no text")
    return Document(
        original=original,
        edited=edited,
        title=_title(facts.get("title", heading)),
        audience=_audience(facts.get("audience", [])),
        sections=sections,
        marks=_marks(original),
    )


def _stacked(text: str) -> bool:
    """Has it so many marks on one letter that normal forms take a time that grows with their square?"""
    if text.isascii():
        return False
    row = 0
    for each in text:
        row = row + 1 if unicodedata.combining(each) else 0
        if row > _MOST_MARKS:
            return True
    return False


def _marks(original: str) -> tuple[int, ...]:
    sizes = (len(original[at : at + _MARK].encode()) for at in range(0, len(original), _MARK))
    return tuple(accumulate(sizes, initial=0))


def _edits(original: str, head: int) -> list[Edit]:
    """Comments and what is redacted, behind the front matter: a chunk may hold a part of it only."""
    comments = [
        Edit(begin=head + each.start(), end=head + each.end(), text="")
        for each in _COMMENT.finditer(original[head:])
    ]
    removed = [
        Edit(begin=head + each.begin, end=head + each.end, text=each.text)
        for each in edits(original[head:])
    ]
    begins = [each.begin for each in comments]

    def inside(edit: Edit) -> bool:
        at = bisect_right(begins, edit.end) - 1
        return at >= 0 and comments[at].end > edit.begin

    return [*comments, *(each for each in removed if not inside(each))]


def _facts(text: str) -> Mapping[str, object]:
    if len(text) > _MOST_FRONT_MATTER:
        raise DocumentError(f"its front matter has more than {_MOST_FRONT_MATTER} characters")
    try:
        node = compose(text)
        found = None if node is None else construct(node)
    except YamlError as error:
        raise DocumentError(f"its front matter is not YAML: {str(error)[:200]}") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise DocumentError("its front matter is not a mapping of keys to values")
    for key in map(str, found):
        near = get_close_matches(key.lower(), _KEYS, n=1, cutoff=0.8)
        # A restriction that nothing reads would open the document to all.
        if key not in _KEYS and near:
            raise DocumentError(f"{key} in its front matter is not known: did you mean {near[0]}?")
    return found


def _title(value: object) -> str:
    if isinstance(value, str) and len(value) <= _MOST_TITLE and _is_text(value):
        return value
    raise DocumentError(
        f"title in its front matter must be a text of at most {_MOST_TITLE} characters"
    )


def _audience(value: object) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [None]
    if len(names) <= MOST_AUDIENCE and all(
        isinstance(each, str) and 0 < len(each) <= MOST_AUDIENCE_CHARACTERS and _is_text(each)
        for each in names
    ):
        return tuple(names)
    raise DocumentError(
        f"audience in its front matter must be a list of at most {MOST_AUDIENCE} texts of 1 to {MOST_AUDIENCE_CHARACTERS} characters"
    )


def _is_text(value: str) -> bool:
    """Can a database store it?"""
    return "\0" not in value and not any("\ud800" <= each <= "\udfff" for each in value)


def _sections(text: str) -> tuple[tuple[Section, ...], str]:
    """Sections in order, and the title: a single heading of the first level, which is in no path."""
    # Lines as markdown-it counts them.
    starts = [0, *(each.end() for each in re.finditer(r"\r\n|\n|\r", text))]
    starts.append(len(text))
    tokens = MarkdownIt("commonmark").parse(text)
    headings = [
        (int(token.tag[1:]), tokens[at + 1].content.strip(), token.map)
        for at, token in enumerate(tokens)
        if token.type == "heading_open" and token.map and token.level == 0
    ]
    if len(headings) > _MOST_HEADINGS:
        raise DocumentError(
            f"it has more than {_MOST_HEADINGS} headings: divide it into several documents"
        )
    titles = [words for level, words, _ in headings if level == _TITLE_LEVEL]
    top = _TITLE_LEVEL if len(titles) > 1 else _TITLE_LEVEL + 1
    return (
        tuple(_parts(text, starts, headings, top)),
        titles[0][:_MOST_TITLE] if len(titles) == 1 else "",
    )


def _parts(
    text: str, starts: list[int], headings: list[tuple[int, str, list[int]]], top: int
) -> Iterator[Section]:
    """What stands below each heading, up to the next one; what stands before the first has no path."""
    yield from _section(text, {}, 0, starts[headings[0][2][0]] if headings else len(text))
    path: dict[int, str] = {}
    for at, (level, words, (first, last)) in enumerate(headings):
        following = headings[at + 1] if at + 1 < len(headings) else None
        end = starts[following[2][0]] if following else len(text)
        path = {each: name for each, name in path.items() if each < level}
        if level >= top:
            path[level] = words
        empty = not text[starts[last] : end].strip()
        # A heading with nothing below it is text itself.
        alone = empty and level >= top and (following is None or following[0] <= level)
        yield from _section(text, path, starts[first if alone else last], end)


def _section(text: str, path: Mapping[int, str], begin: int, end: int) -> Iterator[Section]:
    if text[begin:end].strip():
        yield Section(path=" > ".join(path[each] for each in sorted(path)), begin=begin, end=end)
