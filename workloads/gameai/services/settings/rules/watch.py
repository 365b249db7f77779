"""PURE: what a watcher has been sent, and what it is sent next."""

from collections.abc import Sequence

from gameai.settings.v1 import settings_pb2 as pb


class Watch:
    """Of one stream. It remembers layer and revision of each setting, and values of the player, which have no revision."""

    def __init__(self) -> None:
        self._sent: dict[str, tuple[int, int, bytes]] | None = None

    def next(
        self, settings: Sequence[pb.Setting], revision: int
    ) -> pb.WatchEffectiveResponse | None:
        """All settings at first, then what has changed; None: nothing."""
        found = {each.key: _identity(each) for each in settings}
        known, self._sent = self._sent, found
        if known is None:
            return pb.WatchEffectiveResponse(settings=settings, revision=revision)
        changed = [each for each in settings if known.get(each.key) != found[each.key]]
        removed = [key for key in known if key not in found]
        if not changed and not removed:
            return None
        return pb.WatchEffectiveResponse(settings=changed, removed_keys=removed, revision=revision)


def _identity(given: pb.Setting) -> tuple[int, int, bytes]:
    value = b"" if given.revision else given.value.SerializeToString(deterministic=True)
    return given.layer, given.revision, value
