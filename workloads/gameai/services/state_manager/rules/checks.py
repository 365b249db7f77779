"""PURE: what requests may hold. All raise `InvalidArgumentError` with the field and what it takes."""

from collections.abc import Sequence
from dataclasses import dataclass

from gameai_contract.settings import nearest

from gameai import fields
from gameai.errors import InvalidArgumentError
from gameai.state.v1 import state_pb2 as pb

MOST_KEYS = MOST_WRITES = 64
# Of the values of a request or an answer together.
MOST_BYTES = 1 << 20
ANY_VERSION = -1
_MOST_TEXT = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Settings of the service: its collections, the largest value in bytes, and how many objects an owner may have."""

    collections: tuple[str, ...]
    value_bytes: int
    owner_objects: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """The key of an object."""

    collection: str
    key: str


def keys(given: Sequence[pb.ObjectKey], limits: Limits) -> list[Key]:
    """The keys of objects to read."""
    if not 0 < len(given) <= MOST_KEYS:
        raise InvalidArgumentError(f"keys must be 1 to {MOST_KEYS}, not {len(given)}", field="keys")
    found = [
        Key(
            collection=collection(each.collection, f"keys[{place}].collection", limits),
            key=key(each.key, f"keys[{place}].key"),
        )
        for place, each in enumerate(given)
    ]
    fields.different(found, "keys")
    return found


def writes(given: Sequence[pb.Write], limits: Limits) -> list[Key]:
    """The keys of objects to write, whose other fields are checked too."""
    if not 0 < len(given) <= MOST_WRITES:
        raise InvalidArgumentError(
            f"writes must be 1 to {MOST_WRITES}, not {len(given)}", field="writes"
        )
    size = sum(len(each.object.value) for each in given)
    if size > MOST_BYTES:
        raise InvalidArgumentError(
            f"the values of writes have {size} bytes together: at most {MOST_BYTES} are allowed",
            field="writes",
        )
    found = [_write(each, f"writes[{place}]", limits) for place, each in enumerate(given)]
    fields.different(found, "writes")
    return found


def collection(value: str, field: str, limits: Limits) -> str:
    """The name of a collection."""
    if value not in limits.collections:
        known = ", ".join(limits.collections)
        raise InvalidArgumentError(
            f"{field}: {value[:_MOST_TEXT]!r} is not a collection ({known}){nearest(value[:_MOST_TEXT], limits.collections)}: "
            "add it to the setting collections of the service",
            field=field,
        )
    return value


def key(value: str, field: str) -> str:
    """The key of an object."""
    return fields.text(value, field, 1, _MOST_TEXT)


def owner(value: str, field: str) -> str:
    """The owner of objects."""
    return fields.text(value, field, 1, _MOST_TEXT)


def optional(value: str, field: str) -> str:
    """A text that may be empty."""
    return fields.text(value, field, 0, _MOST_TEXT)


def _write(given: pb.Write, field: str, limits: Limits) -> Key:
    found = Key(
        collection=collection(given.object.collection, f"{field}.object.collection", limits),
        key=key(given.object.key, f"{field}.object.key"),
    )
    if given.expected_version < ANY_VERSION:
        raise InvalidArgumentError(
            f"{field}.expected_version must be a version, 0 for an object that does not exist, or {ANY_VERSION} for any",
            field=f"{field}.expected_version",
        )
    if given.delete and given.expected_version == 0:
        raise InvalidArgumentError(
            f"{field}.expected_version must be a version or {ANY_VERSION}: an object that does not exist cannot be deleted",
            field=f"{field}.expected_version",
        )
    optional(given.object.owner, f"{field}.object.owner")
    optional(given.object.type, f"{field}.object.type")
    if len(given.object.value) > limits.value_bytes:
        raise InvalidArgumentError(
            f"{field}.object.value has {len(given.object.value)} bytes: at most {limits.value_bytes} are allowed, by the setting valueBytes",
            field=f"{field}.object.value",
        )
    return found
