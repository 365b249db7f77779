"""PURE: what a watcher has been sent, and what it is sent next."""

from collections.abc import Sequence

from gameai.services.settings.rules.table import Version
from gameai.settings.v1 import settings_pb2 as pb


class Watch:
    """Of one stream: the revision of each setting that was sent, the version of all of them, and values of the player as they were read last.

    `stale` says that the last message lacks values of the player, which could not be read.
    """

    def __init__(self) -> None:
        self._sent: dict[str, int | bytes] | None = None
        self.version: Version = (0, "")
        self.stale = False
        self.own: dict[str, pb.Value] = {}

    def next(
        self, settings: Sequence[pb.Setting], version: Version, *, stale: bool = False
    ) -> pb.WatchEffectiveResponse | None:
        """All settings at first, then what has changed; None: nothing.

        After a restore of the database numbers of revisions come again, so that all are sent.
        """
        found = {each.key: _identity(each) for each in settings}
        sent, self._sent = self._sent, found
        restored = version[0] <= self.version[0] and version != self.version
        turned, self.stale = stale != self.stale, stale
        first, self.version = sent is None or restored, version
        known = sent or {}
        changed = [each for each in settings if first or known.get(each.key) != found[each.key]]
        removed = [key for key in known if key not in found]
        if not (changed or removed or turned) and sent is not None:
            return None
        return pb.WatchEffectiveResponse(
            settings=changed, removed_keys=removed, revision=version[0], stale=stale
        )


def _identity(given: pb.Setting) -> int | bytes:
    """Layer and revision in one number: streams of all keys remember thousands."""
    if not given.revision:
        return given.value.SerializeToString(deterministic=True)
    return given.revision << 3 | given.layer
