"""EDGE: has the servers of the bus read their certificate again after it was renewed: they do so only when they are asked."""

import asyncio
import logging
import time
from pathlib import Path

import orjson
from nats.aio.client import Client
from nats.errors import Error as NatsError

from gameai.bus.login import Password
from gameai.bus.nats import close

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 10.0
# A renewed Secret is in the pods of all servers after about a minute. They are asked again later, in case it was not.
AFTER_SECONDS = (120.0, 600.0)
_CONNECT_SECONDS, _ANSWER_SECONDS = 5, 2.0
_BROKEN = (NatsError, OSError, TimeoutError, ValueError, LookupError, TypeError)


async def run(
    url: str, login: Password, certificate: Path, after_seconds: tuple[float, ...] = AFTER_SECONDS
) -> None:
    """Until cancelled. Servers are asked after the start too: the controller may have been away when it was renewed."""
    seen, due = _read(certificate), [time.monotonic() + each for each in after_seconds]
    while True:
        await asyncio.sleep(min(_LOOK_SECONDS, *after_seconds))
        found = _read(certificate)
        if found and found != seen:
            seen, due = found, [time.monotonic() + each for each in after_seconds]
            _LOG.info("the certificate of the bus was renewed")
        if due and time.monotonic() >= due[0]:
            del due[0]
            await _try_reload(url, login)


async def _try_reload(url: str, login: Password) -> None:
    try:
        await reload(url, login)
    except _BROKEN as error:
        _LOG.warning("servers of the bus do not read their certificate: %s", error or type(error))


async def reload(url: str, login: Password) -> int:
    """Ask every server to read its files again; how many did. Raises what the client raises, and ValueError."""
    client = Client()
    await client.connect(
        url, connect_timeout=_CONNECT_SECONDS, allow_reconnect=False, **login.options()
    )
    try:
        servers = await _servers(client)
        for each in servers:
            answer = await client.request(
                f"$SYS.REQ.SERVER.{each}.RELOAD", b"", timeout=_CONNECT_SECONDS
            )
            if error := orjson.loads(answer.data).get("error"):
                raise ValueError(f"server {each}: {error}")
        return len(servers)
    finally:
        await close(client)


async def _servers(client: Client) -> list[str]:
    """The ids of all servers that answer in time."""
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    await client.publish("$SYS.REQ.SERVER.PING", b"", inbox)
    found: set[str] = set()
    end = time.monotonic() + _ANSWER_SECONDS
    while (left := end - time.monotonic()) > 0:
        try:
            message = await answers.next_msg(left)
        except (NatsError, TimeoutError):
            break
        found.add(str(orjson.loads(message.data)["server"]["id"]))
    return sorted(found)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
