"""EDGE: the gateways as one: streams to two of them, the one with less to do is asked."""

import asyncio
import contextlib
import itertools
import logging
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

from gameai_contract.inference import MOST_PLAYERS
from gameai_contract.names import CONFIG_ENVIRONMENT, GATEWAY_CA_KEY, TOKEN_ENVIRONMENT
from gameai_contract.world_config import ConfigError, parse

from gameai.client.asked import MISTAKES, Asked, CacheUse, check, question_of
from gameai.client.jobs import Jobs
from gameai.client.reply import Reply
from gameai.client.stream import Access, Ended, Stream
from gameai.inference.v1 import inference_pb2 as pb

STREAMS = 2
_RESOLVE_SECONDS = 5.0
_FIRST_BACKOFF_SECONDS, _MOST_BACKOFF_SECONDS = 0.05, 2.0
_MOST_ATTEMPTS = 3
_MOST_OPEN = 20_000
_HOMELESS_SECONDS = 5.0
# Faults of connections that are logged, each once.
_MOST_LOGGED = 20
_LOG = logging.getLogger(__name__)
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s/:]+):[0-9]{1,5}")
# A gateway forgets a report after 60 s.
_REPORT_SECONDS = 20.0


class Gateway:
    """A client for all NPCs of a process; belongs to one event loop.

    `address` is `host:port`, or several with commas; a name with several addresses (a headless Service) counts as all of
    them. With `ca_file` connections are encrypted, and a gateway's certificate must be for the name in `address` or for
    `server_name`. `world` is `namespace/name`, needed unless it is the only one of the caller's own namespace. `token_file` is a projected
    ServiceAccount token of audience `gameai-gateway`; `insecure` sends it over connections that are not encrypted.

    Raises `ValueError` for a `token_file` with neither `ca_file` nor `insecure`, and for an address or a world of another form.
    """

    def __init__(
        self,
        address: str,
        *,
        world: str = "",
        token_file: str | Path | None = None,
        ca_file: str | Path | None = None,
        server_name: str = "",
        insecure: bool = False,
    ) -> None:
        if token_file and not (ca_file or insecure):
            raise ValueError(
                "token_file without ca_file would send the token in clear: give the ca_file that signs the gateways' "
                "certificate, or insecure=True where you trust the network between here and the gateways"
            )
        if world and world.count("/") != 1:
            raise ValueError(f"world {world!r}: write namespace/name")
        wrong = [
            each.strip() for each in address.split(",") if not _ADDRESS.fullmatch(each.strip())
        ]
        if wrong:
            raise ValueError(f"address {wrong[0]!r}: write host:port, without http://")
        self._targets = [each.strip() for each in address.split(",") if each.strip()]
        self._access = Access(
            world=world,
            token_file=Path(token_file) if token_file else None,
            ca_file=Path(ca_file) if ca_file else None,
            server_name=server_name,
        )
        # Questions that may take minutes or hours.
        self.jobs = Jobs(self._targets, self._access)
        self._addresses: list[str] = []
        self._seed = os.urandom(16)
        self._hosts: dict[str, str] = {}
        self._streams: list[Stream] = []
        self._closing: set[Stream] = set()
        self._homeless: dict[int, Asked] = {}
        self._numbers = itertools.count(1)
        self._backoff: dict[str, float] = {}
        self._not_before: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._why = "no gateway was reached yet"
        self._logged: set[str] = set()
        # The last report of players, the stream that has it, and when it was sent.
        self._players: tuple[int, int] | None = None
        self._instance = self._seed.hex()
        self._reports = itertools.count(1)
        self._reporter: Stream | None = None
        self._reported = 0.0

    @classmethod
    def of_world(cls, *, insecure: bool = False) -> Self:
        """The client for a service of a world, from what the operator gives its pod: address, world, token, authority.

        `insecure` is needed where the gateways are not encrypted. Raises `ConfigError` where the pod has none of it (a
        world without gateways, or a pod template older than revision 3), and `ValueError` as the class itself does.
        """
        file = Path(os.environ.get(CONFIG_ENVIRONMENT, ""))
        token = os.environ.get(TOKEN_ENVIRONMENT)
        if not file.is_file() or not token:
            raise ConfigError(
                f"{CONFIG_ENVIRONMENT} and {TOKEN_ENVIRONMENT} must be set, as the operator does for a "
                "world's services; elsewhere give Gateway an address, world, token_file and ca_file"
            )
        config = parse(file.read_text())
        if not config.gateway:
            raise ConfigError(
                f"{file} names no gateways: gateway.enabled is false in the operator's chart"
            )
        authority = file.with_name(GATEWAY_CA_KEY)
        return cls(
            config.gateway,
            world=f"{config.namespace}/{config.world}",
            token_file=token,
            ca_file=authority if authority.is_file() else None,
            insecure=insecure,
        )

    async def __aenter__(self) -> Self:
        """Start connecting; does not wait for it."""
        self._task = asyncio.get_running_loop().create_task(self._keep())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all streams; what is open is lost."""
        assert self._task is not None  # noqa: S101 - it was entered
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        for stream in [*self._streams, *self._closing]:
            await stream.close()
        for asked in self._homeless.values():
            asked.lost("the client was closed")
        self._homeless.clear()
        await self.jobs.close()

    async def ask(  # noqa: PLR0913 - fields of a question, each with a default
        self,
        *,
        role: str,
        npc: str = "",
        archetype: str = "",
        prompt: str | Sequence[str] = "",
        messages: Sequence[tuple[str, str]] = (),
        actions: Sequence[str] = (),
        fields: Mapping[str, object] | None = None,
        deadline_ms: int = 0,
        max_tokens: int = 0,
        default: str | None = None,
        cache: CacheUse = "declared",
    ) -> Reply:
        """Ask for an NPC. Raises `AskError` if there is neither an answer nor a default, and `QuestionError` for an invalid question.

        The deadline counts from here (0: the role's, and 5 s where no gateway is reached). `prompt` is one user message
        or its parts, stable ones first; `messages` are pairs of speaker and text instead. `default` answers when no
        gateway does, whatever the reason, but for a question that is wrong in itself (INVALID_ARGUMENT). `cache`: what the archetype has declared, `off` for neither reading nor keeping, `refresh` for a
        new answer that is kept.
        """
        if self._task is None or self._task.done():
            raise RuntimeError("the client is not open: use it in `async with Gateway(…) as ai`")
        question = question_of(
            next(self._numbers),
            texts=(role, archetype, npc),
            prompt=prompt,
            messages=messages,
            actions=actions,
            fields=fields or {},
            numbers=(deadline_ms, max_tokens),
            cache=cache,
        )
        asked = Asked(question, default, self._cause)
        self._send(asked)
        try:
            return await asked.answer
        finally:
            if not asked.answer.done() or asked.over:
                asked.timer.cancel()
            self._drop(asked)

    def report_players(self, online: int, lobby: int = 0) -> None:
        """Say how many play on this game server. It holds until the next report, or until the client is closed.

        Raises `QuestionError` for numbers that no game server has: below 0 or above 100,000.
        """
        check(online=(online, MOST_PLAYERS), lobby=(lobby, MOST_PLAYERS))
        self._players, self._reported = (online, lobby), 0.0
        self._report()

    def _next_report(self, online: int, lobby: int) -> pb.Players:
        """Greater than all sequences before. Gateways use the report with the highest sequence."""
        return pb.Players(
            online=online, lobby=lobby, instance=self._instance, sequence=next(self._reports)
        )

    def _cause(self) -> str:
        """Why no gateway can be asked; empty where one can."""
        return "" if self._usable() else self._why

    def _report(self) -> None:
        """One stream alone has the report: a new one when that leaves, and again now and then."""
        usable = self._usable()
        if self._players is None or not usable:
            return
        now = asyncio.get_running_loop().time()
        before = self._reporter
        if before in usable and now - self._reported < _REPORT_SECONDS and self._reported:
            return
        if before not in usable:
            if before is not None:
                # The gateway adds up its streams, and this one may stay for a while.
                before.report(self._next_report(0, 0))
            self._reporter = usable[0]
        assert self._reporter is not None  # noqa: S101 - it is usable
        self._reporter.report(self._next_report(*self._players))
        self._reported = now

    def _send(self, asked: Asked) -> None:
        """To the gateway with the least to do, of those that are connected; else it waits for one."""
        usable = self._usable() or [stream for stream in self._closing if not stream.retired]
        if usable:
            asked.attempts += 1
            min(usable, key=lambda stream: stream.outstanding).ask(asked)
        elif len(self._homeless) < _MOST_OPEN:
            self._homeless[asked.number] = asked
            if not asked.deadline_ms:
                loop = asyncio.get_running_loop()
                loop.call_later(_HOMELESS_SECONDS, self._give_up, asked, asked.attempts)
        else:
            asked.lost(f"{_MOST_OPEN} questions wait for a gateway: {self._why}")

    def _give_up(self, asked: Asked, attempts: int) -> None:
        """Without a deadline of its own a question does not wait for a gateway forever."""
        if asked.attempts == attempts and self._homeless.pop(asked.number, None) is not None:
            asked.lost(f"no gateway in {_HOMELESS_SECONDS:.0f} s: {self._why}")

    def _drop(self, asked: Asked) -> None:
        """What its caller no longer awaits is forgotten, unless a better answer was promised."""
        if asked.over:
            for stream in [*self._streams, *self._closing]:
                stream.forget(asked)
            self._homeless.pop(asked.number, None)

    def _ended(self, stream: Stream, ended: Ended) -> None:
        """A stream ended. Its questions are sent again while there is time, unless the error needs a change by the caller."""
        self._why = ended.message
        if (
            not stream.proven
            and ended.message not in self._logged
            and len(self._logged) < _MOST_LOGGED
        ):
            self._logged.add(ended.message)
            _LOG.warning("gateway %s cannot be asked: %s", stream.address, ended.message)
        if stream in self._streams:
            self._streams.remove(stream)
        self._closing.discard(stream)
        mistake = ended.code in MISTAKES
        if not stream.proven or mistake:
            waited = self._backoff.get(stream.address, 0.0)
            wait = min(_MOST_BACKOFF_SECONDS, max(_FIRST_BACKOFF_SECONDS, 2 * waited))
            self._backoff[stream.address] = wait
            self._not_before[stream.address] = asyncio.get_running_loop().time() + wait
        if mistake and not stream.proven:
            homeless, self._homeless = self._homeless, {}
            for asked in homeless.values():
                asked.lost(ended.message, ended.code, ended.reason)
        for asked in ended.left:
            again = asked.in_time() and asked.attempts < _MOST_ATTEMPTS and not mistake
            if again and not asked.answer.done():
                self._send(asked)
            else:
                asked.lost(ended.message, ended.code, ended.reason)
        self._changed.set()

    async def _keep(self) -> None:
        """Until cancelled: keep streams to the desired number of gateways."""
        while True:
            self._changed.clear()
            # To those that are known, before names are asked for again: that may take long.
            self._part()
            self._open_streams()
            await self._resolve()
            self._part()
            for stream in self._streams:
                # One that connected may be refused all the same.
                if stream.answered:
                    self._backoff.pop(stream.address, None)
            self._open_streams()
            self._house()
            self._report()
            # A pass at most every 50 ms, however much changes.
            await asyncio.sleep(_FIRST_BACKOFF_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._changed.wait()

    def _part(self) -> None:
        """Streams of leaving gateways get no new questions once another stream is connected."""
        for stream in [each for each in self._streams if each.leaving]:
            self._streams.remove(stream)
            self._closing.add(stream)
        if self._usable():
            for stream in self._closing:
                stream.retire()

    def _usable(self) -> list[Stream]:
        """Streams that are connected, and whose gateways stay."""
        return [stream for stream in self._streams if stream.proven and not stream.leaving]

    def _look(self) -> None:
        """A stream connected or leaves."""
        self._part()
        self._house()
        self._report()
        self._changed.set()

    def _house(self) -> None:
        """Questions that wait for a gateway go to one, if one is connected."""
        if self._usable():
            homeless, self._homeless = self._homeless, {}
            for asked in homeless.values():
                if not asked.over:
                    self._send(asked)

    def _pause(self) -> float:
        """Until the next look at names, or until an address may be tried again where one is wanting."""
        now = asyncio.get_running_loop().time()
        held = {stream.address for stream in self._streams}
        if len(held) >= min(STREAMS, len(self._addresses)):
            return _RESOLVE_SECONDS
        waits = (
            self._not_before.get(each, 0.0) - now for each in self._addresses if each not in held
        )
        return max(0.0, min(_RESOLVE_SECONDS, *waits))

    def _open_streams(self) -> None:
        """To addresses without a stream that may be tried. To a leaving gateway only if there is no other."""
        now = asyncio.get_running_loop().time()
        held = {stream.address for stream in self._streams}
        avoided = {stream.address for stream in self._closing}
        free = [
            each
            for each in self._addresses
            if each not in held and self._not_before.get(each, 0.0) <= now
        ]
        free.sort(key=lambda each: each in avoided)
        for address in free[: max(0, min(STREAMS, len(self._addresses)) - len(self._streams))]:
            name = self._access.server_name or self._hosts.get(address, "")
            access = replace(self._access, server_name=name)
            self._streams.append(Stream(address, access, self._ended, self._look))

    def _place(self, address: str) -> bytes:
        return blake2b(address.encode(), digest_size=8, key=self._seed).digest()

    async def _resolve(self) -> None:
        loop = asyncio.get_running_loop()
        found: list[str] = []
        for target in self._targets:
            host, _, port = target.rpartition(":")
            try:
                infos = await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
            except (OSError, ValueError) as error:
                self._why = f"{target}: {error}"
                continue
            for family, *_, pair in infos:
                name = str(pair[0])
                address = f"[{name}]:{port}" if family is socket.AF_INET6 else f"{name}:{port}"
                found.append(address)
                if name != host.strip("[]"):
                    # A certificate is for the name, and what is dialled is an address.
                    self._hosts[address] = host
        if found:
            # Each client has its own stable order, because DNS often returns the same order to all clients.
            self._addresses = sorted(set(found), key=self._place)
            for kept in (self._backoff, self._not_before, self._hosts):
                for gone in set(kept) - set(found):
                    del kept[gone]
