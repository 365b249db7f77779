"""Every lock is complete: an installation from it asks no index for anything that is not in it."""

import importlib.metadata
import itertools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("operator", "workloads", "knowledge", "docs", "dev")
PLATFORMS = (
    ("linux", "Linux", "x86_64"),
    ("linux", "Linux", "aarch64"),
    ("darwin", "Darwin", "arm64"),
    ("darwin", "Darwin", "x86_64"),
)
PYTHONS = ("3.11", "3.12", "3.13", "3.14")

Environment = Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Locked:
    """One line of a lock."""

    requirement: Requirement
    hashes: int

    @property
    def version(self) -> str:
        return next(iter(self.requirement.specifier)).version

    def applies(self, environment: Environment) -> bool:
        marker = self.requirement.marker
        return marker is None or marker.evaluate(dict(environment))


def environments() -> Iterator[Environment]:
    for python, (platform, system, machine) in itertools.product(PYTHONS, PLATFORMS):
        yield {
            "python_version": python,
            "python_full_version": f"{python}.0",
            "implementation_version": f"{python}.0",
            "sys_platform": platform,
            "platform_system": system,
            "platform_machine": machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_version": "",
            "implementation_name": "cpython",
            "os_name": "posix",
            "extra": "",
        }


def lines(text: str) -> list[Locked]:
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        named, *hashes = line.partition("#")[0].split(" --hash=")
        if named.strip():
            found.append(Locked(requirement=Requirement(named.strip()), hashes=len(hashes)))
    return found


def by_name(found: list[Locked], environment: Environment) -> dict[str, Locked]:
    """The lines that apply; several lines of one name must not apply at once."""
    applying: dict[str, Locked] = {}
    for each in found:
        if each.applies(environment):
            name = canonicalize_name(each.requirement.name)
            assert name not in applying, f"{name} stands twice for one environment"
            applying[name] = each
    return applying


def declared(extra: str) -> list[Requirement]:
    """What pyproject.toml asks for; an extra of our own name stands for the extras that it names."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    wanted = [Requirement(each) for each in extras[extra]]
    own = [each for each in wanted if each.name == "gameai-operator"]
    nested = [each for one in own for name in sorted(one.extras) for each in declared(name)]
    return [*(each for each in wanted if each not in own), *nested]


def required_by(name: str, locked: Locked, extras: frozenset[str]) -> list[tuple[Requirement, str]]:
    """Requirements of an installed distribution, each with the extra that brings it ("": all)."""
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return []
    assert distribution.version == locked.version, (
        f"{name} {distribution.version} is installed, but {locked.version} is locked: "
        "remove .venv and run make setup"
    )
    found = [Requirement(each) for each in distribution.requires or ()]
    return [(each, extra) for each in found for extra in ("", *sorted(extras))]


def faults(requirement: Requirement, entry: Locked | None) -> list[str]:
    if entry is None:
        return [", which is not in the lock"]
    fits = requirement.specifier.contains(entry.version, prereleases=True)
    found = [] if fits else [f", but {entry.version} is locked"]
    extras = requirement.extras <= entry.requirement.extras
    return found if extras else [*found, "; the lock leaves the extra out"]


def missing(extra: str, text: str, environment: Environment) -> list[str]:
    """What an installation would have to ask an index for."""
    locked = by_name(lines(text), environment)
    queue = [("pyproject.toml", each) for each in declared(extra)]
    seen: set[tuple[str, frozenset[str]]] = set()
    problems = []
    while queue:
        source, requirement = queue.pop()
        if requirement.marker and not requirement.marker.evaluate(dict(environment)):
            continue
        name = canonicalize_name(requirement.name)
        entry = locked.get(name)
        problems += [f"{source} needs {requirement}{fault}" for fault in faults(requirement, entry)]
        reached = (name, frozenset(requirement.extras))
        if entry is None or reached in seen:
            continue
        seen.add(reached)
        for below, with_extra in required_by(name, entry, reached[1]):
            scope = {**environment, "extra": with_extra}
            if below.marker is None or below.marker.evaluate(scope):
                # What its own marker says was just judged, with the extra that the queue no longer knows.
                below.marker = None
                queue.append((name, below))
    return sorted(set(problems))


@pytest.mark.parametrize("extra", LOCKS)
def test_a_lock_holds_every_requirement_of_everything_in_it(extra: str) -> None:
    text = (ROOT / "requirements" / f"{extra}.txt").read_text()

    problems = {each for one in environments() for each in missing(extra, text, one)}

    assert not problems, "run make lock: " + "; ".join(sorted(problems))


@pytest.mark.parametrize("extra", LOCKS)
def test_every_line_of_a_lock_is_one_version_with_hashes(extra: str) -> None:
    for each in lines((ROOT / "requirements" / f"{extra}.txt").read_text()):
        assert [one.operator for one in each.requirement.specifier] == ["=="], each.requirement
        assert each.hashes, each.requirement


def test_a_lock_names_no_index() -> None:
    for extra in LOCKS:
        text = (ROOT / "requirements" / f"{extra}.txt").read_text()
        assert "index-url" not in text
        assert "://" not in text


def test_only_what_is_for_other_systems_is_locked_and_not_installed() -> None:
    """Requirements are read off what is installed, so a line that applies here must be installed."""
    for each in lines((ROOT / "requirements" / "dev.txt").read_text()):
        marker = each.requirement.marker
        if marker is None or marker.evaluate():
            assert importlib.metadata.version(each.requirement.name) == each.version


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ("coverage[toml]==", "coverage==", "leaves the extra out"),
        ("pluggy==", "another==", "not in the lock"),
        ("pluggy==1", "pluggy==0", "is locked"),
    ],
)
def test_an_incomplete_lock_is_found(before: str, after: str, word: str) -> None:
    text = (ROOT / "requirements" / "dev.txt").read_text()
    assert f"\n{before}" in text
    broken = text.replace(f"\n{before}", f"\n{after}")

    try:
        problems = missing("dev", broken, next(environments()))
    except AssertionError as stale:
        problems = [f"is locked: {stale}"]

    assert any(word in each for each in problems)
