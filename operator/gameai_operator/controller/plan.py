"""PURE: what is wanted and what is there → what to write. The one place where the write rule stands."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Protocol

from gameai_operator.controller import scale
from gameai_operator.controller.field_ownership import Fields, lost
from gameai_operator.controller.manifest import (
    MANIFEST_HASH,
    Key,
    Manifest,
    Owner,
    Resource,
    key_of,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Child:
    """A live object as a plan sees it.

    `fields` is our managedFields entry while it waits to be judged; `intact` is the judgement kept from a former plan.
    """

    key: Key
    uid: str
    version: int
    owner: Owner | None
    terminating: bool
    manifest_hash: str
    fields: Fields | None = None
    intact: bool = False
    facts: Any = None

    @property
    def applied(self) -> bool:
        """Whether we ever applied it."""
        return self.intact or self.fields is not None

    @property
    def ours(self) -> bool:
        """Whether it may be taken over where no controller owns it.

        An object restored from a backup may have lost its owner and its managedFields. Our labels found it, and our
        hash stands on it.
        """
        return self.applied or bool(self.manifest_hash)


@dataclass(frozen=True, kw_only=True, slots=True)
class Apply:
    """One server-side apply. `force` takes fields from other managers; without it another's object is refused.

    `version` is the resourceVersion that the decision saw, None where the child was absent. `digest` is the same
    for a repair, and another for a change.
    """

    manifest: Manifest
    force: bool
    why: str
    version: int | None = None
    digest: str = ""

    @property
    def key(self) -> Key:
        """What is written."""
        return key_of(self.manifest)


class Scalable(Protocol):
    """Facts of a child whose replicas are set apart from the rest of it.

    `asked` is the number that we last asked for, None once another manager took the field; `apart` says that it has
    a field manager of its own already; `nudged` that it is one more for a moment; `overridden` that something keeps
    another number; `observed` that its controller has seen the present spec.
    """

    @property
    def asked(self) -> int | None: ...  # noqa: D102 - said above
    @property
    def apart(self) -> bool: ...  # noqa: D102 - same
    @property
    def nudged(self) -> bool: ...  # noqa: D102 - same
    @property
    def overridden(self) -> bool: ...  # noqa: D102 - same
    @property
    def observed(self) -> bool: ...  # noqa: D102 - same


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """Replicas of a child; `nudged` adds one until its controller has observed that."""

    wanted: int
    api_version: str
    nudged: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """One write of a number of replicas, under the field manager that this number has for itself.

    With `first` a template must wait for it: that leaves the number out, and no other manager owns it yet.
    """

    manifest: Manifest
    number: Number
    why: str
    first: bool = False

    @property
    def key(self) -> Key:
        """What is written."""
        return key_of(self.manifest)

    @property
    def digest(self) -> str:
        """The same for a repair, another for a change."""
        return f"replicas {self.number.wanted} {self.number.nudged}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Creation:
    """An object that is created where it is absent, and never read, changed or deleted: it holds secrets.

    It has no owner, so that it outlives its root as the data does that it opens. `render` gives the manifest from a
    source of random texts.
    """

    resource: Resource
    key: Key
    render: Callable[[Callable[[], str]], Manifest]


@dataclass(frozen=True, kw_only=True, slots=True)
class Conflict:
    """A wanted object whose name is taken by another owner."""

    key: Key
    holder: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The writes that bring the children to what is wanted, in order; empty parts mean nothing to do.

    `creations` come first. `waits` must go away before they can be created again; `intact` were judged unchanged.
    """

    creations: tuple[Creation, ...] = ()
    counts: tuple[Count, ...] = ()
    applies: tuple[Apply, ...] = ()
    deletes: tuple[Child, ...] = ()
    waits: tuple[Child, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    intact: tuple[Child, ...] = ()


def plan(
    owner: Owner,
    wanted: Sequence[Manifest],
    children: Mapping[Key, Child],
    keep: Collection[Key] = (),
    *,
    numbers: Mapping[Key, Number] = MappingProxyType({}),
    again: Collection[Key] = (),
    creations: tuple[Creation, ...] = (),
) -> Plan:
    """Decide for every wanted manifest and every child of `owner`; children of others are never touched.

    Those in `keep` stay as they are, though nothing wants them at present. `numbers` are the replicas of children that
    can be scaled, whether their manifest is wanted now or not; those in `again` are written though nothing seems to
    differ.
    """
    verdicts = [_verdict(owner, manifest, children.get(key_of(manifest))) for manifest in wanted]
    applies = [each for each in verdicts if isinstance(each, Apply)]
    stays = {*keep, *(key_of(manifest) for manifest in wanted)}
    changed = {each.key for each in applies}
    seen = {key: children[key] for key in numbers if key in children}
    counts = [
        _count(
            owner,
            each,
            numbers[key],
            changes=key in changed,
            again=key in again,
        )
        for key, each in seen.items()
    ]
    return Plan(
        creations=creations,
        counts=tuple(each for each in counts if each),
        applies=tuple(_created(each, numbers) for each in applies),
        conflicts=tuple(each for each in verdicts if isinstance(each, Conflict)),
        waits=tuple(each for each in verdicts if isinstance(each, Child) and _waited(owner, each)),
        intact=tuple(
            each for each in verdicts if isinstance(each, Child) and not _waited(owner, each)
        ),
        deletes=tuple(
            child
            for key, child in children.items()
            if key not in stays and owner.owns(child.owner) and not child.terminating
        ),
    )


def _verdict(owner: Owner, manifest: Manifest, child: Child | None) -> Apply | Conflict | Child:
    digest: str = manifest["metadata"]["annotations"][MANIFEST_HASH]
    if child is None:
        return Apply(manifest=manifest, force=False, why="absent", digest=digest)
    if _waited(owner, child):
        return child
    if not owner.owns(child.owner) and (child.owner is not None or not child.ours):
        return Conflict(key=child.key, holder=holder(child.owner))
    why = _difference(manifest, child, digest)
    if why is None:
        return child
    return Apply(manifest=manifest, force=True, why=why, version=child.version, digest=digest)


def _difference(manifest: Manifest, child: Child, digest: str) -> str | None:
    if child.manifest_hash != digest:
        return "changed"
    if child.intact:
        return None
    missing = ("everything",) if child.fields is None else lost(manifest, child.fields)
    return f"edited: {missing[0]}" if missing else None


def _count(
    owner: Owner, child: Child, number: Number, *, changes: bool, again: bool
) -> Count | None:
    """The number goes first where a template follows that leaves it out: else the server would fall back to 1."""
    foreign = child.owner is not None and not owner.owns(child.owner)
    if child.terminating or foreign or not child.applied:
        return None
    live: Scalable = child.facts
    first = changes and not live.apart
    same = (live.asked, live.nudged) == (number.wanted, number.nudged)
    if same and not (first or again):
        return None
    manifest = scale.manifest(number.api_version, child.key, number.wanted, nudged=number.nudged)
    why = f"{live.asked} → {number.wanted} replicas{' plus one' if number.nudged else ''}"
    return Count(manifest=manifest, number=number, why=why, first=first)


def _created(step: Apply, numbers: Mapping[Key, Number]) -> Apply:
    """A new object is created with its number, so that no pod too many or too few is ever started."""
    if step.version is not None or step.key not in numbers:
        return step
    return replace(step, manifest=scale.with_replicas(step.manifest, numbers[step.key].wanted))


def _waited(owner: Owner, child: Child) -> bool:
    """Whether it is going, or belongs to a former object of our name and will go with it."""
    former = (
        child.owner is not None
        and child.owner.uid != owner.uid
        and (child.owner.kind, child.owner.name) == (owner.kind, owner.name)
    )
    return child.terminating or former


def holder(owner: Owner | None) -> str:
    """Who has a name that we wanted, in words."""
    return f"{owner.kind} {owner.name}" if owner else "another writer (it has no controller owner)"
