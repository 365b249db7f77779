"""PURE: a document of Markdown with front matter, and its sections."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml
from markdown_it import MarkdownIt

MOST_BYTES = 4 << 20
_MOST_FRONT_MATTER = 16 << 10
_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
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
    """A document as it was written."""

    text: str
    title: str
    importance: float
    audience: tuple[str, ...]
    sections: tuple[Section, ...]


def parse(data: bytes) -> Document:
    """The document in UTF-8 bytes. Raises `DocumentError`."""
    if len(data) > MOST_BYTES:
        raise DocumentError(
            f"it has {len(data)} bytes, at most {MOST_BYTES} are allowed: divide it into several documents"
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DocumentError(f"it is not UTF-8: byte {error.start} cannot be decoded") from error
    if "\0" in text:
        raise DocumentError(f"it is not text: character {text.index(chr(0))} is NUL")
    matter = _FRONT_MATTER.match(text)
    facts = _facts(matter.group(1)) if matter else {}
    sections = tuple(_sections(text, matter.end() if matter else 0))
    if not sections:
        raise DocumentError("it has no text")
    return Document(
        text=text,
        title=str(facts.get("title", "")),
        importance=_importance(facts.get("importance", 0.5)),
        audience=_audience(facts.get("audience", [])),
        sections=sections,
    )


def _facts(text: str) -> Mapping[str, object]:
    if len(text) > _MOST_FRONT_MATTER:
        raise DocumentError(f"its front matter has more than {_MOST_FRONT_MATTER} characters")
    # An alias can grow a small text into a large value.
    if re.search(r"(?:^|[\s,\[{])[&*]\w", text):
        raise DocumentError(
            "its front matter uses anchors or aliases of YAML: write the values out"
        )
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = str(error).splitlines()[0]
        raise DocumentError(f"its front matter is not YAML: {line}") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise DocumentError("its front matter is not a mapping of keys to values")
    return found


def _importance(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise DocumentError(
            f"importance {value!r} in its front matter must be a number from 0 to 1"
        )
    return float(value)


def _audience(value: object) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    raise DocumentError(f"audience {value!r} in its front matter must be a list of texts")


def _sections(text: str, begin: int) -> Iterator[Section]:
    """Sections with text, in order. A single heading of the first level is the title and not in the paths."""
    # Lines as markdown-it counts them.
    starts = [0, *(each.end() for each in re.finditer(r"\r\n|\n|\r", text[begin:]))]
    starts.append(len(text) - begin)
    tokens = MarkdownIt("commonmark").parse(text[begin:])
    headings = [
        (int(token.tag[1:]), tokens[at + 1].content.strip(), token.map)
        for at, token in enumerate(tokens)
        if token.type == "heading_open" and token.map and token.level == 0
    ]
    titles = [level for level, _, _ in headings if level == _TITLE_LEVEL]
    top = _TITLE_LEVEL if len(titles) > 1 else _TITLE_LEVEL + 1
    path: dict[int, str] = {}
    body = begin
    for level, words, (first, last) in headings:
        yield from _section(text, path, body, begin + starts[first])
        path = {each: name for each, name in path.items() if each < level}
        if level >= top:
            path[level] = words
        body = begin + starts[last]
    yield from _section(text, path, body, len(text))


def _section(text: str, path: Mapping[int, str], begin: int, end: int) -> Iterator[Section]:
    if text[begin:end].strip():
        yield Section(path=" > ".join(path[level] for level in sorted(path)), begin=begin, end=end)
