import pytest
from gameai.knowledge.ingestion.cleaning import clean, hidden
from gameai.knowledge.ingestion.documents import MOST_BYTES, DocumentError, parse

LORE = """---
title: Bridges
summary: Of bridges.
importance: 0.8
audience: [smith]
---
# Bridges

Before any section.

## Carrow

Nine arches.

### Tolls

```
# no heading
```

## Empty

## Harrow
Two arches.
"""


def found(text: str) -> dict[str, str]:
    document = parse(text.encode())
    return {each.path: document.text[each.begin : each.end].strip() for each in document.sections}


def test_a_document_has_its_facts_and_its_sections_by_path() -> None:
    document = parse(LORE.encode())
    assert (document.title, document.importance, document.audience) == ("Bridges", 0.8, ("smith",))
    assert found(LORE) == {
        "": "Before any section.",
        "Carrow": "Nine arches.",
        "Carrow > Tolls": "```\n# no heading\n```",
        "Harrow": "Two arches.",
    }


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_lines_may_end_as_on_other_systems(end: str) -> None:
    assert list(found("# A\n\n## B\n\ntext\n".replace("\n", end))) == ["B"]


def test_several_headings_of_the_first_level_are_sections() -> None:
    assert found("# A\nfirst\n# B\nsecond") == {"A": "first", "B": "second"}


def test_a_document_needs_neither_front_matter_nor_headings() -> None:
    assert found("Only text.") == {"": "Only text."}
    assert parse(b"Only text.").importance == 0.5
    assert found("---\n\n---\nText.") == {"": "Text."}


def test_a_heading_in_the_last_line_has_no_text() -> None:
    assert found("text\n\n## Last") == {"": "text"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it has no text"),
        (b"# A\n\n## B\n", "it has no text"),
        (b"a\xffb", "it is not UTF-8: byte 1 cannot be decoded"),
        (b"a\0b", "character 1 is NUL"),
        (b"x" * (MOST_BYTES + 1), "divide it into several documents"),
        (b"---\na: [\n---\ntext", "its front matter is not YAML"),
        (b"---\n- a\n---\ntext", "its front matter is not a mapping"),
        (b"---\na: &x [1]\nb: *x\n---\ntext", "anchors or aliases"),
        (b"---\na: " + b"x" * 20_000 + b"\n---\ntext", "more than 16384 characters"),
        (b"---\nimportance: high\n---\ntext", "importance 'high' in its front matter must be"),
        (b"---\nimportance: 2\n---\ntext", "must be a number from 0 to 1"),
        (b"---\nimportance: true\n---\ntext", "must be a number from 0 to 1"),
        (b"---\naudience: smith\n---\ntext", "audience 'smith' in its front matter must be a list"),
    ],
    ids=str,
)
def test_a_document_that_cannot_be_read_says_what_is_wrong(data: bytes, words: str) -> None:
    with pytest.raises(DocumentError) as raised:
        parse(data)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("\ufb01re", "fire"),
        ("a\u200bb\u202ec\u2066d", "abcd"),
        ("a \r\n b\r c ", "a\n b\n c"),
        ("one <!-- hidden --> two <b>bold</b> 1 < 2", "one  two bold 1 < 2"),
        ("unfinished <!-- to the end", "unfinished"),
        ("tag\U000e0041\ufe01s", "tags"),
        ("tab\tstays", "tab\tstays"),
    ],
)
def test_text_is_cleaned(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned
    assert clean(cleaned) == cleaned


def test_hidden_characters_are_counted_without_those_of_ordinary_writing() -> None:
    assert hidden("a\u200d\u00ad\ufe0f\r\n\tb") == 0
    assert hidden("a\u200b\U000e0041\u2800") == 3
