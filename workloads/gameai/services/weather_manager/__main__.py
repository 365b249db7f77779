"""WeatherService over gRPC: what the process says, now and ahead."""

import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import MappingProxyType

from gameai_contract.settings import split_words
from gameai_contract.world_time import MICROSECOND

from gameai.bus.announcing import Announcement, Announcer
from gameai.bus.subjects import name_id
from gameai.errors import InvalidArgumentError, NotFoundError
from gameai.events.v1.events_pb2 import SOURCE_WEATHER_MANAGER, WeatherChanged
from gameai.services.weather_manager.rules.climate import Sky
from gameai.services.weather_manager.rules.numbers import numbers
from gameai.services.weather_manager.rules.process import Process, Weather, process
from gameai.serving import GameService, LiveWorld, Runtime, main, timestamp
from gameai.weather.v1 import weather_pb2, weather_pb2_grpc

_SKIES = MappingProxyType({sky: weather_pb2.Sky.Value(f"SKY_{sky.name}") for sky in Sky})
_STEPS, _MOST_STEPS = 24, 240


class WeatherService(weather_pb2_grpc.WeatherServiceServicer):
    """Answers from the world's seed and its clock alone; any replica says the same."""

    def __init__(self, world: LiveWorld, weather: Process) -> None:
        self._world = world
        self._process = weather

    async def GetWeather(
        self, request: weather_pb2.GetWeatherRequest, context: object
    ) -> weather_pb2.GetWeatherResponse:
        """The weather of one region now."""
        found = self._process.at(self._region(request.region), self._world.now())
        return weather_pb2.GetWeatherResponse(weather=self._message(found))

    async def ForecastWeather(
        self, request: weather_pb2.ForecastWeatherRequest, context: object
    ) -> weather_pb2.ForecastWeatherResponse:
        """The weather of one region from now on."""
        if request.steps > _MOST_STEPS:
            raise InvalidArgumentError(f"steps must be at most {_MOST_STEPS}", field="steps")
        region = self._region(request.region)
        first = self._world.now() // self._process.step
        ahead = self._process.ahead(region, first, request.steps or _STEPS)
        return weather_pb2.ForecastWeatherResponse(weather=map(self._message, ahead))

    async def WatchWeather(
        self, request: weather_pb2.WatchWeatherRequest, context: object
    ) -> AsyncIterator[weather_pb2.WatchWeatherResponse]:
        """The weather of some regions now, then each change of it."""
        asked = dict.fromkeys(request.regions or self._process.regions)
        regions = [self._region(each) for each in asked]
        sent: dict[str, Weather] = {}
        while True:
            now = self._world.now()
            for found in self._changes(regions, now, sent):
                yield weather_pb2.WatchWeatherResponse(weather=self._message(found))
            following = (now // self._process.step + 1) * self._process.step
            await self._world.wait_for_change(self._world.wall_of(following))

    def _changes(self, regions: Iterable[str], now: int, sent: dict[str, Weather]) -> list[Weather]:
        """What was not sent yet."""
        found = [self._process.at(region, now) for region in regions]
        new = [each for each in found if sent.get(each.region) != each]
        sent.update({each.region: each for each in new})
        return new

    def _region(self, name: str) -> str:
        if name not in self._process.regions:
            known = ", ".join(self._process.regions)
            raise NotFoundError(f"no region {name!r}: this world has {known}", field="region")
        return name

    def _message(self, found: Weather) -> weather_pb2.Weather:
        return weather_pb2.Weather(
            region=found.region,
            sky=_SKIES[found.sky],
            temperature_centidegrees=found.temperature_centidegrees,
            wind_centimetres_per_second=found.wind_centimetres_per_second,
            humidity_permille=found.humidity_permille,
            begins_world_microseconds=found.begins,
            ends_world_microseconds=found.ends,
            ends_at=timestamp(self._world.wall_of(found.ends)),
        )


def due(world: LiveWorld, weather: Process) -> tuple[list[Announcement], int | None]:
    """The weather of every region in the present step, and when the next one begins."""
    now = world.now()
    step = now // weather.step
    begins = step * weather.step
    found = [
        Announcement(message=event(weather.of_step(region, step)), world_us=begins, sequence=number)
        for region, number in numbers(weather.regions, begins).items()
    ]
    return found, world.wall_of(begins + weather.step)


def event(found: Weather) -> WeatherChanged:
    """What is published of the weather of a region."""
    return WeatherChanged(
        region=name_id(found.region),
        sky=_SKIES[found.sky],
        centidegrees=found.temperature_centidegrees,
        wind=found.wind_centimetres_per_second,
        humidity=found.humidity_permille,
        begins_us=found.begins,
        lasts_seconds=(found.ends - found.begins) // MICROSECOND,
    )


@asynccontextmanager
async def lifespan(runtime: Runtime) -> AsyncIterator[None]:
    """Answers need nothing opened: the weather follows from the world's seed. It goes to the event bus, if there is one."""
    settings, world = runtime.settings, runtime.world
    weather = process(world.config.seed, settings, split_words(settings["regions"]))
    service = WeatherService(world, weather)
    weather_pb2_grpc.add_WeatherServiceServicer_to_server(service, runtime.server)
    announcer = Announcer(
        service=SERVICE.name, source=SOURCE_WEATHER_MANAGER, due=lambda: due(world, weather)
    )
    runtime.background.start("events", announcer.run(world))
    yield


SERVICE = GameService(
    name="weather-manager", wire_name="gameai.weather.v1.WeatherService", lifespan=lifespan
)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
