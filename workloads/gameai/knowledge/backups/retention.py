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


def lost(known: Iterable[ArchiveName], names: Collection[str]) -> str:
    """Why no archive may be removed: the database lacks what one of them may hold. Empty: it has all.

    `names` are archives that the database made, or that were in the repository when it was restored from there. A database
    that was replaced, or set back to an earlier state, knows less than the repository has.
    """
    unknown = [each for each in known if str(each) not in names]
    if not unknown:
        return ""
    return (
        f"the memory may have lost history: archive {unknown[0]} was not made by this database, nor restored into it. "
        "No archive is removed until it is restored or moved away"
    )


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
