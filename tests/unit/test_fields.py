"""What fields of requests may hold."""

import pytest
from gameai import fields
from gameai.errors import InvalidArgumentError


def test_a_page_has_50_to_200_entries_and_begins_behind_a_name() -> None:
    assert (fields.page_size(0), fields.page_size(200)) == (50, 200)
    with pytest.raises(InvalidArgumentError, match="page_size must be 0 to 200, not 201"):
        fields.page_size(201)
    assert (fields.page_token(""), fields.page_token("a.b")) == ("", "a.b")
    with pytest.raises(InvalidArgumentError, match="page_token must be next_page_token"):
        fields.page_token("?")


@pytest.mark.parametrize("given", ["", "A", ".a", "a b", "a" * 65])
def test_a_name_is_lower_case_and_short(given: str) -> None:
    assert fields.name("a._-9", "key") == "a._-9"
    with pytest.raises(InvalidArgumentError, match="key must be 1 to 64 lower-case letters"):
        fields.name(given, "key")


@pytest.mark.parametrize("given", ["", "abc", "a\n"])
def test_a_text_has_a_length_and_no_control_characters(given: str) -> None:
    assert fields.text("ab", "reason", 1, 2) == "ab"
    with pytest.raises(InvalidArgumentError, match="reason must have 1 to 2 characters, none of"):
        fields.text(given, "reason", 1, 2)


def test_a_list_is_bounded_and_repeats_nothing() -> None:
    fields.count([1], "keys", 1, 2)
    with pytest.raises(InvalidArgumentError, match="keys must have 1 to 2 entries, not 3"):
        fields.count([1, 2, 3], "keys", 1, 2)
    fields.different(["a", "b"], "keys")
    with pytest.raises(InvalidArgumentError, match=r"keys\[2\] repeats an earlier one"):
        fields.different(["a", "b", "a"], "keys")


def test_a_hint_is_looked_for_among_few_names() -> None:
    assert fields.hint("spwan", ["loot", "spawn"]) == "; did you mean spawn?"
    assert fields.hint("spawn", ["a" * 60]) == ""
    assert fields.hint("spwan", ["spann", "spawn"], most=0) == ""
