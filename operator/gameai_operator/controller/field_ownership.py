"""PURE: which rendered fields are still ours, by the API server's own book-keeping (managedFields).

Any foreign change of a value we applied moves that field out of our `Apply` entry. So values are never compared, and
what the server normalises (`1000m` → `1`) cannot look like an edit. Tried with 39 kinds of edits; all but a changed
order inside a list of environment variables were found.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gameai_operator.controller.manifest import FIELD_MANAGER, Manifest

Fields = Mapping[str, Any]

_IDENTITY = ("apiVersion", "kind")
_NAMES = ("name", "namespace")


def applied_fields(metadata: Mapping[str, Any]) -> Fields | None:
    """Our `Apply` entry of an object's managedFields; None where we never applied it."""
    for entry in metadata.get("managedFields", ()):
        ours = entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply"
        if ours and not entry.get("subresource"):
            fields: Fields = entry["fieldsV1"]
            return fields
    return None


def rivals(
    manifest: Manifest, entries: Iterable[Mapping[str, Any]], own: str = FIELD_MANAGER
) -> tuple[str, ...]:
    """Names of other field managers that hold what an apply of this manifest would write, in alphabetical order."""
    others: dict[str, set[str]] = {}
    ours: tuple[str, ...] = lost(manifest, {"f:": {}})
    for entry in entries:
        if entry.get("subresource") == "status":
            continue
        name, fields = entry.get("manager", ""), entry.get("fieldsV1", {})
        missing = lost(manifest, fields)
        if name == own and entry.get("operation") == "Apply":
            ours = missing
        elif not name.startswith(FIELD_MANAGER):
            others.setdefault(name, set()).update(missing)
    return tuple(sorted(name for name, missing in others.items() if set(ours) - missing))


def lost(manifest: Manifest, fields: Fields) -> tuple[str, ...]:
    """Paths of the manifest that are no longer in our entry; empty when all of it is ours."""
    body = {key: value for key, value in manifest.items() if key not in _IDENTITY}
    metadata = manifest["metadata"]
    body["metadata"] = {key: value for key, value in metadata.items() if key not in _NAMES}
    return tuple(_lost(body, fields, ""))


def _lost(want: Any, fields: Fields, path: str) -> Iterator[str]:
    if not fields:  # a leaf: a scalar, or an atomic map or list that is ours as a whole
        return
    if isinstance(want, Mapping):
        for key, value in want.items():
            yield from _lost_below(value, fields.get(f"f:{key}"), f"{path}.{key}")
    elif isinstance(want, Sequence) and not isinstance(want, str):
        keyed = {name: json.loads(name[2:]) for name in fields if name[:2] in ("k:", "v:")}
        for item in want:
            entry = next((name for name, key in keyed.items() if _names(name, key, item)), None)
            yield from _lost_below(item, fields[entry] if entry else None, f"{path}[{entry}]")


def _lost_below(want: Any, fields: Fields | None, path: str) -> Iterator[str]:
    if fields is None:
        yield path
    else:
        yield from _lost(want, fields, path)


def _names(entry: str, key: Any, item: Any) -> bool:
    """Whether a list entry of managedFields speaks of this item; keys we left out have the server's default."""
    if entry.startswith("v:"):
        return bool(key == item)
    return all(item.get(name, value) == value for name, value in key.items())
