"""EDGE: the memory of a world's knowledge base: searches, events and concepts, with the token of the caller."""

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
from gameai.knowledge.v1 import (
    concepts_pb2,
    concepts_pb2_grpc,
    history_pb2,
    history_pb2_grpc,
    knowledge_pb2_grpc,
)
from gameai.knowledge.v1 import knowledge_pb2 as pb

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
        # Asynchronous stubs have no types of their own at run time.
        self._knowledge: Any = None
        self._history: Any = None
        self._concepts: Any = None

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
            f"dns:///{self._address}",
            options=channel.options(pb.DESCRIPTOR, history_pb2.DESCRIPTOR, concepts_pb2.DESCRIPTOR),
        )
        self._knowledge = knowledge_pb2_grpc.KnowledgeServiceStub(self._channel)
        self._history = history_pb2_grpc.HistoryServiceStub(self._channel)
        self._concepts = concepts_pb2_grpc.ConceptServiceStub(self._channel)
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
        self._check_open()
        found: pb.SearchResponse = await self._call(
            self._knowledge.Search, request, timeout_seconds
        )
        return found

    async def append_events(
        self, *events: history_pb2.Event, timeout_seconds: float = DEADLINE_SECONDS
    ) -> Sequence[history_pb2.AppendedEvent]:
        """Write 1 to 64 events to the world's history, all or none. A repeated call with the same keys changes nothing.

        Raises as `search` does; after `NoAnswerError` the events may have been written: call again with the same keys.
        """
        request = history_pb2.AppendEventsRequest(world=self._world, events=events)
        self._check_open()
        found = await self._call(self._history.AppendEvents, request, timeout_seconds)
        return tuple(found.events)

    async def search_events(
        self,
        text: str,
        *,
        count: int = 10,
        until_world_seconds: int | None = None,
        minimum_confidence: int = 0,
        timeout_seconds: float = DEADLINE_SECONDS,
    ) -> Sequence[history_pb2.EventHit]:
        """Find events of the world's history, best first; with a time those that had happened until then. Raises as `search` does."""
        request = history_pb2.SearchEventsRequest(
            world=self._world,
            text=text,
            count=count,
            until_world_seconds=until_world_seconds,
            minimum_confidence=minimum_confidence,
        )
        self._check_open()
        found = await self._call(self._history.SearchEvents, request, timeout_seconds)
        return tuple(found.hits)

    async def evolve_concept(
        self,
        concept: concepts_pb2.Concept,
        *,
        expected_version: int = 0,
        world_seconds: int = 0,
        cause_sequence: int = 0,
        timeout_seconds: float = DEADLINE_SECONDS,
    ) -> int:
        """Write the version of a concept of the world that follows `expected_version` (0: its first), and return its number.

        Raises as `search` does; `NoAnswerError` with code ABORTED where another version was written meanwhile. A repeated call
        writes nothing twice.
        """
        request = concepts_pb2.EvolveConceptRequest(
            world=self._world,
            concept=concept,
            expected_version=expected_version,
            world_seconds=world_seconds,
            cause_sequence=cause_sequence,
        )
        self._check_open()
        found = await self._call(self._concepts.EvolveConcept, request, timeout_seconds)
        return int(found.version)

    async def concept(
        self,
        kind: str,
        name: str,
        *,
        as_of_world_seconds: int | None = None,
        timeout_seconds: float = DEADLINE_SECONDS,
    ) -> concepts_pb2.ConceptVersion:
        """A concept as the world sees it now, or saw it then. Raises as `search` does; `AccessError` also where there is none."""
        request = concepts_pb2.GetConceptRequest(
            world=self._world, kind=kind, name=name, as_of_world_seconds=as_of_world_seconds
        )
        self._check_open()
        found = await self._call(self._concepts.GetConcept, request, timeout_seconds)
        version: concepts_pb2.ConceptVersion = found.version
        return version

    async def search_concepts(
        self,
        text: str,
        *,
        kinds: Sequence[str] = (),
        count: int = 10,
        as_of_world_seconds: int | None = None,
        timeout_seconds: float = DEADLINE_SECONDS,
    ) -> Sequence[concepts_pb2.ConceptHit]:
        """Find concepts as the world sees them, best first. Raises as `search` does."""
        request = concepts_pb2.SearchConceptsRequest(
            world=self._world,
            text=text,
            kinds=kinds,
            count=count,
            as_of_world_seconds=as_of_world_seconds,
        )
        self._check_open()
        found = await self._call(self._concepts.SearchConcepts, request, timeout_seconds)
        return tuple(found.hits)

    def _check_open(self) -> None:
        if self._channel is None:
            raise RuntimeError("the client is not open: use it in `async with Memory(…) as memory`")

    async def _call(self, call: Any, request: Any, timeout_seconds: float) -> Any:
        token = self._token_file.read_text().strip() if self._token_file else ""
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        try:
            return await call(
                request, timeout=timeout_seconds, metadata=metadata, wait_for_ready=True
            )
        except aio.AioRpcError as error:
            raise call_error(error) from error
