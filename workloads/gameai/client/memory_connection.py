"""EDGE: the connection to one memory: its present address, the token of the caller, and errors of calls."""

import asyncio
import re
from pathlib import Path
from typing import Any

import grpc
from gameai_contract.world_config import ConfigError, parse
from grpc import aio

from gameai.client import channel
from gameai.client.reply import NoAnswerError, call_error
from gameai.knowledge.v1 import (
    concepts_pb2,
    concepts_pb2_grpc,
    history_pb2,
    history_pb2_grpc,
    knowledge_pb2,
    knowledge_pb2_grpc,
    relations_pb2,
    relations_pb2_grpc,
)

# A call that is open when the address changes ends in this time.
GRACE_SECONDS = 10.0
# A hundred concepts of 2,000 characters with 32 attributes of 500, of up to 4 bytes each.
_MOST_RESPONSE_BYTES = 8 << 20
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s/:]+):[0-9]{1,5}")


class MemoryConnection:
    """Belongs to one event loop. `address` is host:port, or the Path of a world's configuration. Raises ValueError for another form."""

    def __init__(self, address: str | Path, token_file: Path | None) -> None:
        if isinstance(address, str) and not _ADDRESS.fullmatch(address):
            raise ValueError(f"address {address!r}: write host:port, without http://")
        self._given = address
        self._address = ""
        self._token_file = token_file
        self._channel: aio.Channel | None = None
        self._closing: set[asyncio.Task[None]] = set()
        # Asynchronous stubs have no types of their own at run time.
        self._stubs: dict[str, Any] = {}
        self._open = False

    def open(self) -> None:
        """Calls may be made. The first one connects."""
        self._open = True

    async def close(self) -> None:
        """Calls that are open end."""
        self._open = False
        if self._channel is not None:
            await self._channel.close()
        await asyncio.gather(*self._closing)

    async def call(self, service: str, name: str, request: Any, timeout_seconds: float) -> Any:
        """The response of a method of one of the services. Raises `NoAnswerError`, `AccessError`, `QuestionError`, `ConflictError`."""
        if not self._open:
            raise RuntimeError("the client is not open: use it in `async with Memory(…) as memory`")
        try:
            self._follow()
            token = self._token_file.read_text().strip() if self._token_file else ""
        except (OSError, ConfigError) as error:
            raise NoAnswerError(grpc.StatusCode.UNAVAILABLE, str(error)) from error
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        try:
            return await getattr(self._stubs[service], name)(
                request, timeout=timeout_seconds, metadata=metadata, wait_for_ready=True
            )
        except aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                message = f"no answer from {self._address} within {timeout_seconds:g} s: does the memory run there?"
                raise NoAnswerError(error.code(), message) from error
            raise call_error(error) from error

    def _follow(self) -> None:
        """A channel to the present address; calls to a former one end in their own time."""
        address = self._given
        if isinstance(address, Path):
            address = parse(address.read_text()).memory
            if not address:
                raise ConfigError(
                    f"{self._given} names no memory: set spec.knowledgeBaseRef of the GameWorld, and see its condition KnowledgeReady"
                )
        if self._channel is not None and address == self._address:
            return
        if self._channel is not None:
            closing = asyncio.create_task(self._channel.close(grace=GRACE_SECONDS))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        self._address = address
        self._channel = aio.insecure_channel(
            f"dns:///{address}",
            options=(
                ("grpc.max_receive_message_length", _MOST_RESPONSE_BYTES),
                *channel.options(
                    knowledge_pb2.DESCRIPTOR,
                    history_pb2.DESCRIPTOR,
                    concepts_pb2.DESCRIPTOR,
                    relations_pb2.DESCRIPTOR,
                ),
            ),
        )
        self._stubs = {
            "knowledge": knowledge_pb2_grpc.KnowledgeServiceStub(self._channel),
            "history": history_pb2_grpc.HistoryServiceStub(self._channel),
            "concepts": concepts_pb2_grpc.ConceptServiceStub(self._channel),
            "relations": relations_pb2_grpc.RelationServiceStub(self._channel),
        }
