"""PURE: typed start-time settings of services."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import blake2b
from typing import Literal

_MOST_DIGITS = 18
_WORD = re.compile(r"[A-Za-z0-9-]{1,32}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One start-time setting of a service: its type, default and bounds, all as text.

    Words are a list with commas, a Role is the name of one of the world's roles; `choices` bound a Choice, `least` and
    `most` an Integer or the number of Words.
    """

    kind: Literal["Choice", "Integer", "Role", "Words"]
    default: str
    text: str
    choices: tuple[str, ...] = ()
    least: int = 0
    most: int = 0

    def fault(self, value: str) -> str | None:
        """What is wrong with a value, as the end of a sentence; None if nothing is."""
        if self.kind == "Choice":
            return None if value in self.choices else f"must be one of {', '.join(self.choices)}"
        if self.kind == "Integer":
            short = value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS
            good = short and self.least <= int(value) <= self.most
            return None if good else f"must be a whole number from {self.least} to {self.most}"
        if self.kind == "Role":
            return None if _WORD.fullmatch(value) else "must be the name of a role"
        words = split_words(value)
        good = all(_WORD.fullmatch(word) for word in words)
        enough = self.least <= len(words) <= self.most and len(set(words)) == len(words)
        wanted = f"{self.least} to {self.most} different words of at most 32 letters, digits or '-'"
        return None if good and enough else f"must be {wanted}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogueService:
    """One built-in game service: its module, what a replica asks for, and its settings by name.

    `resources` are CPU and memory by the pod template's revision that brought them: a live world keeps those it has.
    With `needs_memory` it keeps what it must not lose in the memory of a knowledge base, and with `needs_database` in a
    database, so that the world must have one. With `consumes_events` it handles events of the services that `consumes` names.
    """

    module: str
    text: str
    resources: Mapping[int, tuple[str, str]]
    settings: Mapping[str, Setting]
    needs_memory: bool = False
    needs_database: bool = False
    consumes_events: bool = False

    def resources_of(self, revision: int) -> tuple[str, str]:
        """CPU and memory under a template revision."""
        return self.resources[max(each for each in self.resources if each <= revision)]

    def with_defaults(self, given: Mapping[str, str]) -> dict[str, str]:
        """Settings in full. A service fills them in itself, so that a default is its image's and no template's."""
        return {name: given.get(name, each.default) for name, each in self.settings.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingFault:
    """Why a setting cannot be honoured: a reason for programs, and a sentence."""

    reason: Literal["UnknownSetting", "InvalidSetting"]
    message: str


def setting_fault(
    where: str, name: str, value: str, known: Mapping[str, Setting]
) -> SettingFault | None:
    """What is wrong with a setting of a service that has the known ones. None if nothing is. `where`: the path of the settings, for the message."""
    if name not in known:
        message = f"{where}: {name} is not a setting ({', '.join(known)}){nearest(name, known)}"
        return SettingFault(reason="UnknownSetting", message=message)
    fault = known[name].fault(value)
    if fault is None:
        return None
    hint = nearest(value, known[name].choices)
    return SettingFault(reason="InvalidSetting", message=f"{where}.{name}: {value!r} {fault}{hint}")


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint at the known word that is most like this one; "" where none is."""
    lower = {each.lower(): each for each in known}
    found = get_close_matches(word.lower(), lower, n=1, cutoff=0.5)
    return f"; did you mean {lower[found[0]]}?" if found else ""


def split_words(value: str) -> tuple[str, ...]:
    """The words of a list with commas."""
    return tuple(word.strip() for word in value.split(",") if word.strip())


def settings_hash(seed: int, settings: Mapping[str, str]) -> str:
    """Hash of what a service was started with. A pod waits until its configuration has the same hash.

    Settings are those that were given: were defaults among them, a new one would restart every world.
    """
    text = json.dumps([seed, dict(settings)], sort_keys=True)
    return blake2b(text.encode(), digest_size=6).hexdigest()
