"""For mkdocs: README is the start page, SECURITY a page, and links to files outside of docs/ lead to the repository."""

import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).resolve().parents[1]
_PAGES = {"README.md": "index.md", "SECURITY.md": "security.md"}
_LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie at the root of the repository."""
    for name, page in _PAGES.items():
        files.append(File.generated(config, page, content=(_ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Lead links elsewhere: to a page of the site, to the repository, or nowhere if its address is not configured."""
    here = PurePosixPath(page.file.src_uri)
    root_page = here.name in _PAGES.values() and len(here.parts) == 1

    def led(found: re.Match[str]) -> str:
        link, anchor = found[1], found[2] or ""
        target = _target("." if root_page else f"docs/{here.parent}", link)
        if target in _PAGES:
            return f"]({_relative(here, _PAGES[target])}{anchor})"
        if target.startswith("docs/"):
            return f"]({_relative(here, target.removeprefix('docs/'))}{anchor})"
        address = f"{config.repo_url.rstrip('/')}/blob/main/{target}" if config.repo_url else ""
        return f"]({address or '#'})"

    return _LINK.sub(led, markdown)


def _target(folder: str, link: str) -> str:
    """A link as a path from the repository's root."""
    return (_ROOT / folder / link).resolve().relative_to(_ROOT).as_posix()


def _relative(here: PurePosixPath, page: str) -> str:
    return "../" * (len(here.parts) - 1) + page
