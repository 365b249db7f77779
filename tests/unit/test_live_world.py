import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import pytest
from gameai.errors import DrainingError
from gameai.services.time_manager.__main__ import TimeService, reading
from gameai.services.time_manager.rules import Hours
from gameai.services.weather_manager.__main__ import SERVICE, WeatherService
from gameai.services.weather_manager.rules.process import Process
from gameai.serving import main
from gameai.serving.background import Background
from gameai.serving.live import LiveWorld, follow, read
from gameai.serving.main import _until as until
from gameai.time.v1 import time_pb2
from gameai.weather.v1 import weather_pb2
from gameai_contract.world_config import ConfigError, parse
from gameai_contract.world_time import MICROSECOND
from gameai_contract.world_time import follow as follow_anchor
from gameai_operator.world import template
from support.worlds import configuration

# The package gives its function `main`, which hides the module of that name.
serving = sys.modules["gameai.serving.main"]
CONFIG = parse(configuration(seed=42))
T0 = CONFIG.anchors[0].effective_at
T = TypeVar("T")
KEPT = Hours(dawn=6, dusk=20)
HOUR = 120 * MICROSECOND  # of the world, by the wall clock, where a day takes 48 minutes


async def following_of(stream: AsyncIterator[T]) -> T:
    return await anext(stream)


class Clock:
    """A wall clock that stands where it is put."""

    def __init__(self, at: int = T0) -> None:
        self.at = at

    def __call__(self) -> int:
        return self.at


def paused_at(moment: int) -> LiveWorld:
    stop = follow_anchor(CONFIG.anchors, moment, Decimal(0), 48)
    return LiveWorld(replace(CONFIG, anchors=(*CONFIG.anchors, stop)), Clock())


def test_time_reads_as_the_anchors_say() -> None:
    clock = Clock(T0 + HOUR)
    found = reading(LiveWorld(CONFIG, clock), KEPT)
    assert (found.year, found.day, found.hour, found.phase) == (1, 1, 9, time_pb2.PHASE_DAY)
    assert found.rate_millionths == 30 * MICROSECOND
    assert found.phase_ends_at.seconds == (T0 + 12 * HOUR) // MICROSECOND


def test_a_service_that_was_killed_finds_world_time_where_it_would_have_been() -> None:
    clock = Clock(T0 + 5 * HOUR)
    before = LiveWorld(CONFIG, clock)
    first = before.now()
    del before
    again = LiveWorld(parse(configuration(seed=42)), clock)
    assert again.now() == first


def test_two_replicas_turn_at_the_same_instant_however_late_one_learns_of_it() -> None:
    turned = paused_at(T0 + HOUR).config
    clock = Clock(T0)
    early, late = LiveWorld(turned, clock), LiveWorld(CONFIG, clock)
    clock.at = T0 + HOUR - MICROSECOND
    assert early.now() == late.now()
    late.take(turned)
    clock.at = T0 + 2 * HOUR
    assert early.now() == late.now() == turned.anchors[1].world


async def test_watching_time_shows_now_then_each_phase_and_each_change_of_the_clock() -> None:
    clock = Clock()
    world = LiveWorld(CONFIG, clock)
    stream = TimeService(world, KEPT).WatchTime(time_pb2.WatchTimeRequest(), None)
    first = await anext(stream)
    assert first.time.phase == time_pb2.PHASE_DAY
    following = asyncio.create_task(following_of(stream))
    await asyncio.sleep(0)
    clock.at = T0 + 12 * HOUR
    world.take(CONFIG)
    assert (await following).time.phase == time_pb2.PHASE_DUSK
    turned = asyncio.create_task(following_of(stream))
    await asyncio.sleep(0)
    stop = follow_anchor(CONFIG.anchors, clock.at, Decimal(0), 48)
    world.take(replace(CONFIG, anchors=(*CONFIG.anchors, stop)))
    assert (await turned).time.rate_millionths == 0


async def test_watching_hours_shows_hours() -> None:
    clock = Clock()
    world = LiveWorld(CONFIG, clock)
    request = time_pb2.WatchTimeRequest(granularity=time_pb2.GRANULARITY_HOUR)
    stream = TimeService(world, KEPT).WatchTime(request, None)
    assert (await anext(stream)).time.hour == 8
    following = asyncio.create_task(following_of(stream))
    await asyncio.sleep(0)
    clock.at = T0 + HOUR
    world.take(CONFIG)
    assert (await following).time.hour == 9


async def test_watching_weather_shows_all_regions_then_each_change() -> None:
    clock = Clock()
    world = LiveWorld(CONFIG, clock)
    process = Process(seed=1, climate="Arid", regions=("a", "b"), step=3600 * MICROSECOND)
    stream = WeatherService(world, process).WatchWeather(weather_pb2.WatchWeatherRequest(), None)
    first = [await anext(stream), await anext(stream)]
    assert [each.weather.region for each in first] == ["a", "b"]
    assert first[0].weather.ends_at.seconds == (T0 + HOUR) // MICROSECOND
    following = asyncio.create_task(following_of(stream))
    await asyncio.sleep(0)
    clock.at = T0 + HOUR
    world.take(CONFIG)
    found = (await following).weather
    assert found.begins_world_microseconds == first[0].weather.ends_world_microseconds


def test_while_the_clock_stands_nothing_says_when_it_ends() -> None:
    world = paused_at(T0)
    assert not reading(world, KEPT).HasField("phase_ends_at")


async def test_a_stream_ends_with_a_sentence_when_the_replica_drains() -> None:
    world = LiveWorld(CONFIG, Clock())
    waiting = asyncio.create_task(world.wait_for_change(None))
    await asyncio.sleep(0)
    world.drain()
    with pytest.raises(DrainingError, match="call again"):
        await waiting
    with pytest.raises(DrainingError):
        await world.wait_for_change(None)


def test_help_shows_flags_and_settings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(SERVICE, ["--help"])
    assert ended.value.code == 0
    help_text = capsys.readouterr().out
    assert "--drain-seconds" in help_text
    assert "climate: What weather is likely in each season. Default: Temperate." in help_text


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"world.json: No such file"):
        read(tmp_path / "world.json")


async def test_a_new_content_is_taken_up_and_a_broken_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gameai.serving.live._POLL_SECONDS", 0.001)
    file = tmp_path / "world.json"
    world = LiveWorld(CONFIG, Clock())
    file.write_text("{")
    following = asyncio.create_task(follow(file, world))
    await asyncio.sleep(0.05)
    assert world.config is CONFIG
    file.write_text(configuration(seed=43))
    async with asyncio.timeout(5):
        while world.config.seed != 43:
            await asyncio.sleep(0.001)
    following.cancel()


def test_a_pods_grace_holds_the_drain_and_the_end_of_its_streams() -> None:
    longest = (
        serving._DRAIN_SECONDS
        + serving._GOAWAY_SECONDS
        + serving._STOP_SECONDS
        + serving._TASKS_SECONDS
        + serving._CLOSE_SECONDS
    )
    assert longest < template.GRACE_SECONDS


async def test_a_service_that_no_longer_reads_its_configuration_ends() -> None:
    async def broken() -> None:
        raise OSError("the volume is gone")

    background, waiting = Background(), Background()
    background.start("configuration", broken())
    with pytest.raises(OSError, match="the volume is gone"):
        await asyncio.wait_for(until(asyncio.Event(), background), 10)
    waiting.start("configuration", asyncio.sleep(60))
    stop = asyncio.Event()
    stop.set()
    await asyncio.wait_for(until(stop, waiting), 10)
    await waiting.stop(10)
