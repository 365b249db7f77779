"""Who may call a memory, and what."""

import json

import pytest
from gameai_contract.knowledge import EVERYTHING, Admission, MemoryCaller, TokenKeys, admission

KEYS = TokenKeys(issuer="https://kubernetes.default.svc", keys={"keys": [{"kid": "one"}]})
GUARDED = Admission(
    namespace="games",
    tokens=KEYS,
    callers=(
        MemoryCaller(account="servers/moor", worlds=("games/moor", "games/fen")),
        MemoryCaller(account="servers/moor", worlds=("games/moor",), writes=True),
        MemoryCaller(account="games/editor", reviews=True),
    ),
)


@pytest.mark.parametrize(
    ("account", "worlds", "writable", "reviews"),
    [
        ("games/default", set(), set(), False),
        ("games/moor-world", {"games/moor"}, {"games/moor"}, False),
        ("servers/moor", {"games/moor", "games/fen"}, {"games/moor"}, False),
        ("games/editor", set(), set(), True),
    ],
)
def test_an_account_may_what_its_namespace_and_the_list_say(
    account: str, worlds: set[str], writable: set[str], reviews: bool
) -> None:
    rights = GUARDED.rights(account)
    assert rights is not None
    assert (set(rights.worlds or ()), rights.reviews, rights.account) == (worlds, reviews, account)
    assert not rights.may_read("games/other")
    assert set(rights.writable or ()) == writable
    assert rights.may_write("games/moor") is ("games/moor" in writable)


@pytest.mark.parametrize("account", ["servers/other", "servers/moor-world", "game/default", ""])
def test_others_may_nothing(account: str) -> None:
    assert GUARDED.rights(account) is None


def test_on_a_laptop_everybody_may_everything() -> None:
    assert EVERYTHING.may_read("any/world")
    assert EVERYTHING.may_write("any/world")
    assert EVERYTHING.reviews


def test_a_file_of_the_former_operator_gives_no_right_to_write() -> None:
    former = json.loads(GUARDED.text())
    for each in former["callers"]:
        del each["writes"]
    rights = admission(json.dumps(former)).rights("servers/moor")
    assert rights is not None
    assert (rights.may_read("games/moor"), rights.may_write("games/moor")) == (True, False)


def test_it_is_read_as_it_was_written() -> None:
    assert admission(GUARDED.text()).rights("servers/moor") == GUARDED.rights("servers/moor")
    assert admission(GUARDED.text()).tokens == KEYS


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"namespace": "a", "issuer": "b", "keys": []}'])
def test_a_text_that_is_none_is_refused(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        admission(text)
