"""PURE: what fields of requests may hold. All raise `InvalidArgumentError` with the field and what it takes."""

import re
from collections.abc import Hashable, Iterable, Sequence

from gameai_contract.settings import nearest

from gameai.errors import InvalidArgumentError

PAGE, MOST_PAGE = 50, 200
_NEAR, _MOST_NAME = 3, 64
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def text(value: str, field: str, least: int, most: int) -> str:
    """A text of so many characters, without control characters."""
    if not least <= len(value) <= most or _CONTROL.search(value):
        raise InvalidArgumentError(
            f"{field} must have {least} to {most} characters, none of them a control character",
            field=field,
        )
    return value


def name(value: str, field: str) -> str:
    """The name of something that is declared."""
    if not _NAME.fullmatch(value):
        raise InvalidArgumentError(
            f"{field} must be 1 to 64 lower-case letters, digits, '.', '_' or '-', and begin with a letter or a digit",
            field=field,
        )
    return value


def hint(value: str, known: Iterable[str], most: int = 20) -> str:
    """The name that is most like one that is not known, as the end of a sentence; empty: there is none.

    Only `most` names that are like it are compared: each takes some 50 µs, and others wait.
    """
    like = [each for each in known if each[:1] == value[:1] and abs(len(each) - len(value)) < _NEAR]
    return nearest(value[:_MOST_NAME], like[:most])


def count(given: Sequence[object], field: str, least: int, most: int) -> None:
    """How many entries a list has."""
    if not least <= len(given) <= most:
        raise InvalidArgumentError(
            f"{field} must have {least} to {most} entries, not {len(given)}", field=field
        )


def different(found: Iterable[Hashable], field: str) -> None:
    """Entries of a list that must not be there twice."""
    seen: set[Hashable] = set()
    for place, each in enumerate(found):
        if each in seen:
            raise InvalidArgumentError(
                f"{field}[{place}] repeats an earlier one: name each once",
                field=f"{field}[{place}]",
            )
        seen.add(each)


def removals(removed: Sequence[str], field: str, declared: Sequence[str], where: str) -> None:
    """Names to remove; `declared` are those that the field `where` of the same request declares."""
    for place, each in enumerate(removed):
        at = f"{field}[{place}]"
        name(each, at)
        if each in declared:
            raise InvalidArgumentError(
                f"{at}: {each} is among {where} too: declare it or remove it", field=at
            )
    different(declared, where)
    different(removed, field)


def page_size(value: int) -> int:
    """How much a page has."""
    if not 0 <= value <= MOST_PAGE:
        raise InvalidArgumentError(
            f"page_size must be 0 to {MOST_PAGE}, not {value}", field="page_size"
        )
    return value or PAGE


def page_token(value: str) -> str:
    """The name behind which a page begins; empty: the first page."""
    if value and not _NAME.fullmatch(value):
        raise InvalidArgumentError(
            "page_token must be next_page_token of the page before, or empty", field="page_token"
        )
    return value
