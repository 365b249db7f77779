"""EDGE: the memory as a process: open the database, serve, drain on SIGTERM."""

import asyncio
import contextlib
import logging
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
from gameai_contract.names import listening
from grpc import aio

from gameai.knowledge.embedding.embedder import Embedder
from gameai.knowledge.embedding.intake import Intake
from gameai.knowledge.embedding.queries import QueryVectors
from gameai.knowledge.rpc.admission import Gatekeeper, Guarded, Open
from gameai.knowledge.rpc.concepts import ConceptService
from gameai.knowledge.rpc.history import HistoryService
from gameai.knowledge.rpc.ingestion import IngestionService
from gameai.knowledge.rpc.knowledge import KnowledgeService
from gameai.knowledge.rpc.relations import RelationService
from gameai.knowledge.store import concept_statements, event_statements
from gameai.knowledge.store.connections import Connections
from gameai.knowledge.store.errors import NO_SCHEMA, NO_SCHEMA_ERRORS, first_line
from gameai.knowledge.store.facts import mismatch
from gameai.knowledge.store.statements import NAMES
from gameai.knowledge.v1 import (
    concepts_pb2_grpc,
    history_pb2_grpc,
    knowledge_pb2_grpc,
    relations_pb2_grpc,
)
from gameai.serving import draining
from gameai.serving.grpc_health import GrpcHealth
from gameai.serving.health import serve as serve_health
from gameai.serving.interceptor import Interceptor
from gameai.serving.opening import opening
from gameai.serving.port_file import write_ports
from gameai.serving.requests import Requests

_LOG = logging.getLogger(__name__)
WIRE_NAME = "gameai.knowledge.v1.KnowledgeService"
_STOP_SECONDS = 5.0
_CHECK_SECONDS = 5.0
# 64 texts of 4,096 characters of up to 4 bytes.
_MOST_REQUEST_BYTES = 2 << 20
_MOST_CALLS = 500
_OPTIONS = (
    ("grpc.max_receive_message_length", _MOST_REQUEST_BYTES),
    # Callers find other replicas because connections end.
    ("grpc.max_connection_age_ms", int(draining.CONNECTION_SECONDS * 1000)),
    ("grpc.max_connection_age_grace_ms", 30_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.so_reuseport", 0),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """Where to listen, and how much the database is asked at once."""

    database: str
    address: str
    port: int
    health_port: int
    port_file: Path | None
    connections: int
    statement_ms: int
    drain_seconds: float
    admission_file: Path | None = None


@dataclass(slots=True)
class _State:
    """Why the process is not ready."""

    fault: str = "starting"


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the services stand on."""

    connections: Connections
    vectors: QueryVectors
    intake: Intake
    embedder: Embedder
    gatekeeper: Gatekeeper


async def serve(options: Serving, embedder: Embedder, writer: Embedder) -> None:
    """Serve until SIGTERM or SIGINT. `embedder` is for searches, `writer` for texts to keep: neither waits for the other's connections. Raises `PortError`."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    state = _State()
    async with contextlib.AsyncExitStack() as stack:
        gatekeeper = _gatekeeper(options.admission_file, stack)
        interceptor = Interceptor()
        server = aio.server(
            interceptors=[Requests(_MOST_CALLS, gatekeeper.rights), interceptor],
            options=_OPTIONS,
            maximum_concurrent_rpcs=_MOST_CALLS,
        )
        with opening("--health-port", options.address, options.health_port):
            runner = await serve_health(lambda: state.fault, options.address, options.health_port)
        stack.push_async_callback(runner.cleanup)
        connections = Connections(
            options.database, size=options.connections, statement_ms=options.statement_ms
        )
        stack.push_async_callback(connections.close)
        vectors = QueryVectors(embedder)
        stack.callback(vectors.close)
        intake = Intake(writer)
        stack.callback(intake.close)
        _add_services(server, _Parts(connections, vectors, intake, embedder, gatekeeper))
        checks = GrpcHealth(server, WIRE_NAME)
        with opening("--port", options.address, options.port):
            port = server.add_insecure_port(listening(options.address, options.port))
        await server.start()
        stack.push_async_callback(server.stop, _STOP_SECONDS)
        watching = asyncio.create_task(
            _watch(options.database, embedder, gatekeeper, state, checks)
        )
        stack.callback(watching.cancel)
        _LOG.info("serving the memory on port %d, health on %s", port, runner.addresses)
        if options.port_file is not None:
            write_ports(options.port_file, {"grpc": port, "health": runner.addresses[0][1]})
        await _until(stop, watching)
        _LOG.info("draining")
        watching.cancel()
        state.fault = "draining"
        await checks.say(serving=False)
        began = time.monotonic()
        await draining.quiet(lambda: max(began, interceptor.heard), options.drain_seconds)


def _add_services(server: aio.Server, parts: _Parts) -> None:
    connections, vectors, intake = parts.connections, parts.vectors, parts.intake
    model, gatekeeper = parts.embedder.model, parts.gatekeeper
    knowledge = KnowledgeService(connections, vectors, model, parts.embedder.dimensions, gatekeeper)
    knowledge_pb2_grpc.add_KnowledgeServiceServicer_to_server(knowledge, server)
    ingestion = IngestionService(connections, gatekeeper)
    knowledge_pb2_grpc.add_IngestionServiceServicer_to_server(ingestion, server)
    history = HistoryService(connections, vectors, intake, model, gatekeeper)
    history_pb2_grpc.add_HistoryServiceServicer_to_server(history, server)
    concepts = ConceptService(connections, vectors, intake, model, gatekeeper)
    concepts_pb2_grpc.add_ConceptServiceServicer_to_server(concepts, server)
    relations = RelationService(connections, gatekeeper)
    relations_pb2_grpc.add_RelationServiceServicer_to_server(relations, server)


async def _until(stop: asyncio.Event, watching: asyncio.Task[None]) -> None:
    """Until a signal. Raises what ended the watch of the database: without it nothing says when the process is ready."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({stopping, watching}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if watching.done():
        watching.result()


def _gatekeeper(file: Path | None, stack: contextlib.AsyncExitStack) -> Gatekeeper:
    if file is None:
        return Open()
    made = Guarded(file)
    following = asyncio.create_task(made.follow())
    stack.callback(following.cancel)
    return made


async def _watch(
    database: str,
    embedder: Embedder,
    gatekeeper: Gatekeeper,
    state: _State,
    checks: GrpcHealth,
) -> None:
    """Ready while the database answers, with the schema and the vectors of this release, and callers can be known."""
    while True:
        fault = gatekeeper.fault or await _fault(database, embedder)
        if fault != state.fault:
            _LOG.log(logging.WARNING if fault else logging.INFO, "%s", fault or "ready")
            state.fault = fault
            await checks.say(serving=not fault)
        await asyncio.sleep(_CHECK_SECONDS)


async def _fault(database: str, embedder: Embedder) -> str:
    """What is wrong with the database, without its password; empty: nothing."""
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            facts = await _facts(database)
    except NO_SCHEMA_ERRORS:
        return NO_SCHEMA
    except psycopg.Error as error:
        return f"the database: {first_line(error)}"
    except (TimeoutError, OSError):
        return "the database does not answer"
    return mismatch(facts, embedder.model, embedder.dimensions)


async def _facts(database: str) -> dict[str, str]:
    """What the database was made for. Raises psycopg.Error, also where a function of this release is missing."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(
            "SELECT name::regproc FROM unnest(%s::text[]) AS name",
            ([*NAMES, event_statements.NAME, concept_statements.NAME],),
        )
        cursor = await connection.execute("SELECT key, value FROM memory_ops.facts")
        found: dict[str, str] = dict(await cursor.fetchall())
    return found
