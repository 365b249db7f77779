"""Game services as processes, over real gRPC: no cluster is needed for them."""

import itertools
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import pytest
from gameai.time.v1 import time_pb2, time_pb2_grpc
from gameai.weather.v1 import weather_pb2, weather_pb2_grpc
from gameai_contract.catalogue import CATALOGUE
from gameai_contract.names import DATABASE_ENVIRONMENT, SETTINGS_HASH_ENVIRONMENT
from gameai_contract.settings import settings_hash
from gameai_contract.world_time import format_time
from gameai_devcluster.services import Service, ServiceLaunch
from gameai_devcluster.testing.waiting import until
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support.worlds import configuration, needs

Start = Callable[..., Service]
SERVICES = [
    {"name": "time-manager"},
    {"name": "weather-manager", "settings": {"regions": "coast, moor", "climate": "Maritime"}},
]
# So fast that a quarter of a minute is a day, and an hour more than half a second.
FAST = {"dayLengthMinutes": 1, "speed": "4", "paused": False}


def write(file: Path, **spec: Any) -> Path:
    """The configuration that the operator would mount, of a world made just now."""
    text = configuration(**{"seed": 42, "services": SERVICES, **spec})
    now = format_time(time.time_ns() // 1000)
    file.write_text(text.replace("2026-11-22T09:00:00Z", now))
    return file


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[Service] = []

    def begin(name: str, config: Path, drain_seconds: float = 0.2, **environment: str) -> Service:
        log = tmp_path / f"{name}-{len(running)}.log"
        launch = ServiceLaunch(
            name=name, config=config, log=log, drain_seconds=drain_seconds, environment=environment
        )
        running.append(Service(launch))
        return running[-1]

    yield begin
    for each in running:
        each.close()
        assert "this is a bug" not in each.output()


def stream_until(stream: Any, wanted: Callable[[weather_pb2.Weather], bool]) -> weather_pb2.Weather:
    """The first message that is wanted: earlier ones may have been on their way."""
    for _ in range(100):
        found: weather_pb2.Weather = next(stream).weather
        if wanted(found):
            return found
    raise AssertionError("no such weather in 100 messages")


def weather(service: Service) -> weather_pb2_grpc.WeatherServiceStub:
    return weather_pb2_grpc.WeatherServiceStub(service.channel())


def test_weather_is_reported_forecast_and_refused_by_name(tmp_path: Path, start: Start) -> None:
    service = start("weather-manager", write(tmp_path / "world.json")).wait_serving()
    stub = weather(service)
    now = stub.GetWeather(weather_pb2.GetWeatherRequest(region="coast")).weather
    ahead = stub.ForecastWeather(
        weather_pb2.ForecastWeatherRequest(region="coast", steps=5)
    ).weather
    assert ahead[0] == now
    assert len(ahead) == 5
    assert len({each.begins_world_microseconds for each in ahead}) == 5
    with pytest.raises(grpc.RpcError) as raised:
        stub.GetWeather(weather_pb2.GetWeatherRequest(region="cost"))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert raised.value.details() == "no region 'cost': this world has coast, moor"
    with pytest.raises(grpc.RpcError) as raised:
        stub.ForecastWeather(weather_pb2.ForecastWeatherRequest(region="coast", steps=241))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_any_replica_gives_the_same_answer_and_a_killed_one_comes_back_with_it(
    tmp_path: Path, start: Start
) -> None:
    config = write(tmp_path / "world.json", clock={"dayLengthMinutes": 48, "paused": True})
    replicas = [start("weather-manager", config).wait_serving() for _ in range(2)]
    request = weather_pb2.ForecastWeatherRequest(region="moor", steps=48)
    answers = [weather(each).ForecastWeather(request) for each in replicas]
    assert answers[0] == answers[1]
    replicas[0].process.kill()
    again = start("weather-manager", config).wait_serving()
    assert weather(again).ForecastWeather(request) == answers[0]


def test_a_killed_time_manager_moves_world_time_by_nothing(tmp_path: Path, start: Start) -> None:
    config = write(tmp_path / "world.json")
    first = start("time-manager", config).wait_serving()
    second = start("time-manager", config).wait_serving()

    def drift(service: Service) -> float:
        """World time less what the wall clock says it should be, in wall seconds."""
        stub = time_pb2_grpc.TimeServiceStub(service.channel())
        end = time.monotonic() + 60
        while time.monotonic() < end:
            before = time.time()
            reading = stub.GetTime(time_pb2.GetTimeRequest()).time
            after = time.time()
            # One that took longer, as a channel's first does, tells too little.
            if after - before < 0.5:
                return reading.world_microseconds / reading.rate_millionths - (before + after) / 2
        raise AssertionError("no call took less than half a second")

    expected = drift(second)
    first.process.kill()
    again = start("time-manager", config).wait_serving()
    assert drift(again) == pytest.approx(expected, abs=1.0)


def test_a_watch_of_time_shows_each_hour(tmp_path: Path, start: Start) -> None:
    service = start("time-manager", write(tmp_path / "world.json", clock=FAST)).wait_serving()
    stub = time_pb2_grpc.TimeServiceStub(service.channel())
    request = time_pb2.WatchTimeRequest(granularity=time_pb2.GRANULARITY_HOUR)
    stream = stub.WatchTime(request, timeout=30)
    microseconds = [next(stream).time.world_microseconds for _ in range(6)]
    hours = [each // (3600 * 1_000_000) for each in microseconds]
    # An hour lasts 0.6 s: a service that was late by one says the next, and never one twice.
    assert all(before < after for before, after in itertools.pairwise(hours))


def test_a_watch_of_weather_goes_on_through_a_change_of_the_clock(
    tmp_path: Path, start: Start
) -> None:
    config = write(tmp_path / "world.json", clock=FAST)
    service = start("weather-manager", config).wait_serving()
    stream = weather(service).WatchWeather(
        weather_pb2.WatchWeatherRequest(regions=["coast"]), timeout=60
    )
    first, second = next(stream).weather, next(stream).weather
    assert second.begins_world_microseconds >= first.ends_world_microseconds
    write(config, clock=FAST | {"speed": "1"})
    until(
        "it is taken up",
        lambda: 'reloads_total{result="taken"} 1.0' in service.get("/metrics")[1],
        seconds=30,
    )
    # At the old speed a step lasts 0.6 s, at the new one 2.5 s.
    slow = stream_until(stream, lambda found: found.ends_at.ToSeconds() > time.time() + 1)
    assert slow.region == "coast"


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_service_has_health_and_reflection(
    name: str, tmp_path: Path, start: Start, request: pytest.FixtureRequest
) -> None:
    wire_name = import_module(f"{CATALOGUE[name].module}.__main__").SERVICE.wire_name
    config = write(tmp_path / "world.json", services=[{"name": name}], **needs(name))
    environment = {}
    if CATALOGUE[name].needs_database:
        server = request.getfixturevalue("database_server")
        environment[DATABASE_ENVIRONMENT] = server.database(name)
    service = start(name, config, **environment).wait_serving()
    channel = service.channel()
    health: Any = health_pb2_grpc.HealthStub(channel)
    for asked in ("", wire_name):
        answer = health.Check(health_pb2.HealthCheckRequest(service=asked))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    listing = reflection_pb2.ServerReflectionRequest(list_services="")
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    found = next(iter(stub.ServerReflectionInfo(iter([listing]))))
    names = {each.name for each in found.list_services_response.service}
    assert {wire_name, "grpc.health.v1.Health"} <= names
    assert service.get("/livez") == (200, "ok\n")
    assert service.get("/readyz") == (200, "ok\n")


def test_calls_are_counted_by_method_and_code(tmp_path: Path, start: Start) -> None:
    service = start("weather-manager", write(tmp_path / "world.json")).wait_serving()
    weather(service).GetWeather(weather_pb2.GetWeatherRequest(region="moor"))
    counted = 'code="OK",method="/gameai.weather.v1.WeatherService/GetWeather"} 1.0'
    assert counted in service.get("/metrics")[1]


def test_a_service_that_is_asked_to_stop_says_so_first_and_ends_its_streams(
    tmp_path: Path, start: Start
) -> None:
    config = write(tmp_path / "world.json")
    service = start("weather-manager", config, drain_seconds=6).wait_serving()
    channel = service.channel()
    stream = weather(service).WatchWeather(weather_pb2.WatchWeatherRequest())
    next(stream)
    next(stream)
    service.terminate()
    until("it is not ready", lambda: service.get("/readyz") == (503, "draining\n"), seconds=5.5)
    health: Any = health_pb2_grpc.HealthStub(channel)
    answer = health.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
    with pytest.raises(grpc.RpcError) as raised:
        next(stream)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "call again" in (raised.value.details() or "")
    assert service.process.wait(30) == 0


def test_a_service_waits_for_the_settings_it_was_started_for(tmp_path: Path, start: Start) -> None:
    config = write(tmp_path / "world.json")
    wanted = settings_hash(42, {"climate": "Polar", "regions": "coast, moor"})
    service = start("weather-manager", config, **{SETTINGS_HASH_ENVIRONMENT: wanted})
    with pytest.raises(TimeoutError):
        service.wait_serving(3)
    text = config.read_text().replace("Maritime", "Polar")
    mine = settings_hash(42, {"climate": "Maritime", "regions": "coast, moor"})
    config.write_text(text.replace(mine, wanted))
    service.wait_serving()


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "No such file or directory"), ("{}", "no configuration of a world")],
)
def test_a_service_without_a_configuration_ends_with_a_sentence(
    text: str | None, words: str, tmp_path: Path, start: Start
) -> None:
    config = tmp_path / "world.json"
    if text is not None:
        config.write_text(text)
    service = start("time-manager", config)
    assert service.process.wait(30) == 1
    assert "error: " in service.output()
    assert words in service.output()
    assert "Traceback" not in service.output()
