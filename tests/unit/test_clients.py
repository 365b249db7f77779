"""What clients are told about channels, in code and in words."""

import json
import re

import pytest
from gameai import channel, contract
from gameai.client import stream
from gameai.gateway import __main__ as gateway
from gameai.gateway import process
from gameai.serving.main import _OPTIONS as SERVICE_OPTIONS
from gameai.v1 import inference_pb2
from gameai_devcluster.install import ROOT
from google.protobuf import json_format

DOCUMENT = (ROOT / "docs" / "clients.md").read_text()


def test_the_published_service_config_is_the_one_in_code() -> None:
    block = re.search(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    assert block
    assert json.loads(block[1]) == channel.SERVICE_CONFIG
    assert json.loads(str(dict(channel.OPTIONS)["grpc.service_config"])) == channel.SERVICE_CONFIG


def test_the_published_interval_between_names_is_the_one_in_code() -> None:
    name = "grpc.dns_min_time_between_resolutions_ms"
    assert dict(channel.OPTIONS)[name] == channel.NAMES_MS
    assert f"`{name}` = {channel.NAMES_MS}" in DOCUMENT


def test_a_proxy_of_the_environment_is_passed_by() -> None:
    for options in (channel.OPTIONS, stream._OPTIONS):
        assert dict(options)["grpc.enable_http_proxy"] == 0


def test_servers_allow_the_pings_that_our_client_sends() -> None:
    sent = dict(stream._OPTIONS)["grpc.keepalive_time_ms"]
    for options in (SERVICE_OPTIONS, process._OPTIONS):
        assert dict(options)["grpc.http2.min_ping_interval_without_data_ms"] < sent


@pytest.mark.parametrize(
    ("flags", "address"),
    [
        (("--insecure-no-identity",), "127.0.0.1"),
        (("--insecure-no-identity", "--address", "0.0.0.0"), "0.0.0.0"),  # noqa: S104 - what is tested
        (("--keys", "k.json"), ""),
    ],
)
def test_a_gateway_without_identity_listens_on_this_machine_unless_told(
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
    assert {name for name, *_ in vectors()} == {"StreamRequest", "StreamResponse"}


@pytest.mark.parametrize(
    ("address", "expected"),
    [("", "[::]:50051"), ("127.0.0.1", "127.0.0.1:50051"), ("::1", "[::1]:50051")],
)
def test_a_server_listens_on_every_address_unless_one_is_given(address: str, expected: str) -> None:
    assert contract.listening(address, 50051) == expected
