"""PURE: what becomes of the objects that a request writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gameai.errors import ConflictError
from gameai.services.state_manager.rules.checks import ANY_VERSION, Key
from gameai.state.v1 import state_pb2 as pb


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Places in the request of the objects to create, to replace, and to delete."""

    created: tuple[int, ...]
    replaced: tuple[int, ...]
    deleted: tuple[int, ...]


def decide(
    writes: Sequence[pb.Write], keys: Sequence[Key], versions: Mapping[Key, int]
) -> Decision:
    """What each write does; `versions` are those of the objects that exist. Raises `ConflictError`: nothing may be written."""
    created, replaced, deleted = [], [], []
    for place, (write, key) in enumerate(zip(writes, keys, strict=True)):
        version = versions.get(key, 0)
        if write.expected_version not in (ANY_VERSION, version):
            raise ConflictError(
                f"writes[{place}]: {key.collection}/{key.key} {_is(version)}, and expected_version is {write.expected_version}: read it again",
                field=f"writes[{place}].expected_version",
            )
        if write.delete:
            deleted += [place] if version else []
        elif version:
            replaced.append(place)
        else:
            created.append(place)
    return Decision(created=tuple(created), replaced=tuple(replaced), deleted=tuple(deleted))


def _is(version: int) -> str:
    return f"has version {version}" if version else "does not exist"
