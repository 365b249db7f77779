"""What clients read about channels, in code and in words."""

import json
import re

import pytest
from gameai.client import channel, stream
from gameai.gateway import __main__ as gateway
from gameai.gateway.rpc import server
from gameai.inference.v1 import inference_pb2
from gameai.serving.main import _OPTIONS as SERVICE_OPTIONS
from gameai.time.v1 import time_pb2
from gameai.weather.v1 import weather_pb2
from gameai_contract.names import listening
from gameai_devcluster.install import ROOT
from google.protobuf import json_format

OPTIONS = channel.options(weather_pb2.DESCRIPTOR)
DOCUMENT = (ROOT / "docs" / "clients.md").read_text()


def test_the_published_service_config_is_the_one_in_code() -> None:
    block = re.search(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    assert block
    config = channel.service_config([weather_pb2.DESCRIPTOR])
    assert json.loads(block[1]) == config
    assert json.loads(str(dict(OPTIONS)["grpc.service_config"])) == config


def test_only_methods_without_side_effects_are_retried() -> None:
    files = (weather_pb2.DESCRIPTOR, time_pb2.DESCRIPTOR, inference_pb2.DESCRIPTOR)
    [retried] = channel.service_config(files)["methodConfig"]
    assert {f"{each['service']}/{each['method']}" for each in retried["name"]} == {
        "gameai.weather.v1.WeatherService/GetWeather",
        "gameai.weather.v1.WeatherService/ForecastWeather",
        "gameai.weather.v1.WeatherService/WatchWeather",
        "gameai.time.v1.TimeService/GetTime",
        "gameai.time.v1.TimeService/WatchTime",
    }


def test_the_published_interval_between_names_is_the_one_in_code() -> None:
    name = "grpc.dns_min_time_between_resolutions_ms"
    assert dict(OPTIONS)[name] == channel.NAMES_MS
    assert f"`{name}` = {channel.NAMES_MS}" in DOCUMENT


def test_a_proxy_of_the_environment_is_passed_by() -> None:
    for options in (OPTIONS, stream._OPTIONS):
        assert dict(options)["grpc.enable_http_proxy"] == 0


def test_servers_allow_the_pings_that_our_client_sends() -> None:
    sent = dict(stream._OPTIONS)["grpc.keepalive_time_ms"]
    for options in (SERVICE_OPTIONS, server.OPTIONS):
        assert dict(options)["grpc.http2.min_ping_interval_without_data_ms"] < sent


@pytest.mark.parametrize(
    ("flags", "address"),
    [
        (("--insecure-no-identity",), "127.0.0.1"),
        (("--insecure-no-identity", "--address", "0.0.0.0"), "0.0.0.0"),  # noqa: S104 - what is tested
        (("--keys", "k.json"), ""),
    ],
)
def test_a_gateway_without_identity_listens_on_this_machine_unless_configured(
    flags: tuple[str, ...], address: str
) -> None:
    given = gateway._parse(["--view", "v.yaml", *flags])
    assert gateway._listening(given).address == address


def vectors() -> list[tuple[str, str, str]]:
    rows = re.findall(r"^\| `(Stream\w+)` \| `(.*)` \| `(\w+)` \|$", DOCUMENT, re.MULTILINE)
    return [(name, text, held) for name, text, held in rows]


@pytest.mark.parametrize(("name", "text", "held"), vectors())
def test_the_published_vectors_are_what_the_wire_carries(name: str, text: str, held: str) -> None:
    message = json_format.Parse(text, getattr(inference_pb2, name)())
    assert message.SerializeToString(deterministic=True).hex() == held


def test_there_are_vectors_of_both_directions() -> None:
    assert {name for name, *_ in vectors()} == {"StreamAnswersRequest", "StreamAnswersResponse"}


@pytest.mark.parametrize(
    ("address", "expected"),
    [("", "[::]:50051"), ("127.0.0.1", "127.0.0.1:50051"), ("::1", "[::1]:50051")],
)
def test_a_server_listens_on_every_address_unless_one_is_given(address: str, expected: str) -> None:
    assert listening(address, 50051) == expected
