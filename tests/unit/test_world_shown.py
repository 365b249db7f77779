"""The archetypes that gateways have, as the operator keeps them."""

import gc

from gameai_operator.world.shown import Shown, ShownTexts


def view(text: str, namespace: str = "games") -> dict[str, object]:
    return {"metadata": {"namespace": namespace}, "spec": {"archetypes": text} if text else {}}


def test_equal_documents_of_a_namespace_are_kept_once() -> None:
    texts = ShownTexts(100)
    first, second = texts.of(view("x" * 60)), texts.of(view("x" * 60))
    assert first is second
    assert texts.held_bytes("games") == 60
    assert texts.of(view("")).text == ""


def test_a_namespace_keeps_no_more_than_its_budget_and_takes_none_of_anothers() -> None:
    texts = ShownTexts(100)
    kept = [texts.of(view(letter * 40)) for letter in "abc"]
    assert [len(each.text) for each in kept] == [40, 40, 0]
    assert texts.of(view("d" * 40, "others")).text == "d" * 40


def test_a_document_that_no_view_holds_any_more_makes_room() -> None:
    texts = ShownTexts(100)
    kept: list[Shown] = [texts.of(view(letter * 40)) for letter in "ab"]
    kept.pop()
    gc.collect()
    assert texts.held_bytes("games") == 40
    assert texts.of(view("ü" * 30)).text == "ü" * 30
    del kept
    gc.collect()
    assert texts.held_bytes("games") == 0
