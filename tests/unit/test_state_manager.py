"""The decisions of the state-manager."""

import pytest
from gameai.errors import ConflictError, InvalidArgumentError
from gameai.services.state_manager.rules import checks, pages
from gameai.services.state_manager.rules.checks import Key, Limits
from gameai.services.state_manager.rules.decision import Decision, Known, decide
from gameai.state.v1 import state_pb2 as pb

LIMITS = Limits(collections=("saves", "sheets"), value_bytes=10, owner_objects=5)
A, B = Key(collection="saves", key="a"), Key(collection="saves", key="b")


def write(key: Key, expected: int = -1, *, delete: bool = False, value: bytes = b"") -> pb.Write:
    given = pb.Object(collection=key.collection, key=key.key, value=value)
    return pb.Write(object=given, expected_version=expected, delete=delete)


@pytest.mark.parametrize(
    ("given", "versions", "found"),
    [
        (write(A), {}, Decision(created=(0,), replaced=(), deleted=())),
        (write(A, 0), {}, Decision(created=(0,), replaced=(), deleted=())),
        (
            write(A),
            {A: Known(version=7, owner="anna")},
            Decision(created=(), replaced=(0,), deleted=()),
        ),
        (
            write(A, 7),
            {A: Known(version=7, owner="anna")},
            Decision(created=(), replaced=(0,), deleted=()),
        ),
        (
            write(A, 7, delete=True),
            {A: Known(version=7, owner="anna")},
            Decision(created=(), replaced=(), deleted=(0,)),
        ),
        # To delete what is not there is done already.
        (write(A, delete=True), {}, Decision(created=(), replaced=(), deleted=())),
    ],
)
def test_a_write_does_what_its_version_allows(
    given: pb.Write, versions: dict[Key, Known], found: Decision
) -> None:
    assert decide([given], [A], versions) == found


@pytest.mark.parametrize(
    ("expected", "versions", "says"),
    [
        (
            0,
            {A: Known(version=7, owner="anna")},
            "saves/a has version 7, and expected_version is 0",
        ),
        (
            6,
            {A: Known(version=7, owner="anna")},
            "saves/a has version 7, and expected_version is 6",
        ),
        (7, {}, "saves/a does not exist, and expected_version is 7"),
    ],
)
def test_another_version_is_a_conflict(
    expected: int, versions: dict[Key, Known], says: str
) -> None:
    with pytest.raises(ConflictError, match=says) as error:
        decide([write(B), write(A, expected)], [B, A], versions)
    assert error.value.field == "writes[1].expected_version"


@pytest.mark.parametrize(
    ("owner", "versions", "gaining"),
    [
        ("", {}, ()),
        ("anna", {}, ("anna",)),
        ("anna", {A: Known(version=7, owner="anna")}, ()),
        ("bert", {A: Known(version=7, owner="anna")}, ("bert",)),
        ("", {A: Known(version=7, owner="anna")}, ()),
    ],
)
def test_an_owner_gains_what_was_not_its_own(
    owner: str, versions: dict[Key, Known], gaining: tuple[str, ...]
) -> None:
    given = write(A)
    given.object.owner = owner
    assert decide([given], [A], versions).gaining == gaining


def test_a_token_is_good_for_its_own_list() -> None:
    assert pages.after("", "saves") == ""
    assert pages.after(pages.token("ümlaut", "saves", "x"), "saves", "x") == "ümlaut"
    control = pages.token("a\0", "saves")
    for given in (pages.token("a", "saves"), pages.token("", "sheets"), "!", "YQ==", control):
        with pytest.raises(InvalidArgumentError, match="page_token is not of this list"):
            pages.after(given, "sheets")


def test_what_is_read_and_written_is_named_once_and_in_bounds() -> None:
    named = [pb.ObjectKey(collection=each.collection, key=each.key) for each in (A, B)]
    assert checks.keys(named, LIMITS) == [A, B]
    assert checks.writes([write(A), write(B, value=b"x" * 10)], LIMITS) == [A, B]
    with pytest.raises(InvalidArgumentError, match="keys must be 1 to 64"):
        checks.keys([], LIMITS)
    for each in (
        [],
        [write(A)] * 65,
        [write(A), write(A)],
        [write(A, -2)],
        [write(A, 0, delete=True)],
    ):
        with pytest.raises(InvalidArgumentError):
            checks.writes(each, LIMITS)
    large = Limits(collections=("saves",), value_bytes=262_144, owner_objects=5)
    with pytest.raises(InvalidArgumentError, match="1048580 bytes together"):
        checks.writes([write(A, value=b"x" * 209_716)] * 5, large)
    with pytest.raises(InvalidArgumentError, match="by the setting valueBytes"):
        checks.writes([write(A, value=b"x" * 11)], LIMITS)
    with pytest.raises(InvalidArgumentError, match="did you mean saves"):
        checks.collection("save", "collection", LIMITS)
    with pytest.raises(InvalidArgumentError, match="owner must have 1 to 128"):
        checks.owner("", "owner")
