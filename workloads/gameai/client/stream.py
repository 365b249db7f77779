"""EDGE: one stream to one gateway: frames go out as questions come, answers find their questions."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from gameai.client.asked import Asked
from gameai.client.reply import given_reason
from gameai.inference.v1 import inference_pb2 as pb
from gameai.inference.v1 import inference_pb2_grpc

MOST_FRAME = 32
MOST_CANCELLED = 256
# Half of what a gateway takes in one frame.
_MOST_FRAME_BYTES = 512 << 10
_OPTIONS = (
    ("grpc.max_receive_message_length", 4 << 20),
    # A gateway that vanished without a word is noticed.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.use_local_subchannel_pool", 1),
    # Gateways are called by address, inside the cluster or on this machine; a proxy of the environment is for elsewhere.
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """How gateways are reached: the world to speak for, where the token is, and the certificate to trust."""

    world: str = ""
    token_file: Path | None = None
    ca_file: Path | None = None
    server_name: str = ""

    def channel(self, address: str, more: Sequence[tuple[str, str]] = ()) -> aio.Channel:
        """A channel to an address, with these options too."""
        options: list[tuple[str, Any]] = [*_OPTIONS, *more]
        if self.ca_file is None:
            return aio.insecure_channel(address, options=options)
        if self.server_name:
            options.append(("grpc.ssl_target_name_override", self.server_name))
        credentials = grpc.ssl_channel_credentials(self.ca_file.read_bytes())
        return aio.secure_channel(address, credentials, options=options)

    def metadata(self) -> list[tuple[str, str]]:
        """The caller's token, read again each time, because the kubelet replaces it before it expires."""
        if self.token_file is None:
            return []
        return [("authorization", f"Bearer {self.token_file.read_text().strip()}")]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a stream ended: what was not answered, and why."""

    left: list[Asked]
    message: str
    code: grpc.StatusCode
    reason: str = ""


class Stream:
    """An open stream. `changed` is called when it connects and when its gateway goes away, `ended` once in the end."""

    def __init__(
        self,
        address: str,
        access: Access,
        ended: Callable[["Stream", Ended], None],
        changed: Callable[[], None],
    ) -> None:
        self.address = address
        self.leaving = False
        # Whether the gateway has taken it: its headers came.
        self.proven = False
        self.answered = False
        self._ended = ended
        self._changed = changed
        self._access = access
        self._open: dict[int, Asked] = {}
        self._ready: list[Asked] = []
        self._players: pb.Players | None = None
        self._cancelled: list[int] = []
        self.retired = self._closing = False
        self._wake = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def outstanding(self) -> int:
        """Questions that wait for an answer."""
        return len(self._open)

    def ask(self, asked: Asked) -> None:
        """Send a question with the others of this pass of the loop."""
        self._open[asked.number] = asked
        self._ready.append(asked)
        self._wake.set()

    def report(self, players: pb.Players) -> None:
        """Say who plays, with the next frame; an older report that did not leave yet is replaced."""
        self._players = players
        self._wake.set()

    def forget(self, asked: Asked) -> None:
        """Its caller waits no longer: the gateway need not answer."""
        if self._open.pop(asked.number, None) is not None and asked not in self._ready:
            self._cancelled.append(asked.number)
            self._wake.set()
        self._close_when_done()

    def retire(self) -> None:
        """Another stream takes its place: it closes once its questions are answered."""
        self.retired = True
        self._close_when_done()

    async def close(self) -> None:
        """End it at once."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        message, code, reason = "the stream ended", grpc.StatusCode.UNAVAILABLE, ""
        try:
            async with self._access.channel(self.address) as channel:
                stub = inference_pb2_grpc.InferenceServiceStub(channel)
                await self._serve(stub.StreamAnswers(metadata=self._access.metadata()))
        except aio.AioRpcError as error:
            code, message = error.code(), str(error.details())
            reason = given_reason(error)
        except OSError as error:
            message = str(error)
        finally:
            left, self._open = list(self._open.values()), {}
            self.leaving = True
            self._ended(self, Ended(left, message, code, reason))

    async def _serve(self, call: Any) -> None:
        writing = asyncio.create_task(self._write(call))
        try:
            await self._read(call)
        finally:
            writing.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await writing

    async def _write(self, call: Any) -> None:
        """Frames of what is ready, stamped as they leave: what waited for the connection has waited."""
        await call.initial_metadata()
        # It comes, empty, of a call that failed too.
        if call.done():
            return
        self.proven = True
        self._changed()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._ready or self._cancelled or self._players is not None:
                many = _fitting(self._ready)
                ready, self._ready = self._ready[:many], self._ready[many:]
                frame = pb.StreamAnswersRequest(
                    world=self._access.world,
                    questions=[asked.stamp() for asked in ready if not asked.over],
                    cancelled_ids=self._cancelled[:MOST_CANCELLED],
                )
                self._cancelled = self._cancelled[MOST_CANCELLED:]
                if self._players is not None:
                    frame.players.CopyFrom(self._players)
                    self._players = None
                await call.write(frame)
            if self._closing and not self._ready:
                await call.done_writing()
                return

    async def _read(self, call: Any) -> None:
        while (response := await call.read()) is not aio.EOF:
            self.answered = True
            for answer in response.answers:
                self._take(answer)
            if response.going_away and not self.leaving:
                self.leaving = True
                self._changed()

    def _take(self, answer: pb.Answer) -> None:
        asked = self._open.get(answer.id)
        if asked is None:
            return
        asked.take(answer)
        if not answer.provisional:
            del self._open[answer.id]
            self._close_when_done()

    def _close_when_done(self) -> None:
        if self.retired and not self._open:
            self._closing = True
            self._wake.set()


def _fitting(ready: Sequence[Asked]) -> int:
    """How many of these questions are one frame."""
    size = 0
    for many, asked in enumerate(ready[:MOST_FRAME]):
        size += asked.size
        if many and size > _MOST_FRAME_BYTES:
            return many
    return min(len(ready), MOST_FRAME)
