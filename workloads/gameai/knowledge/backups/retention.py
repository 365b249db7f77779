"""PURE: which archives are removed, and when none is."""

from collections.abc import Iterable

from gameai_contract.archives import ArchiveName, archive_name


def archives(files: Iterable[str]) -> list[ArchiveName]:
    """Those of some files that are archives, the newest first."""
    found = filter(None, map(archive_name, files))
    return sorted(found, key=lambda each: (each.slot, each.appended, each.entries), reverse=True)


def outdated(known: Iterable[ArchiveName], keep: int) -> list[ArchiveName]:
    """All but the newest `keep`. Two of one slot, of a backup that ran twice, count as one."""
    slots = sorted({each.slot for each in known}, reverse=True)
    return [each for each in known if each.slot in slots[keep:]]


def shrunk(made: ArchiveName, known: Iterable[ArchiveName]) -> str:
    """Why older archives must stay: the memory has lost what one of them holds. Empty: it has not.

    A deletion of events is no loss: it changes nothing about how many there have been.
    """
    most = max(known, key=lambda each: (each.appended, each.entries), default=made)
    if most.appended > made.appended:
        lost = f"{made.appended} events were ever appended, and archive {most} has {most.appended}"
    elif most.entries and not made.entries:
        lost = f"it is empty, and archive {most} has {most.entries} entries"
    else:
        return ""
    return f"the memory lost history: {lost}. No archive is removed until it is restored, or the larger archives are moved away"
