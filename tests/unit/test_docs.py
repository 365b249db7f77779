"""The documents: links lead somewhere, reasons are listed, and the words are plain."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
# Words that send a reader back to the start of a sentence.
_ARCHAIC = re.compile(
    r"\b(told|tells?|telling|anew|amid|mend(?:s|ed|ing)?|for ever|whoever|nobody|whom|lest)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z']+")


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_link_of_a_document_leads_somewhere(file: Path) -> None:
    broken = [
        link
        for link, _ in _LINK.findall(file.read_text())
        if "://" not in link and not (file.parent / link).exists()
    ]
    assert broken == []


def test_every_page_is_in_the_sites_navigation() -> None:
    pages = {str(file.relative_to(ROOT / "docs")) for file in ROOT.glob("docs/**/*.md")}
    shown = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert shown - pages == {"index.md", "security.md"}, "these are README and SECURITY"
    assert pages <= shown


def test_the_list_of_examples_names_every_one() -> None:
    listed = set(re.findall(r"\]\(([\w./-]+\.yaml)\)", (ROOT / "examples/README.md").read_text()))
    there = {str(f.relative_to(ROOT / "examples")) for f in ROOT.glob("examples/**/*.yaml")}
    assert listed == {each for each in there if not each.startswith("laptop/")}


def test_every_reason_of_a_condition_is_listed() -> None:
    listed = set(re.findall(r"`([A-Za-z]+)`", (ROOT / "docs/conditions.md").read_text()))
    used: set[str] = set()
    for folder in ("controller", "resources", "tier", "world", "knowledge", "scaling"):
        for file in (ROOT / "operator/gameai_operator" / folder).glob("*.py"):
            used |= set(re.findall(r'reason="([A-Z][A-Za-z]+)"', file.read_text()))
    assert used - listed == {"FieldValueInvalid"} & used


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_what_contributing_names_exists() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().split("## Rules")[0]
    operator = ROOT / "operator/gameai_operator"
    gateway = ROOT / "workloads/gameai"
    for name in re.findall(r"`([\w./]+(?:\.py|\.yaml|\.md|/))`", table):
        places = (ROOT / name, operator / name, gateway / name)
        assert any(place.exists() for place in places), name


def test_documents_use_plain_words() -> None:
    """At most one marker in 1,000 words, and one in the changelog of what is released already."""
    words: dict[str, float] = {}
    for file in DOCUMENTS:
        text = file.read_text()
        number = len(_WORD.findall(text))
        found = len(_ARCHAIC.findall(re.sub(r"`[^`]*`", "", text)))
        if found > 1 and 1000 * found / number > 1:
            words[str(file.relative_to(ROOT))] = round(1000 * found / number, 1)
    assert words == {}


def test_code_uses_plain_words() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, text=True, capture_output=True, check=False
    )
    if listed.returncode:
        pytest.skip("no git checkout")
    found, number = 0, 0
    for name in listed.stdout.splitlines():
        if name.startswith("tests/") or "_pb2" in name or not (ROOT / name).exists():
            continue
        text = (ROOT / name).read_text()
        found += len(_ARCHAIC.findall(re.sub(r"`[^`]*`", "", text)))
        number += len(_WORD.findall(text))
    assert 1000 * found / number <= 1
