import pytest
from gameai.knowledge.ingestion.cleaning import clean, hidden
from gameai.knowledge.ingestion.documents import MOST_BYTES, DocumentError, parse

LORE = """---
title: Bridges
summary: Of bridges.
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
    assert (document.title, document.audience) == ("Bridges", ("smith",))
    assert found(LORE) == {
        "": "Before any section.",
        "Carrow": "Nine arches.",
        "Carrow > Tolls": "```\n# no heading\n```",
        "Empty": "## Empty",
        "Harrow": "Two arches.",
    }


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_lines_may_end_as_on_other_systems(end: str) -> None:
    assert list(found("# A\n\n## B\n\ntext\n".replace("\n", end))) == ["B"]


def test_several_headings_of_the_first_level_are_sections() -> None:
    assert found("# A\nfirst\n# B\nsecond") == {"A": "first", "B": "second"}


def test_a_document_needs_neither_front_matter_nor_headings() -> None:
    assert found("Only text.") == {"": "Only text."}
    assert found("---\n\n---\nText.") == {"": "Text."}


def test_a_heading_with_nothing_below_it_is_text_itself() -> None:
    assert found("text\n\n## Last") == {"": "text", "Last": "## Last"}
    assert found("## A\n### B\ntext") == {"A > B": "text"}


def test_the_title_is_that_of_the_front_matter_or_a_single_first_heading() -> None:
    assert parse(b"# The Fall\n\nIt burned.").title == "The Fall"
    assert parse(b"---\ntitle: Other\n---\n# The Fall\n\nIt burned.").title == "Other"
    assert parse(b"# A\nfirst\n# B\nsecond").title == ""


@pytest.mark.parametrize("head", ["\ufeff---\n", "---\r", "--- \r\n"])
def test_front_matter_is_seen_behind_a_mark_and_with_any_end_of_line(head: str) -> None:
    end = "\r" if head.endswith("\r") else "\n"
    data = f"{head}audience: [smith]{end}---{end}text".encode()
    document = parse(data)
    assert document.audience == ("smith",)
    assert document.text == "text"
    assert data[document.byte(0) : document.byte(4)] == b"text"


def test_what_spans_chunks_is_removed_before_a_document_is_cut() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "QUJD\n" * 300 + "-----END RSA PRIVATE KEY-----"
    data = f"# T\n\nbefore\n\n{key}\n\n<!-- {'hidden ' * 500} a@b.org -->\n\nafter é".encode()
    document = parse(data)
    assert document.text == "# T\n\nbefore\n\n[removed: private key]\n\n\n\nafter é"
    after = document.text.index("after")
    assert data[document.byte(after) : document.byte(after + 7)].decode() == "after é"
    within = document.text.index("removed")
    assert document.byte(0) < document.byte(within) <= data.index(b"END RSA")


def test_positions_are_found_again_far_into_a_long_text() -> None:
    data = ("é" * 10_000 + "x").encode()
    document = parse(data)
    assert document.byte(10_000) == 20_000
    assert document.byte(len(document.text)) == len(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it has no text"),
        (b"# A\n", "it has no text"),
        (b"a\xffb", "it is not UTF-8: byte 1 cannot be decoded"),
        (b"a\0b", "character 1 is NUL"),
        (b"x" * (MOST_BYTES + 1), "divide it into several documents"),
        (b"---\na: [\n---\ntext", "its front matter is not YAML"),
        (b"---\n- a\n---\ntext", "its front matter is not a mapping"),
        (
            b"---\na: &-x [1]\nb: *-x\n---\ntext",
            "its front matter is not YAML: aliases are not read",
        ),
        (b"---\na: !!int ''\n---\ntext", "its front matter is not YAML"),
        (b"---\na: !!bool x\n---\ntext", "its front matter is not YAML"),
        (("a" + "\u0301\u0316" * 16).encode(), "more than 30 combining marks"),
        (b"# A\n" * 5001, "more than 5000 headings"),
        (b"---\na: " + b"x" * 20_000 + b"\n---\ntext", "more than 16384 characters"),
        (b"---\ntitle: 3\n---\ntext", "title in its front matter must be a text"),
        (b'---\ntitle: "\\ud800"\n---\ntext', "title in its front matter must be a text"),
        (
            b"---\nAudience: [smith]\n---\ntext",
            "Audience in its front matter is not known: did you mean audience?",
        ),
        (b"---\naudiance: [smith]\n---\ntext", "did you mean audience?"),
        (
            b"---\naudience: smith\n---\ntext",
            "audience in its front matter must be a list of at most 32",
        ),
        (b'---\naudience: ["a\\0b"]\n---\ntext', "audience in its front matter must be a list"),
        (b"---\naudience: [" + b"a, " * 40 + b"]\n---\ntext", "at most 32 texts"),
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
        ("A <<b>iframe> é", "A  é"),
    ],
)
def test_text_is_cleaned(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned
    assert clean(cleaned) == cleaned


def test_hidden_characters_are_counted_without_those_of_ordinary_writing() -> None:
    assert hidden("a\u200d\u00ad\ufe0f\r\n\tb") == 0
    assert hidden("a\u200b\U000e0041\u2800") == 3
