"""TimeService over gRPC: world time as everybody reads it."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import MappingProxyType

from gameai_contract.world_time import MICROSECOND, anchor_at, calendar

from gameai.services.time_manager.rules import Hours, Phase, hours, next_hour, next_phase, phase
from gameai.serving import GameService, LiveWorld, Runtime, main, timestamp
from gameai.time.v1 import time_pb2, time_pb2_grpc

_PHASES = MappingProxyType(
    {
        Phase.NIGHT: time_pb2.PHASE_NIGHT,
        Phase.DAWN: time_pb2.PHASE_DAWN,
        Phase.DAY: time_pb2.PHASE_DAY,
        Phase.DUSK: time_pb2.PHASE_DUSK,
    }
)
_SEASONS = MappingProxyType(
    {
        "Spring": time_pb2.SEASON_SPRING,
        "Summer": time_pb2.SEASON_SUMMER,
        "Autumn": time_pb2.SEASON_AUTUMN,
        "Winter": time_pb2.SEASON_WINTER,
    }
)


def reading(world: LiveWorld, kept: Hours) -> time_pb2.WorldTime:
    """World time now, with everything that follows from it."""
    wall = world.wall()
    anchor = anchor_at(world.config.anchors, wall)
    now = anchor.at(wall)
    date = calendar(now)
    return time_pb2.WorldTime(
        world_microseconds=now,
        year=date.year,
        day=date.day,
        season=_SEASONS[date.season],
        hour=date.hour,
        minute=date.minute,
        second=date.second,
        phase=_PHASES[phase(now, kept)],
        rate_millionths=int(anchor.rate * MICROSECOND),
        phase_ends_at=timestamp(world.wall_of(next_phase(now, kept))),
    )


class TimeService(time_pb2_grpc.TimeServiceServicer):
    """Answers from the configuration and the clock alone; any replica says the same."""

    def __init__(self, world: LiveWorld, kept: Hours) -> None:
        self._world = world
        self._hours = kept

    async def GetTime(
        self, request: time_pb2.GetTimeRequest, context: object
    ) -> time_pb2.GetTimeResponse:
        """The world's time now."""
        return time_pb2.GetTimeResponse(time=reading(self._world, self._hours))

    async def WatchTime(
        self, request: time_pb2.WatchTimeRequest, context: object
    ) -> AsyncIterator[time_pb2.WatchTimeResponse]:
        """Now, then at every change of phase (or hour) and of the clock's rate."""
        hourly = request.granularity == time_pb2.GRANULARITY_HOUR
        sent: tuple[int, ...] | None = None
        while True:
            found = reading(self._world, self._hours)
            now = found.world_microseconds
            following = next_hour(now) if hourly else next_phase(now, self._hours)
            state = (following, found.rate_millionths)
            if state != sent:
                sent = state
                yield time_pb2.WatchTimeResponse(time=found)
            await self._world.wait_for_change(self._wake(following))

    def _wake(self, following: int) -> int | None:
        """Time of the next change: the next phase or hour, or an anchor that takes effect."""
        wall = self._world.wall()
        turns = [a.effective_at for a in self._world.config.anchors if a.effective_at > wall]
        reached = self._world.wall_of(following)
        return min([*turns, *([reached] if reached is not None else [])], default=None)


@asynccontextmanager
async def lifespan(runtime: Runtime) -> AsyncIterator[None]:
    """Nothing to open: time follows from the world's clock."""
    service = TimeService(runtime.world, hours(runtime.settings))
    time_pb2_grpc.add_TimeServiceServicer_to_server(service, runtime.server)
    yield


SERVICE = GameService(
    name="time-manager", wire_name="gameai.time.v1.TimeService", lifespan=lifespan
)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
