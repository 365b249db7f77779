"""Connections to the bus are encrypted, and servers take up a renewed certificate."""

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from gameai.bus.log import BusError
from gameai.bus.login import Password, TokenFile
from gameai.bus.nats import NatsLog
from gameai.bus.streams import LOG
from gameai.bus_controller import reloading
from gameai_devcluster import certificates as pki
from gameai_devcluster import install
from gameai_devcluster.api import Api
from support.managed_bus import SECRET, Bus, clustered, managed, variables

pytestmark = pytest.mark.usefixtures("operator")


@pytest.fixture
async def bus(api: Api, namespace: str, tmp_path: Path) -> AsyncIterator[Bus]:
    async with managed(api, namespace, tmp_path) as found:
        yield found


async def test_a_client_without_the_authority_or_with_another_one_gets_no_connection(
    bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gameai.bus.nats._CONNECT_SECONDS", 2.0)
    other = tmp_path / "other"
    pki.write(other)
    good = bus.login("moor-world")
    async with NatsLog(bus.url, login=good):
        pass
    for login in (
        TokenFile(file=good.file),
        TokenFile(file=good.file, ca_file=other / "ca.crt"),
    ):
        with pytest.raises(BusError, match="no connection to the bus"):
            async with NatsLog(bus.url, login=login):
                pass


async def test_a_server_that_says_that_it_does_not_encrypt_gets_no_token(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands between a client and the bus, and could say anything before the connection is encrypted."""
    monkeypatch.setattr("gameai.bus.nats._CONNECT_SECONDS", 2.0)
    heard = b""

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        writer.write(b'INFO {"server_id":"X","version":"2.15.0","max_payload":1048576}\r\n')
        heard += await reader.read(4096)
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(BusError, match="no connection to the bus"):
        async with NatsLog(url, login=bus.login("moor-world")):
            pass
    server.close()
    assert heard
    assert b"CONNECT" not in heard
    assert b"auth_token" not in heard


def shown(port: int, authority: Path) -> int:
    """The serial number of the certificate that a server shows."""
    context = ssl.create_default_context(cafile=authority)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    text = ssl.get_server_certificate(("127.0.0.1", port))
    return x509.load_pem_x509_certificate(text.encode()).serial_number


def renewed(folder: Path) -> int:
    """Another certificate in the place of the first; its serial number."""
    tls, made = folder / "tls", folder / "pki"
    pki.renew(made)
    for name, file in (("tls.key", "server.key"), ("tls.crt", "server.crt")):
        shutil.copy(made / file, tls / name)
    return x509.load_pem_x509_certificate((tls / "tls.crt").read_bytes()).serial_number


async def test_servers_take_up_a_renewed_certificate_and_connections_stay(
    api: Api, namespace: str, tmp_path: Path
) -> None:
    async with clustered(api, namespace, tmp_path) as bus, bus.streams() as streams:
        tls = bus.folder / "tls"
        before = [await asyncio.to_thread(shown, each.port, tls / "ca.crt") for each in bus.servers]
        serial = renewed(bus.folder)
        assert serial not in before
        held = variables(api.get("Secret", install.NAMESPACE, SECRET))
        login = Password(user="system", password=held["SYSTEM_PASSWORD"], ca_file=bus.ca_file)
        assert await reloading.reload(bus.url, login) == 3
        after = [await asyncio.to_thread(shown, each.port, tls / "ca.crt") for each in bus.servers]
        assert after == [serial] * 3
        assert streams._client.is_connected
        async with bus.streams() as again:
            assert await again.counts(LOG) == {}


async def test_the_controller_asks_the_servers_when_the_certificate_changes(bus: Bus) -> None:
    held = variables(bus.api.get("Secret", install.NAMESPACE, SECRET))
    tls = bus.folder / "tls"
    login = Password(user="system", password=held["SYSTEM_PASSWORD"], ca_file=bus.ca_file)
    running = asyncio.create_task(reloading.run(bus.url, login, tls / "tls.crt", (0.5,)))
    # That after its start.
    await asyncio.sleep(2.0)
    serial = renewed(bus.folder)
    async with asyncio.timeout(20):
        while await asyncio.to_thread(shown, bus.server.port, bus.ca_file) != serial:
            await asyncio.sleep(0.2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
