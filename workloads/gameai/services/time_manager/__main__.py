"""TimeService over gRPC: world time as everybody reads it."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import MappingProxyType

from gameai_contract.world_time import MICROSECOND, anchor_at, calendar
from google.protobuf.message import Message

from gameai.bus.announcing import Announcement, Announcer
from gameai.events.v1.events_pb2 import SOURCE_TIME_MANAGER, ClockChanged, PhaseChanged
from gameai.services.time_manager.rules import (
    DAY,
    Hours,
    Phase,
    Turn,
    hours,
    next_hour,
    next_phase,
    next_turn,
    phase,
    turns,
)
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
        return next_turn(self._world.config.anchors, following, self._world.wall())


def event(turn: Turn, kept: Hours) -> Message:
    """What is published of a turn."""
    if turn.anchor is not None:
        return ClockChanged(
            world_us=turn.world,
            rate_millionths=int(turn.anchor.rate * MICROSECOND),
            effective_us=turn.wall,
        )
    date = calendar(turn.world)
    return PhaseChanged(
        phase=_PHASES[phase(turn.world, kept)],
        season=_SEASONS[date.season],
        day=turn.world // DAY,
        next_us=next_phase(turn.world, kept),
    )


def due(world: LiveWorld, kept: Hours) -> tuple[list[Announcement], int | None]:
    """The last phase and the last turn of the clock, and when the next one comes."""
    wall, anchors = world.wall(), world.config.anchors
    found = [
        Announcement(message=event(each, kept), world_us=each.world, sequence=each.sequence)
        for each in turns(anchors, kept, wall)
    ]
    return found, next_turn(anchors, next_phase(world.now(), kept), wall)


@asynccontextmanager
async def lifespan(runtime: Runtime) -> AsyncIterator[None]:
    """Answers need nothing opened: time follows from the world's clock. Its turns go to the event bus, if there is one."""
    world, kept = runtime.world, hours(runtime.settings)
    time_pb2_grpc.add_TimeServiceServicer_to_server(TimeService(world, kept), runtime.server)
    announcer = Announcer(
        service=SERVICE.name, source=SOURCE_TIME_MANAGER, due=lambda: due(world, kept)
    )
    runtime.background.start("events", announcer.run(world))
    yield


SERVICE = GameService(
    name="time-manager", wire_name="gameai.time.v1.TimeService", lifespan=lifespan
)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
