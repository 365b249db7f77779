"""PURE: which archives are removed, and when none is."""

from collections.abc import Collection, Iterable

from gameai_contract.archives import ArchiveName, archive_name


def archives(files: Iterable[str]) -> list[ArchiveName]:
    """Those of some files that are archives, the newest first."""
    found = filter(None, map(archive_name, files))
    return sorted(found, key=lambda each: (each.slot, each.appended, each.entries), reverse=True)


def outdated(known: Iterable[ArchiveName], keep: int) -> list[ArchiveName]:
    """All but the newest `keep`. Two of one slot, of a backup that ran twice, count as one."""
    slots = sorted({each.slot for each in known}, reverse=True)
    return [each for each in known if each.slot in slots[keep:]]


def lost(made: ArchiveName, known: Iterable[ArchiveName], lineages: Collection[str]) -> str:
    """Why older archives must stay: this memory does not have the history of one of them. Empty: it has all.

    `lineages` are the histories that the memory has. A deletion of events is no loss: it changes nothing about how many there
    have been.
    """
    others = [each for each in known if each.lineage not in lineages]
    larger = _larger(made, [each for each in known if each not in others])
    if others:
        found = f"archive {others[0]} is of another history, which was not restored"
    elif larger:
        found = (
            f"archive {larger} has seen {larger.appended} events, and the memory {made.appended}"
        )
    else:
        return ""
    return f"the memory lost history: {found}. No archive is removed until it is restored, or such archives are moved away"


def doubtful(newest: ArchiveName, known: Iterable[ArchiveName]) -> str:
    """Why the newest archive may be the wrong one to restore; empty: it is not known to be."""
    larger = _larger(newest, known)
    if larger is None:
        return ""
    return (
        f"the newest archive {newest} has seen fewer events than {larger}: it may have been made after a loss; name the one to "
        "restore (spec.restoreFrom.archive, --archive)"
    )


def _larger(made: ArchiveName, known: Iterable[ArchiveName]) -> ArchiveName | None:
    """The largest that has more than this one."""
    most = max(known, key=lambda each: (each.appended, each.entries), default=made)
    more = most.appended > made.appended or (
        most.entries and not made.entries and not made.appended
    )
    return most if more else None
