"""PURE: rendered objects: their identity, their owner, and their hash."""

import datetime
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gameai_operator.api.base import API_VERSION, GROUP

# A manifest as it is read, and one that is being built.
Manifest = Mapping[str, Any]
Document = dict[str, Any]

MANIFEST_HASH = f"{GROUP}/manifest-hash"
PAUSED = f"{GROUP}/paused"
FIELD_MANAGER = "gameai-operator"


def timestamp(at: datetime.datetime) -> str:
    """A time in UTC as the API writes it: RFC 3339, in whole seconds."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


class Key(NamedTuple):
    """What names an object: kind, namespace, name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Resource:
    """A kind as the API server serves it.

    `root` marks our own kinds, which own the others. `context` marks kinds that are neither ours nor owned: they are
    read for what they say about an object of ours, and the operator may lack the right to. `selector` finds those that
    concern us where they are more than the operator's own objects.
    """

    group: str
    version: str
    kind: str
    plural: str
    root: bool = False
    context: bool = False
    selector: str = ""

    @property
    def labelled(self) -> bool:
        """Whether those that concern us carry our label."""
        return not (self.root or self.context)

    @property
    def api_version(self) -> str:
        """`group/version`, or the version alone for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def prefix(self) -> str:
        """The URL path of the API group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """The URL path of the collection, or of one object."""
        parts = [self.prefix]
        parts += ["namespaces", namespace] if namespace else []
        parts += [self.plural]
        parts += [name] if name else []
        return "/".join(parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """The object that a child goes with."""

    kind: str
    name: str
    uid: str

    def owns(self, other: "Owner | None") -> bool:
        """Whether an owner found on an object is this one; the uid alone decides, a hand may have edited the rest."""
        return other is not None and other.uid == self.uid


def key_of(manifest: Manifest) -> Key:
    """The key of a rendered or live object that says its kind."""
    metadata = manifest["metadata"]
    return Key(manifest["kind"], metadata["namespace"], metadata["name"])


def controller(metadata: Mapping[str, Any]) -> Owner | None:
    """The controller owner that an object's metadata names; None where it has none.

    The kind of another API group carries the group's name, for another group may have a ModelTier too.
    """
    for reference in metadata.get("ownerReferences", ()):
        if reference.get("controller"):
            group = reference.get("apiVersion", "").rpartition("/")[0]
            kind = reference["kind"] if group in ("", GROUP) else f"{reference['kind']}.{group}"
            return Owner(kind=kind, name=reference["name"], uid=reference["uid"])
    return None


def without_empty(value: Any) -> Any:
    """The value without None, empty maps and empty lists, which can make a server-side apply write forever."""
    # Plain types, since this walks every rendered object: abstract ones cost three times as much.
    if type(value) is dict:
        kept = {}
        for key, each in value.items():
            clean = without_empty(each)
            if clean not in (None, {}, []):
                kept[key] = clean
        return kept
    if type(value) is list or type(value) is tuple:
        cleaned = [without_empty(each) for each in value]
        return [each for each in cleaned if each not in (None, {}, [])]
    return value


def owned_by(owner: Owner, manifest: Manifest) -> dict[str, Any]:
    """The manifest as it is applied: with its owner and its own hash. Renderers leave empty parts out."""
    reference = {
        "apiVersion": API_VERSION,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    full = {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": [reference]}}
    annotations = full["metadata"].get("annotations", {})
    full["metadata"]["annotations"] = {**annotations, MANIFEST_HASH: digest(full)}
    return full


def digest(value: Any) -> str:
    """A short hash of any JSON value; equal values have equal hashes whatever their key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
