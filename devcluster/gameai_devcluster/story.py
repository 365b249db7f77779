"""EDGE: a storyteller on this machine, over a memory of the sample lore, a gateway and a double of vLLM."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from gameai.storyteller.v1 import storyteller_pb2, storyteller_pb2_grpc

from gameai_devcluster import postgres
from gameai_devcluster.inference import Program
from gameai_devcluster.install import ROOT
from gameai_devcluster.processes import start_in_background
from gameai_devcluster.services import Service, ServiceLaunch

LORE = ROOT / "examples" / "lore" / "shared"
CHRONICLE = ROOT / "examples" / "lore" / "worlds" / "eldermoor"
_TIER = "story"
# World time must not go back from one start to the next.
_EPOCH = "2026-01-01T00:00:00Z"
_INGESTION_SECONDS = 180.0
_CALL_SECONDS = 30.0


def answer(service: Service, question: str) -> storyteller_pb2.AnswerQuestionResponse:
    """The storyteller's answer to a question. Raises grpc.RpcError."""
    stub = storyteller_pb2_grpc.StorytellerServiceStub(service.channel())
    request = storyteller_pb2.AnswerQuestionRequest(question=question)
    found: storyteller_pb2.AnswerQuestionResponse = stub.AnswerQuestion(
        request, timeout=_CALL_SECONDS
    )
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Folders with the lore of all worlds and with the chronicle of one; an engine, `host:port` and its model; empty: a double of vLLM."""

    lore: Path = LORE
    chronicle: Path | None = CHRONICLE
    engine: str = ""
    model: str = ""
    port: int = 0


def world(name: str) -> dict[str, Any]:
    """The configuration of a world `namespace/name`, whose seconds are those of the wall clock."""
    namespace, _, own = name.partition("/")
    clock = {"effectiveAt": _EPOCH, "worldSeconds": "0", "speed": "1", "dayLengthMinutes": 1440}
    return {
        "world": own,
        "namespace": namespace,
        "seed": 1,
        "clock": {"anchors": [clock]},
        "roles": {},
        "services": {},
    }


def configuration(document: Mapping[str, Any], memory: str, gateway: str, **settings: str) -> str:
    """The configuration of a world with a storyteller, its memory and its gateway; an empty address: it has none."""
    service = {"endpoint": "", "settings": settings, "settingsHash": ""}
    services = {**document["services"], "storyteller": service}
    places = {"memory": {"endpoint": memory}, "gateway": {"endpoint": gateway}}
    return json.dumps({**document, **places, "services": services})


@contextlib.contextmanager
def gateway(engine: str, world: str, folder: Path, model: str = _TIER) -> Iterator[str]:
    """The address of a gateway whose role `story` is answered by a model of an engine, for a world `namespace/name`."""
    namespace, _, name = world.partition("/")
    tier = {"name": _TIER, "namespace": namespace, "class": "Bronze", "slots": 8, "model": model}
    role = {"name": "story", "tier": _TIER, "deadlineMs": 10_000}
    view = {
        "tiers": [{**tier, "endpoints": [engine]}],
        "worlds": [{"name": name, "namespace": namespace, "roles": [role]}],
    }
    file = folder / "story-gateway.yaml"
    file.write_text(yaml.safe_dump(view))
    flags = (f"--view={file}", "--address=127.0.0.1", "--health-port=0", "--insecure-no-identity")
    program = Program("gameai.gateway", *flags, log=folder / "story-gateway.log")
    try:
        yield program.address()
    finally:
        program.stop()


@contextlib.contextmanager
def laptop(
    folder: Path,
    document: Mapping[str, Any],
    say: Callable[[str], None],
    options: Options | None = None,
) -> Iterator[Service]:
    """The storyteller of a world with this configuration. Raises TimeoutError with the log of what does not start."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = options or Options()
    name = f"{document['namespace']}/{document['world']}"
    with contextlib.ExitStack() as stack:
        say(f"PostgreSQL, and the documents of {chosen.lore} into it")
        server = postgres.start(folder / "postgres")
        stack.callback(server.stop)
        memory = stack.enter_context(_memory(server.database("story"), name, folder, chosen))
        engine = chosen.engine
        if not engine:
            say("a simulator of vLLM: it has no model, and makes words up")
            double = Program("gameai_vllm", f"--served-model-name={_TIER}", log=folder / "tier.log")
            stack.callback(double.stop)
            engine = double.address()
        say("a gateway and the storyteller")
        address = stack.enter_context(gateway(engine, name, folder, chosen.model or _TIER))
        config = folder / "world.json"
        config.write_text(configuration(document, memory, address))
        service = Service(
            ServiceLaunch(
                name="storyteller",
                config=config,
                log=folder / "storyteller.log",
                port=chosen.port,
            )
        )
        stack.callback(service.close)
        yield service.wait_serving()


@contextlib.contextmanager
def _memory(database: str, world: str, folder: Path, options: Options) -> Iterator[str]:
    """The address of a memory of lore, and of the chronicle of a world."""
    ports, log = folder / "memory.ports", folder / "memory.log"
    ports.unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    sources = [f"--source=lore={options.lore}"]
    if options.chronicle:
        sources.append(f"--source=chronicle={options.chronicle},world={world},trust=60")
    own = ("--port=0", "--health-port=0", f"--port-file={ports}", "--drain-seconds=0")
    command = (sys.executable, "-m", "gameai.knowledge", f"--database={database}", *sources, *own)
    process = start_in_background(command, log, die_with_parent=True)
    try:
        end = time.monotonic() + _INGESTION_SECONDS
        while not ports.exists():
            if process.poll() is not None or time.monotonic() > end:
                raise TimeoutError(f"the memory does not serve:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield f"127.0.0.1:{json.loads(ports.read_text())['grpc']}"
    finally:
        process.terminate()
        process.wait()
