"""PURE: what becomes of the objects that a request writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gameai.errors import ConflictError
from gameai.services.state_manager.rules.checks import ANY_VERSION, Key
from gameai.state.v1 import state_pb2 as pb


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """An object that exists: its version and its owner."""

    version: int
    owner: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Places in the request of the objects to create, to replace, and to delete; and owners that get another object."""

    created: tuple[int, ...]
    replaced: tuple[int, ...]
    deleted: tuple[int, ...]
    gaining: tuple[str, ...] = ()


_NONE = Known(version=0, owner="")


def decide(writes: Sequence[pb.Write], keys: Sequence[Key], known: Mapping[Key, Known]) -> Decision:
    """What each write does; `known` are the objects that exist. Raises `ConflictError`: nothing may be written."""
    created: list[int] = []
    replaced: list[int] = []
    deleted: list[int] = []
    gaining: set[str] = set()
    for place, (write, key) in enumerate(zip(writes, keys, strict=True)):
        found = known.get(key, _NONE)
        version = found.version
        if write.expected_version not in (ANY_VERSION, version):
            raise ConflictError(
                f"writes[{place}]: {key.collection}/{key.key} {_is(version)}, and expected_version is {write.expected_version}: read it again",
                field=f"writes[{place}].expected_version",
            )
        if write.delete:
            deleted += [place] if version else []
            continue
        (replaced if version else created).append(place)
        if write.object.owner and write.object.owner != found.owner:
            gaining.add(write.object.owner)
    return Decision(
        created=tuple(created),
        replaced=tuple(replaced),
        deleted=tuple(deleted),
        gaining=tuple(sorted(gaining)),
    )


def _is(version: int) -> str:
    return f"has version {version}" if version else "does not exist"
