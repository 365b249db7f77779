"""PURE: chat completions that warm an engine up, and those that measure it."""

import itertools
from collections.abc import Iterator
from typing import Any

from gameai_contract.inference import LatencyClass

Document = dict[str, Any]

_LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# About 250 tokens, which all questions share, as in a game: the character and the rules come first.
_SYSTEM = "\n".join(
    (
        "You are Marta, the guard of the north gate of a walled harbour town.",
        "You are fifty, patient with travellers, short with nobles, and you never leave your post.",
        *(
            f"Rule {number}: stay in character, answer briefly, and name no place that the town does not have."
            for number in range(1, 9)
        ),
    )
)
_ACTIONS = ("patrol", "greet", "warn", "attack", "flee", "call for help", "open the gate", "wait")
# Tokens of an answer in words, when measured and when warmed up.
_TEXT_TOKENS, _FEW_TOKENS = 64, 8
# Numbers of actions: each has a grammar of its own, which an engine compiles when it is first asked for.
_WARM_UP_ACTIONS = (2, 8, 26)


def warm_up(model: str, class_: LatencyClass) -> tuple[Document, ...]:
    """Three questions: at Gold each with another number of actions, at the others for words."""
    if class_ is LatencyClass.GOLD:
        return tuple(_choice(model, 0, count) for count in _WARM_UP_ACTIONS)
    return tuple(_words(model, number, _FEW_TOKENS) for number in range(len(_WARM_UP_ACTIONS)))


def measuring(model: str, class_: LatencyClass) -> Iterator[Document]:
    """Endless questions of a class: one of eight actions at Gold, exactly 64 tokens of words at the others.

    They begin with the same text, and all of them differ.
    """
    gold = class_ is LatencyClass.GOLD
    return (
        _choice(model, number, len(_ACTIONS)) if gold else _words(model, number, _TEXT_TOKENS)
        for number in itertools.count(1)
    )


def _choice(model: str, number: int, count: int) -> Document:
    rows = "\n".join(
        f"{label}: {action}"
        for label, action in zip(_LABELS[:count], itertools.cycle(_ACTIONS), strict=False)
    )
    choice = f"Choose one action and answer with its letter only.\n{rows}"
    return {
        **_chat(model, f"{choice}\n\n{_SYSTEM}", number),
        "max_tokens": 1,
        "temperature": 0,
        "structured_outputs": {"choice": list(_LABELS[:count])},
    }


def _words(model: str, number: int, tokens: int) -> Document:
    asked = _chat(model, _SYSTEM, number)
    return {**asked, "max_tokens": tokens, "ignore_eos": True, "temperature": 0}


def _chat(model: str, system: str, number: int) -> Document:
    asked = f"Traveller {number} comes to the gate, {number % 97} steps away, at hour {number % 24}. What do you do?"
    messages = [{"role": "system", "content": system}, {"role": "user", "content": asked}]
    return {"model": model, "messages": messages}
