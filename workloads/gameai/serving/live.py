"""A world's configuration while a service runs: read from a mounted file, read again when it changes."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from gameai_contract.world_config import ConfigError, WorldConfig, parse
from gameai_contract.world_time import MICROSECOND, wall_time, world_time

from gameai.errors import DrainingError
from gameai.serving import following, telemetry

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 1.0
# No sleep is longer, so that a stepped wall clock is noticed.
_MOST_SLEEP_SECONDS = 30.0

Clock = Callable[[], int]


class LiveWorld:
    """The present configuration and world time; `clock` gives µs since the Unix epoch."""

    def __init__(self, config: WorldConfig, clock: Clock) -> None:
        self.config = config
        self.draining = False
        self._clock = clock
        self._changed = asyncio.Event()

    def wall(self) -> int:
        """The wall clock, in µs since the Unix epoch."""
        return self._clock()

    def now(self) -> int:
        """World time in µs."""
        return world_time(self.config.anchors, self._clock())

    def wall_of(self, world: int) -> int | None:
        """When world time will be so much, by the wall clock in µs; None while the clock stands before it."""
        return wall_time(self.config.anchors, world, self._clock())

    def take(self, config: WorldConfig) -> None:
        """Replace the configuration and wake all waiters."""
        self.config = config
        self.notify()

    def drain(self) -> None:
        """End every stream: its caller finds another replica."""
        self.draining = True
        self.notify()

    def require_serving(self) -> None:
        """Raises `DrainingError` where this replica goes away: its streams end, however much they have to send."""
        if self.draining:
            raise DrainingError("this replica is going away: call again")

    async def wait_for_change(self, until: int | None) -> None:
        """Sleep until a wall time in µs, or until something changes. Raises `DrainingError`."""
        self.require_serving()
        left = _MOST_SLEEP_SECONDS
        if until is not None:
            left = min(left, max(0.0, (until - self._clock()) / MICROSECOND))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._changed.wait()
        self.require_serving()

    def notify(self) -> None:
        """Wake all waiters: something that they look at has changed."""
        self._changed.set()
        self._changed = asyncio.Event()


def read(path: Path, *, by_hand: bool = False) -> WorldConfig:
    """The configuration of a file; `by_hand` as of `parse`. Raises `ConfigError`, also where the file cannot be read."""
    try:
        # Some editors begin a file with a byte order mark.
        return parse(path.read_text("utf-8-sig"), by_hand=by_hand)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except UnicodeError as error:
        raise ConfigError(f"{path}: the file is not UTF-8: {error}") from error


async def follow(path: Path, world: LiveWorld, *, by_hand: bool = False) -> None:
    """Take up every new content of the file, forever; what cannot be read leaves what was there."""

    def take(found: WorldConfig) -> None:
        if found != world.config:
            telemetry.RELOADS.labels("taken").inc()
            _LOG.info("a new configuration was taken up")
            world.take(found)

    def refused(error: Exception) -> None:
        telemetry.RELOADS.labels("refused").inc()
        _LOG.error("the configuration stays as it was: %s", error)

    await following.follow(
        lambda: read(path, by_hand=by_hand),
        take,
        refused,
        errors=(ConfigError,),
        seconds=_POLL_SECONDS,
    )
