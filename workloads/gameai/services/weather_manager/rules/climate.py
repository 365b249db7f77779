"""PURE: data: what weather each climate has in each season, and how one sky follows another."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Sky(StrEnum):
    """What the sky does."""

    CLEAR = "clear"
    CLOUDY = "cloudy"
    OVERCAST = "overcast"
    FOG = "fog"
    RAIN = "rain"
    STORM = "storm"
    SNOW = "snow"


@dataclass(frozen=True, kw_only=True, slots=True)
class SeasonWeather:
    """Weights of each sky when new weather is drawn, and the mean temperature by day in hundredths of a degree."""

    weights: Mapping[Sky, int]
    mean_centidegrees: int


def _season(mean: int, **weights: int) -> SeasonWeather:
    by_sky = {Sky(name): weight for name, weight in weights.items()}
    return SeasonWeather(weights=MappingProxyType(by_sky), mean_centidegrees=mean)


SEASONS_OF: Mapping[str, Mapping[str, SeasonWeather]] = MappingProxyType(
    {
        "Temperate": MappingProxyType(
            {
                "Spring": _season(1100, clear=30, cloudy=30, overcast=15, fog=5, rain=18, storm=2),
                "Summer": _season(2100, clear=45, cloudy=27, overcast=10, fog=2, rain=10, storm=6),
                "Autumn": _season(1000, clear=20, cloudy=27, overcast=23, fog=10, rain=18, storm=2),
                "Winter": _season(0, clear=22, cloudy=23, overcast=25, fog=8, rain=7, snow=15),
            }
        ),
        "Maritime": MappingProxyType(
            {
                "Spring": _season(1000, clear=20, cloudy=28, overcast=20, fog=8, rain=20, storm=4),
                "Summer": _season(1700, clear=30, cloudy=30, overcast=15, fog=6, rain=15, storm=4),
                "Autumn": _season(1100, clear=12, cloudy=24, overcast=24, fog=8, rain=24, storm=8),
                "Winter": _season(
                    600, clear=10, cloudy=22, overcast=26, fog=6, rain=28, storm=6, snow=2
                ),
            }
        ),
        "Arid": MappingProxyType(
            {
                "Spring": _season(2400, clear=70, cloudy=22, overcast=5, rain=2, storm=1),
                "Summer": _season(3500, clear=85, cloudy=12, overcast=1, storm=2),
                "Autumn": _season(2500, clear=72, cloudy=20, overcast=5, rain=2, storm=1),
                "Winter": _season(1400, clear=65, cloudy=23, overcast=7, fog=1, rain=4),
            }
        ),
        "Tropical": MappingProxyType(
            {
                "Spring": _season(2700, clear=40, cloudy=30, overcast=8, rain=15, storm=7),
                "Summer": _season(2900, clear=25, cloudy=25, overcast=12, rain=23, storm=15),
                "Autumn": _season(2800, clear=28, cloudy=27, overcast=12, rain=21, storm=12),
                "Winter": _season(2600, clear=55, cloudy=28, overcast=5, fog=2, rain=8, storm=2),
            }
        ),
        "Polar": MappingProxyType(
            {
                "Spring": _season(-1200, clear=35, cloudy=25, overcast=15, fog=5, snow=20),
                "Summer": _season(300, clear=35, cloudy=28, overcast=17, fog=10, rain=6, snow=4),
                "Autumn": _season(-900, clear=25, cloudy=25, overcast=18, fog=6, snow=26),
                "Winter": _season(-2500, clear=40, cloudy=20, overcast=12, fog=2, snow=26),
            }
        ),
    }
)

# How one sky follows another within one spell, in percent: the rest of the weather has inertia.
FOLLOWS: Mapping[Sky, Mapping[Sky, int]] = MappingProxyType(
    {
        Sky.CLEAR: MappingProxyType({Sky.CLEAR: 75, Sky.CLOUDY: 22, Sky.FOG: 3}),
        Sky.CLOUDY: MappingProxyType({Sky.CLOUDY: 55, Sky.CLEAR: 22, Sky.OVERCAST: 23}),
        Sky.OVERCAST: MappingProxyType({Sky.OVERCAST: 50, Sky.CLOUDY: 25, Sky.RAIN: 25}),
        Sky.FOG: MappingProxyType({Sky.FOG: 50, Sky.CLEAR: 25, Sky.OVERCAST: 25}),
        Sky.RAIN: MappingProxyType({Sky.RAIN: 55, Sky.OVERCAST: 33, Sky.STORM: 12}),
        Sky.STORM: MappingProxyType({Sky.STORM: 40, Sky.RAIN: 55, Sky.CLOUDY: 5}),
        Sky.SNOW: MappingProxyType({Sky.SNOW: 65, Sky.OVERCAST: 30, Sky.CLEAR: 5}),
    }
)

# Below this mean it snows where it would rain, in hundredths of a degree.
SNOW_CENTIDEGREES = -100


@dataclass(frozen=True, kw_only=True, slots=True)
class SkyEffect:
    """What a sky does to the rest: warmth in hundredths of a degree, wind in cm/s, humidity in permille."""

    warmth_centidegrees: int
    wind_centimetres_per_second: int
    humidity_permille: int


EFFECTS: Mapping[Sky, SkyEffect] = MappingProxyType(
    {
        sky: SkyEffect(
            warmth_centidegrees=warmth, wind_centimetres_per_second=wind, humidity_permille=humidity
        )
        for sky, warmth, wind, humidity in (
            (Sky.CLEAR, 200, 250, 450),
            (Sky.CLOUDY, 0, 400, 600),
            (Sky.OVERCAST, -150, 500, 750),
            (Sky.FOG, -250, 80, 970),
            (Sky.RAIN, -350, 700, 900),
            (Sky.STORM, -450, 1700, 930),
            (Sky.SNOW, -300, 500, 850),
        )
    }
)
