"""PURE: what was last seen of every object, newest resourceVersion first come or not.

Watches, lists and our own writes all put into the same store, in any order; a resourceVersion decides. A deleted
object leaves a tombstone for a while, so that a late MODIFIED cannot bring it back.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gameai_operator.controller.manifest import Key
from gameai_operator.controller.plan import Child
from gameai_operator.controller.pod_facts import Pod

TOMBSTONE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Root:
    """A custom resource, kept as JSON text: a document of small dicts takes several times as much memory."""

    text: bytes

    def document(self) -> dict[str, Any]:
        """The object as the API server gave it, without what no decision uses."""
        document: dict[str, Any] = json.loads(self.text)
        return document


@dataclass(frozen=True, slots=True)
class Foreign:
    """An object that is not ours to write: a Namespace, a user's ConfigMap. Only that it exists is known."""


Value = Root | Child | Pod | Foreign


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One object: its identity, the root it belongs to (itself for a root), and what is kept of it.

    `mark` is what a judgement of a child rests on.
    """

    key: Key
    uid: str
    version: int
    root: Key
    value: Value
    mark: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """What a LIST knew better: objects we missed or have old, and objects we kept that are gone.

    `rewound` means that an object is at a lower version than the one we hold, which the LIST is newer than: only a
    restore of etcd from a backup does that.
    """

    unseen: tuple[Key, ...]
    ghosts: tuple[Key, ...]
    rewound: bool = False


class Cache:
    """Objects by key, and by the root they belong to. Times are arguments, in seconds of any steady clock."""

    def __init__(self) -> None:
        self._entries: dict[Key, Entry] = {}
        self._by_root: dict[Key, set[Key]] = defaultdict(set)
        self._by_kind: dict[str, set[Key]] = defaultdict(set)
        self._tombstones: dict[str, tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Entry | None:
        """The entry of a key; None if absent."""
        return self._entries.get(key)

    def root(self, key: Key) -> dict[str, Any] | None:
        """The document of a root; None if absent."""
        entry = self._entries.get(key)
        return entry.value.document() if entry and isinstance(entry.value, Root) else None

    def below(self, root: Key) -> Iterator[Entry]:
        """Every entry that belongs to a root, the root itself left out."""
        keys = self._by_root.get(root, ())
        return (self._entries[key] for key in sorted(keys) if key != root)

    def roots_on(self, node: str) -> tuple[Key, ...]:
        """The roots with pods on a node."""
        return tuple(
            sorted(
                {
                    each.root
                    for each in self._entries.values()
                    if isinstance(each.value, Pod) and each.value.node == node
                }
            )
        )

    def keys(self, kind: str) -> frozenset[Key]:
        """Every key of a kind."""
        return frozenset(self._by_kind[kind])

    def put(self, entry: Entry, now: float) -> tuple[Key, ...]:
        """Keep an object unless it is older than what is known; the roots that are touched."""
        old = self._entries.get(entry.key)
        buried, _ = self._tombstones.get(entry.uid, (-1, now))
        if entry.version <= buried or (old is not None and entry.version <= old.version):
            return ()
        self._remove(entry.key)
        self._entries[entry.key] = _judged(entry, old)
        self._by_root[entry.root].add(entry.key)
        self._by_kind[entry.key.kind].add(entry.key)
        former = (old.root,) if old is not None and old.root != entry.root else ()
        return (entry.root, *former)

    def drop(self, key: Key, uid: str, version: int, now: float) -> tuple[Key, ...]:
        """Forget a deleted object, unless a newer one has its name; the roots that are touched."""
        self._expire(now)
        self._tombstones.pop(uid, None)  # so that the newest stands last
        self._tombstones[uid] = (version, now + TOMBSTONE_SECONDS)
        old = self._entries.get(key)
        if old is None or (old.uid != uid and old.version > version):
            return ()
        self._remove(key)
        return (old.root,)

    def keep_judgement(self, child: Child) -> None:
        """Remember that a child was judged intact, in place of the fields that the judgement took."""
        entry = self._entries.get(child.key)
        if entry is not None and entry.version == child.version:
            judged = replace(child, intact=True, fields=None)
            self._entries[child.key] = replace(entry, value=judged)

    def drift(
        self, kind: str, listed: Mapping[Key, int], version: int, namespaces: Iterable[str] = ()
    ) -> Drift:
        """Compare a kind with a LIST taken at `version`; of some namespaces only, if any are given."""
        within = frozenset(namespaces)
        known = [key for key in self._by_kind[kind] if not within or key.namespace in within]
        return Drift(
            unseen=tuple(key for key, at in listed.items() if self._version(key) < at),
            ghosts=tuple(
                key for key in known if key not in listed and self._version(key) <= version
            ),
            rewound=any(at < self._version(key) <= version for key, at in listed.items()),
        )

    def newest(self, kind: str, namespaces: Iterable[str] = ()) -> int | None:
        """The highest resourceVersion known of a kind, of some namespaces only if any are given; None without objects."""
        within = frozenset(namespaces)
        return max(
            (
                self._entries[key].version
                for key in self._by_kind[kind]
                if not within or key.namespace in within
            ),
            default=None,
        )

    def highest(self) -> int:
        """The highest resourceVersion known of any object; -1 without one."""
        return max((each.version for each in self._entries.values()), default=-1)

    def rewind(self) -> None:
        """Forget every version, since those of the API server went back.

        Only a restore of etcd from a backup does that. The objects stay until a LIST says otherwise.
        """
        for key, each in self._entries.items():
            self._entries[key] = replace(each, version=-1)
        self._tombstones.clear()

    def _version(self, key: Key) -> int:
        entry = self._entries.get(key)
        return -1 if entry is None else entry.version

    def _remove(self, key: Key) -> None:
        old = self._entries.pop(key, None)
        if old is None:
            return
        self._by_kind[key.kind].discard(key)
        siblings = self._by_root[old.root]
        siblings.discard(key)
        if not siblings:
            del self._by_root[old.root]

    def _expire(self, now: float) -> None:
        # Dicts keep insertion order and every tombstone lives equally long, so the oldest come first.
        while self._tombstones:
            uid, (_, until) = next(iter(self._tombstones.items()))
            if until > now:
                return
            del self._tombstones[uid]


def _judged(entry: Entry, old: Entry | None) -> Entry:
    """A judgement stays good while our managedFields entry and the manifest's hash are the same."""
    known = old is not None and isinstance(old.value, Child) and old.value.intact
    same = known and old is not None and (old.uid, old.mark) == (entry.uid, entry.mark)
    if not same or not isinstance(entry.value, Child):
        return entry
    return replace(entry, value=replace(entry.value, intact=True, fields=None))
