"""PURE: what is wanted and what is there → what to write. The one place where the write rule stands."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gameai_operator.engine.manifest import MANIFEST_HASH, Key, Manifest, Owner, key_of
from gameai_operator.engine.ownership import Fields, lost


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
    def ours(self) -> bool:
        """Whether we ever applied it."""
        return self.intact or self.fields is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Apply:
    """One server-side apply. `force` takes fields from other managers; without it another's object is refused."""

    manifest: Manifest
    force: bool
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Conflict:
    """A wanted object whose name belongs to somebody else."""

    key: Key
    holder: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The writes that bring the children to what is wanted, in order; empty parts mean nothing to do.

    `waits` must go away before they can be made anew; `intact` were judged unchanged.
    """

    applies: tuple[Apply, ...] = ()
    deletes: tuple[Child, ...] = ()
    waits: tuple[Child, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    intact: tuple[Child, ...] = ()

    @property
    def writes(self) -> int:
        """How many calls it takes."""
        return len(self.applies) + len(self.deletes)


def plan(
    owner: Owner,
    wanted: Sequence[Manifest],
    children: Mapping[Key, Child],
    keep: Collection[Key] = (),
) -> Plan:
    """Decide for every wanted manifest and every child of `owner`; children of others are never touched.

    Those in `keep` stay as they are for now, though nothing wants them any more.
    """
    verdicts = [_verdict(owner, manifest, children.get(key_of(manifest))) for manifest in wanted]
    stays = {*keep, *(key_of(manifest) for manifest in wanted)}
    return Plan(
        applies=tuple(each for each in verdicts if isinstance(each, Apply)),
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
    if child is None:
        return Apply(manifest=manifest, force=False, why="absent")
    if _waited(owner, child):
        return child
    if not owner.owns(child.owner) and (child.owner is not None or not child.ours):
        return Conflict(key=child.key, holder=holder(child.owner))
    if child.manifest_hash != manifest["metadata"]["annotations"][MANIFEST_HASH]:
        return Apply(manifest=manifest, force=True, why="changed")
    if child.intact:
        return child
    missing = ("everything",) if child.fields is None else lost(manifest, child.fields)
    if missing:
        return Apply(manifest=manifest, force=True, why=f"edited: {missing[0]}")
    return child


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
    return f"{owner.kind} {owner.name}" if owner else "nobody we know (it has no controller owner)"
