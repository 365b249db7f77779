"""EDGE: the memory of a world's knowledge base: searches, with the token of the caller."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gameai_contract.names import CONFIG_ENVIRONMENT, MEMORY_TOKEN_ENVIRONMENT
from gameai_contract.world_config import ConfigError, parse
from grpc import aio

from gameai.client import channel
from gameai.client.reply import call_error
from gameai.knowledge.v1 import knowledge_pb2 as pb
from gameai.knowledge.v1 import knowledge_pb2_grpc

DEADLINE_SECONDS = 2.0
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s/:]+):[0-9]{1,5}")


class Memory:
    """A client of one memory; belongs to one event loop.

    `address` is `host:port`; of a headless Service all pods are called in turn. `world` is `namespace/name`; empty: only
    the lore of all worlds. `token_file` is a projected ServiceAccount token of audience `gameai-memory`, read again for
    each call; None for a memory on a laptop. Connections are not encrypted. Raises ValueError for an address of another form.
    """

    def __init__(
        self, address: str, *, world: str = "", token_file: str | Path | None = None
    ) -> None:
        if not _ADDRESS.fullmatch(address):
            raise ValueError(f"address {address!r}: write host:port, without http://")
        self._address = address
        self._world = world
        self._token_file = Path(token_file) if token_file else None
        self._channel: aio.Channel | None = None
        # The asynchronous stub has no type of its own at run time.
        self._stub: Any = None

    @classmethod
    def of_world(cls) -> Self:
        """The client for a service of a world, from what the operator gives its pod: address, world, token.

        Raises `ConfigError` where the pod has none of it: a world without `knowledgeBaseRef`, one that may not use that
        knowledge base, or a pod template older than revision 4.
        """
        file = Path(os.environ.get(CONFIG_ENVIRONMENT, ""))
        token = os.environ.get(MEMORY_TOKEN_ENVIRONMENT)
        if not file.is_file() or not token:
            raise ConfigError(
                f"{CONFIG_ENVIRONMENT} and {MEMORY_TOKEN_ENVIRONMENT} must be set, as the operator does for a "
                "world's services; elsewhere give Memory an address, world and token_file"
            )
        config = parse(file.read_text())
        if not config.memory:
            raise ConfigError(
                f"{file} names no memory: set spec.knowledgeBaseRef of the GameWorld, and see its condition KnowledgeReady"
            )
        return cls(config.memory, world=f"{config.namespace}/{config.world}", token_file=token)

    async def __aenter__(self) -> Self:
        """Open the channel; connects with the first call."""
        self._channel = aio.insecure_channel(
            f"dns:///{self._address}", options=channel.options(pb.DESCRIPTOR)
        )
        self._stub = knowledge_pb2_grpc.KnowledgeServiceStub(self._channel)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it; calls that are open end."""
        assert self._channel is not None  # noqa: S101 - it was entered
        await self._channel.close()

    async def search(
        self,
        text: str,
        *,
        count: int = 10,
        minimum_trust: int | None = None,
        audience: Sequence[str] = (),
        timeout_seconds: float = DEADLINE_SECONDS,
    ) -> pb.SearchResponse:
        """Find chunks of lore and of the world's history, by meaning and by words; best first.

        Raises `QuestionError` for what no memory would take, `AccessError` where the caller may not, and `NoAnswerError`
        where nothing came in time.
        """
        request = pb.SearchRequest(
            text=text,
            world=self._world,
            count=count,
            minimum_trust=minimum_trust,
            audience=audience,
        )
        found: pb.SearchResponse = await self._call("Search", request, timeout_seconds)
        return found

    async def _call(self, name: str, request: Any, timeout_seconds: float) -> Any:
        if self._stub is None:
            raise RuntimeError("the client is not open: use it in `async with Memory(…) as memory`")
        token = self._token_file.read_text().strip() if self._token_file else ""
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        try:
            return await getattr(self._stub, name)(
                request, timeout=timeout_seconds, metadata=metadata, wait_for_ready=True
            )
        except aio.AioRpcError as error:
            raise call_error(error) from error
