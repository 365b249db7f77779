"""The certificate authority of the gateways, from the operator's file to a world's service."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from gameai.client import Gateway
from gameai_contract.names import (
    BUS_CA_KEY,
    CONFIG_ENVIRONMENT,
    CONFIG_KEY,
    GATEWAY_CA_KEY,
    TOKEN_ENVIRONMENT,
)
from gameai_contract.world_config import ConfigError
from gameai_devcluster.testing.rendering import NOW
from gameai_operator.authority import Authority
from gameai_operator.controller.kind import Observed
from gameai_operator.kinds import kinds
from gameai_operator.settings import GatewaySettings, Settings
from gameai_operator.world.objects import Authorities
from support import worlds

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
ENDPOINT = "gameai-operator-gateway.gameai-system.svc:50051"


def data_of_world(gateway: str, bus: str = "") -> dict[str, str]:
    settings = Settings(gateway=GatewaySettings(endpoint=ENDPOINT))
    authorities = Authorities(gateway=gateway, bus=bus)
    decide = kinds(settings, lambda: authorities)["GameWorld"].decide
    references = worlds.READY_TIERS
    observed = Observed(
        root=worlds.resource(), children={}, pods=(), now=NOW, references=references
    )
    [config] = [
        each
        for each in decide(observed).wanted or ()
        if each["kind"] == "ConfigMap" and CONFIG_KEY in each["data"]
    ]
    data: dict[str, str] = config["data"]
    return data


def test_a_world_gets_the_authority_beside_its_configuration() -> None:
    data = data_of_world(PEM)
    assert data[GATEWAY_CA_KEY] == PEM
    assert json.loads(data[CONFIG_KEY])["gateway"] == {"endpoint": ENDPOINT}
    assert set(data) == {CONFIG_KEY, GATEWAY_CA_KEY}
    assert set(data_of_world("")) == {CONFIG_KEY}


def test_a_world_gets_the_authority_of_the_bus_too() -> None:
    assert data_of_world("", PEM)[BUS_CA_KEY] == PEM


@pytest.mark.parametrize(
    "content", [b"", b"no certificate", b"\xff\xfe", PEM.encode() + b"x" * (64 << 10)]
)
def test_what_holds_no_certificates_is_handed_on_to_no_gateway(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "ca.crt"
    file.write_bytes(content)
    assert Authority(str(file)).text == ""
    assert Authority("").text == Authority(str(tmp_path / "none")).text == ""


async def test_another_authority_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    authority, changed = Authority(str(file), seconds=0.01), asyncio.Event()
    following = asyncio.create_task(authority.follow(changed.set))
    file.write_text(PEM)
    await asyncio.wait_for(changed.wait(), 10)
    assert authority.text == PEM
    file.unlink()
    await asyncio.sleep(0.1)
    assert authority.text == PEM, "a Secret that is gone takes nothing from those who trust it"
    following.cancel()


def pod(folder: Path, monkeypatch: pytest.MonkeyPatch, data: dict[str, str]) -> None:
    for name, text in data.items():
        (folder / name).write_text(text)
    (folder / "token").write_text("t")
    monkeypatch.setenv(CONFIG_ENVIRONMENT, str(folder / CONFIG_KEY))
    monkeypatch.setenv(TOKEN_ENVIRONMENT, str(folder / "token"))


async def test_a_service_finds_the_gateways_by_what_its_pod_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="GAMEAI_CONFIG and GAMEAI_GATEWAY_TOKEN must be set"):
        Gateway.of_world()
    pod(tmp_path, monkeypatch, data_of_world(PEM))
    made: Any = Gateway.of_world()
    assert made._targets == [ENDPOINT]
    assert made._access.world == "eldermoor/moor"
    assert made._access.ca_file == tmp_path / GATEWAY_CA_KEY
    (tmp_path / GATEWAY_CA_KEY).unlink()
    with pytest.raises(ValueError, match="in clear"):
        Gateway.of_world()
    assert Gateway.of_world(insecure=True)
    document = json.loads((tmp_path / CONFIG_KEY).read_text())
    (tmp_path / CONFIG_KEY).write_text(json.dumps(document | {"gateway": {}}))
    with pytest.raises(ConfigError, match="names no gateways"):
        Gateway.of_world()
