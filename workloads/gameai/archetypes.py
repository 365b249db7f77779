"""`python -m gameai.archetypes check FILE…`: checks archetype documents as operator and gateway do."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from gameai_contract import archetypes
from gameai_contract.archetypes import ArchetypeError


def main(arguments: list[str] | None = None) -> int:
    """Check files. 0 if all are valid, 1 if one is not."""
    parser = argparse.ArgumentParser(
        prog="gameai.archetypes", description="Checks archetype documents."
    )
    check = parser.add_subparsers(dest="command", required=True).add_parser(
        "check", help="check files that are one set of archetypes"
    )
    check.add_argument(
        "files", nargs="+", type=Path, help="documents (.yaml, .json), or manifests with ConfigMaps"
    )
    given = parser.parse_args(arguments)
    try:
        documents = _documents(given.files)
        found = archetypes.parse(documents)
    except (OSError, UnicodeError, ArchetypeError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"ok: {len(found)} archetypes in {', '.join(documents)}\n")
    return 0


def _documents(files: list[Path]) -> dict[str, str]:
    """Texts by name; a ConfigMap gives the texts of its keys."""
    found: dict[str, str] = {}
    for file in files:
        text = file.read_text()
        manifest = _config_map(text)
        found |= {file.name: text} if manifest is None else manifest
    return found


def _config_map(text: str) -> dict[str, str] | None:
    """The texts in the ConfigMaps of a file of manifests; None where it holds no manifest."""
    try:
        documents: list[Any] = [each for each in yaml.safe_load_all(text) if each]
    except (yaml.YAMLError, ValueError, ArithmeticError, RecursionError):
        # The check itself says what is wrong, with line and key.
        return None
    manifests = [each for each in documents if isinstance(each, Mapping) and "kind" in each]
    if not manifests:
        return None
    return {
        str(key): str(value)
        for each in manifests
        if each["kind"] == "ConfigMap"
        for key, value in (each.get("data") or {}).items()
    }


if __name__ == "__main__":
    raise SystemExit(main())
