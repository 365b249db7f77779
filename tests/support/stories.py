"""A storyteller with everything that it asks: a memory, a gateway, and a double of vLLM, each as a process."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gameai.storyteller.v1 import storyteller_pb2 as pb
from gameai.storyteller.v1 import storyteller_pb2_grpc
from gameai_devcluster import story
from gameai_devcluster.services import Service, ServiceLaunch

from support import worlds
from support.memory import Memory, Served, served

WORLD = "eldermoor/moor"
LORE = {
    "bridges.md": "# Bridges\n\nThe bridge of Carrow was built by Ilda Venn of grey stone.",
    "ferries.md": "# Ferries\n\nThe ferry of Tam crosses the lake twice a day.",
}
ARC = pb.Arc(
    name="siege",
    goal="The riders of Orr take Carrow.",
    stages=["Scouts of Orr are seen at the ford.", "The riders of Orr cross the ford."],
)


@dataclass(kw_only=True)
class Stage:
    """What runs, and the file by which the storyteller knows of it."""

    folder: Path
    memory: Served
    config: Path
    service: Service
    timeout: float | None = 20

    def call(self, name: str, /, **fields: Any) -> Any:
        stub = storyteller_pb2_grpc.StorytellerServiceStub(self.service.channel())
        return getattr(stub, name)(getattr(pb, f"{name}Request")(**fields), timeout=self.timeout)

    def plan(self, request_id: str = "r1", **fields: Any) -> pb.PlanBeatResponse:
        given = {"arc": "siege", "situation": "It is night at the bridge of Carrow."} | fields
        found: pb.PlanBeatResponse = self.call("PlanBeat", request_id=request_id, **given)
        return found

    def close(self) -> None:
        """The one that runs now."""
        self.service.close()

    def restart(self) -> None:
        """Kill the storyteller, and start another one."""
        self.service.process.kill()
        self.service.process.wait(10)
        self.service.close()
        self.service = Service(self.service.launch).wait_serving()


@contextlib.contextmanager
def stage(
    memory: Memory, folder: Path, engine: str, gateway: str = "", **settings: str
) -> Iterator[Stage]:
    """All of it, where an engine is given by its address; empty: a world without gateways, or with one at an address."""
    memory.ingest(LORE)
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(served(memory.url, folder))
        address = gateway
        if engine:
            address = stack.enter_context(story.gateway(engine, WORLD, folder))
        document = json.loads(worlds.configuration()) | {"namespace": "eldermoor", "world": "moor"}
        config = folder / "world.json"
        config.write_text(story.configuration(document, kept.address, address, **settings))
        launch = ServiceLaunch(name="storyteller", config=config, log=folder / "storyteller.log")
        made = Stage(folder=folder, memory=kept, config=config, service=Service(launch))
        stack.callback(made.close)
        made.service.wait_serving()
        yield made
        assert "this is a bug" not in made.service.output()
