"""PURE: weather as a seeded Markov process over world time, with any step computed in bounded time.

Each step draws one number from (seed, region, step). With probability `RENEWAL` a new sky is drawn from the season's
weights, whatever it was: from such a step on nothing before matters. So the sky of any step is found by going back to the
last renewal, some ten steps on average and never more than `MOST_BACK`, and forward again: the same answer from any
replica, with no state kept. (Regeneration of a Markov chain: Doeblin's splitting, as in coupling from the past.)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from gameai_contract.world_time import MICROSECOND, calendar

from gameai.services.weather_manager.rules.climate import (
    EFFECTS,
    FOLLOWS,
    SEASONS_OF,
    SNOW_CENTIDEGREES,
    SeasonWeather,
    Sky,
)

RENEWAL = 0.1
# Every so many steps there is a renewal in any case; by chance alone it is missed once in 10⁴⁷.
MOST_BACK = 1024
# A day's warmest hour is this much above its mean, its coldest as much below.
_SWING_CENTIDEGREES = 500
_WARMEST_HOUR = 15
_NOISE_CENTIDEGREES = 150


@dataclass(frozen=True, kw_only=True, slots=True)
class Weather:
    """The weather of one step: hundredths of a degree, cm/s, permille; begin and end in µs of world time."""

    region: str
    sky: Sky
    temperature_centidegrees: int
    wind_centimetres_per_second: int
    humidity_permille: int
    begins: int
    ends: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """The weather of a world: its seed, climate, regions, and the length of a step in µs of world time."""

    seed: int
    climate: str
    regions: tuple[str, ...]
    step: int

    def at(self, region: str, world: int) -> Weather:
        """The weather of a region at a world time in µs."""
        return self.of_step(region, world // self.step)

    def of_step(self, region: str, number: int) -> Weather:
        """The weather of a region's step."""
        return self._weather(region, number, self._sky(region, number))

    def ahead(self, region: str, first: int, many: int) -> Iterator[Weather]:
        """The weather of so many steps of a region. Each costs a draw or two, where a step alone goes back to a renewal."""
        sky = self._sky(region, first)
        for number in range(first, first + many):
            if number > first:
                sky = self._following(region, number, sky)
            yield self._weather(region, number, sky)

    def _weather(self, region: str, number: int, drawn: Sky) -> Weather:
        begins = number * self.step
        sky = _frozen(drawn, self._season(number))
        effect = EFFECTS[sky]
        noise = self._chance(region, number, "noise")
        gust = self._chance(region, number, "gust")
        return Weather(
            region=region,
            sky=sky,
            temperature_centidegrees=self._season(number).mean_centidegrees
            + _daily_swing(begins)
            + effect.warmth_centidegrees
            + round((2 * noise - 1) * _NOISE_CENTIDEGREES),
            wind_centimetres_per_second=round(effect.wind_centimetres_per_second * (0.5 + gust)),
            humidity_permille=min(1000, effect.humidity_permille + round((gust - 0.5) * 60)),
            begins=begins,
            ends=begins + self.step,
        )

    def _sky(self, region: str, number: int) -> Sky:
        start = number
        while not self._renews(region, start):
            start -= 1
        sky = self._new(region, start)
        for step in range(start + 1, number + 1):
            sky = self._next(region, step, sky)
        return sky

    def _following(self, region: str, number: int, sky: Sky) -> Sky:
        """The sky of a step, from that of the step before."""
        if self._renews(region, number):
            return self._new(region, number)
        return self._next(region, number, sky)

    def _new(self, region: str, number: int) -> Sky:
        return _drawn(self._season(number).weights, self._chance(region, number, "new"))

    def _next(self, region: str, number: int, sky: Sky) -> Sky:
        return _drawn(FOLLOWS[sky], self._chance(region, number, "next"))

    def _renews(self, region: str, number: int) -> bool:
        return number % MOST_BACK == 0 or self._chance(region, number, "renewal") < RENEWAL

    def _season(self, number: int) -> SeasonWeather:
        return SEASONS_OF[self.climate][calendar(number * self.step).season]

    def _chance(self, region: str, number: int, what: str) -> float:
        """A number from 0 to below 1 that depends on nothing but its name."""
        text = f"{self.seed}/{region}/{number}/{what}".encode()
        return int.from_bytes(blake2b(text, digest_size=6).digest()) / 2**48


def process(seed: int, settings: Mapping[str, str], regions: tuple[str, ...]) -> Process:
    """The process that a service's settings describe; their bounds are the catalogue's."""
    return Process(
        seed=seed,
        climate=settings["climate"],
        regions=regions,
        step=int(settings["stepMinutes"]) * 60 * MICROSECOND,
    )


def _drawn(weights: Mapping[Sky, int], chance: float) -> Sky:
    """The sky that a number from 0 to below 1 falls on."""
    left = chance * sum(weights.values())
    for sky, weight in weights.items():
        left -= weight
        if left < 0:
            return sky
    raise AssertionError("a chance below 1 falls on a sky")


def _frozen(sky: Sky, season: SeasonWeather) -> Sky:
    """In the cold, what would be rain is snow."""
    cold = season.mean_centidegrees <= SNOW_CENTIDEGREES
    return Sky.SNOW if cold and sky in (Sky.RAIN, Sky.STORM) else sky


def _daily_swing(world: int) -> int:
    """A triangle over the day: warmest in the afternoon, coldest twelve hours away."""
    date = calendar(world)
    hour = date.hour + date.minute / 60
    away = abs((hour - _WARMEST_HOUR + 12) % 24 - 12)
    return round(_SWING_CENTIDEGREES * (1 - away / 6))
