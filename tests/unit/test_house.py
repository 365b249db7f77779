"""The house rules that no linter knows: sizes, places, names, and what must not stand in a file."""

import ast
import re
import statistics
import subprocess
import tokenize
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "contract/gameai_contract",
    "operator/gameai_operator",
    "workloads/gameai",
    "simulators/gameai_vllm",
    "devcluster/gameai_devcluster",
)
TABLES = {"vllm_flags.py"}  # data, exempt from the budgets
MOST_FILE, MOST_FUNCTION, P90_FUNCTION = 400, 60, 30
MOST_COLUMNS = 100
OTHERS = ("tests", "benchmarks")
NAMES_THAT_SAY_NOTHING = {"utils.py", "helpers.py", "common.py", "manager.py", "misc.py"}


def sources() -> list[Path]:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    return [file for file in files if file.name not in TABLES and "_pb2" not in file.name]


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def functions(file: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield f"{file.relative_to(ROOT)}:{node.name}", node.end_lineno - node.lineno + 1


def test_no_file_has_outgrown_its_idea() -> None:
    long = {
        str(f.relative_to(ROOT)): n
        for f in (*sources(), *(f for each in OTHERS for f in (ROOT / each).rglob("*.py")))
        if (n := len(f.read_text().splitlines())) > MOST_FILE
    }
    assert long == {}


def code_beyond(file: Path, columns: int) -> Iterator[str]:
    """Names and numbers of code, outside of texts and comments, that begin beyond a column."""
    if all(len(line) <= columns for line in file.read_text().splitlines()):
        return
    depth = 0
    with file.open("rb") as source:
        for token in tokenize.tokenize(source.readline):
            kind = tokenize.tok_name[token.type]
            # From Python 3.12 on the parts of an f-string are tokens of their own.
            depth += (kind == "FSTRING_START") - (kind == "FSTRING_END")
            if depth == 0 and kind in ("NAME", "NUMBER") and token.start[1] >= columns:
                yield f"{file.relative_to(ROOT)}:{token.start[0]}"


def test_lines_of_code_end_at_column_100_and_only_texts_go_on() -> None:
    files = (*sources(), *(f for each in OTHERS for f in (ROOT / each).rglob("*.py")))
    assert [each for file in files for each in code_beyond(file, MOST_COLUMNS)] == []


def test_functions_are_short() -> None:
    sizes = dict(each for file in sources() for each in functions(file))
    assert {name: size for name, size in sizes.items() if size > MOST_FUNCTION} == {}
    assert statistics.quantiles(sizes.values(), n=10)[-1] <= P90_FUNCTION


def test_modules_are_nouns_of_one_idea() -> None:
    assert [file for file in sources() if file.name in NAMES_THAT_SAY_NOTHING] == []


@pytest.mark.parametrize("folder", ["operator", "workloads", "devcluster"])
def test_no_root_folder_is_a_package(folder: str) -> None:
    # `operator/__init__.py` would shadow the standard module of that name.
    assert not (ROOT / folder / "__init__.py").exists()


def test_every_module_says_its_one_job() -> None:
    silent = [str(f.relative_to(ROOT)) for f in sources() if not ast.get_docstring(tree(f))]
    assert silent == []


def test_every_suppression_has_its_reason() -> None:
    marks = re.compile(r"#\s*(noqa|type: ignore)(?P<rest>.*)")
    bare = [
        f"{file.relative_to(ROOT)}: {line.strip()}"
        for folder in (*PACKAGES, "tests", "benchmarks")
        for file in (ROOT / folder).rglob("*.py")
        if file.name != "test_house.py"
        for line in file.read_text().splitlines()
        if (found := marks.search(line))
        and not re.search(r"(: \w+.* - \w+|\[[\w, -]+\] # \w+)", found["rest"])
    ]
    assert bare == []


def test_modules_that_call_themselves_pure_are_exactly_those_that_are_held_to_it() -> None:
    """By the contract of imports, and by the gate of coverage. The simulator's have no gate of coverage."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    contracts = settings["importlinter"]["contracts"]
    [rule] = [each for each in contracts if each["name"].startswith("Pure modules")]
    globs = [each.removeprefix("*/") for each in settings["coverage"]["report"]["include"]]
    pure, ruled, gated = set(), set(), set()
    for file in sources():
        top, *rest = file.relative_to(ROOT).parts
        text = ast.get_docstring(tree(file)) or ""
        if top == "devcluster" or rest[-1] == "__init__.py":
            continue
        path = "/".join(rest)
        module = path.removesuffix(".py").replace("/", ".")
        pure |= {path} if text.startswith("PURE") else set()
        if any(fnmatch(f"{module}.", f"{each}.*") for each in rule["source_modules"]):
            ruled.add(path)
        if top == "simulators" or any(fnmatch(path, each) for each in globs):
            gated.add(path)
    assert pure == ruled
    assert pure == gated & ruled
    assert {each for each in gated if not each.startswith("gameai_vllm")} <= pure


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, text=True, capture_output=True, check=False
    )
    if listed.returncode:
        pytest.skip("no git checkout")
    return [ROOT / name for name in listed.stdout.splitlines()]


def test_requirements_name_versions_and_hashes_but_no_place() -> None:
    for file in (ROOT / "requirements").glob("*.txt"):
        text = file.read_text()
        assert "--hash=sha256:" in text
        assert not re.search(r"https?://|--(extra-)?index-url|--find-links|file:", text)


def test_every_make_target_says_what_it_does() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    described = set(re.findall(r"^([a-z0-9-]+):.*## \S", text, re.MULTILINE))
    assert set(phony[1].split()) == described


def test_no_tracked_file_holds_a_path_of_one_machine() -> None:
    wrong = re.compile(r"(^|[^\w.])/(work|farm|root|home/\w+)/(?!vllm)|\.\./shared")
    found = [
        f"{file.relative_to(ROOT)}: {line.strip()[:80]}"
        for file in tracked()
        if file.is_file() and file.suffix not in (".sum", ".txt") and file.name != "test_house.py"
        for line in file.read_text(errors="replace").splitlines()
        if wrong.search(line)
    ]
    assert found == []


def test_every_failure_mode_names_a_test_that_there_is() -> None:
    rows = [
        line
        for line in (ROOT / "docs" / "operations.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith("| symptom")
    ]
    assert len(rows) > 20
    known = {
        node.name
        for file in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(tree(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row.rsplit("|", 2)[1])
        assert named, row
        assert set(named) <= known, set(named) - known
