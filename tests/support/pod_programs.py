"""Programs that end-to-end tests run inside of pods."""

# Runs in the pod of a service of a world.
ASK = """
import asyncio, sys
from gameai.client import Memory
from gameai.knowledge.v1.history_pb2 import Event

async def main():
    async with Memory.of_world(insecure=True) as memory:
        for hit in (await memory.search(sys.argv[1], count=3, timeout_seconds=20)).hits:
            print(hit.provenance.document)
        event = Event(key="raid", kind="battle", summary="Riders burned Tamrel bridge.")
        [written] = await memory.append_events(event, timeout_seconds=20)
        print("event", written.sequence)

asyncio.run(main())
"""
# Runs in the pod of a storyteller.
TELL = """
import sys
import grpc
from gameai.storyteller.v1 import storyteller_pb2 as pb
from gameai.storyteller.v1.storyteller_pb2_grpc import StorytellerServiceStub

with grpc.insecure_channel("localhost:50051") as channel:
    stories = StorytellerServiceStub(channel)
    found = stories.AnswerQuestion(pb.AnswerQuestionRequest(question=sys.argv[1]), timeout=25)
    print("reason", found.degraded_reason)
    print(*(each.chunk.document for each in found.citations))
    arc = pb.Arc(name="siege", goal="Tamrel falls.", stages=["Scouts are seen."])
    stories.WriteArc(pb.WriteArcRequest(arc=arc), timeout=10)
    request = pb.PlanBeatRequest(request_id="r1", arc="siege", situation="It is night.")
    planned = stories.PlanBeat(request, timeout=25)
    print("beat", planned.beat.version, planned.known)
"""


# Runs in the pod of world-state: declares a fact that counts changes of settings, and prints it.
LOOK = """
import uuid
import grpc
from gameai.world_state.v1 import world_state_pb2 as pb
from gameai.world_state.v1.world_state_pb2_grpc import WorldStateServiceStub

turns = pb.FactRule(name="turns", description="Changes of settings.", maximum=9)
turns.reactions.add(event="SettingChanged", add=1)
with grpc.insecure_channel("localhost:50051") as channel:
    world = WorldStateServiceStub(channel)
    request = pb.DeclareFactsRequest(request_id=str(uuid.uuid4()), rules=[turns])
    world.DeclareFacts(request, timeout=10)
    (found,) = world.GetSnapshot(pb.GetSnapshotRequest(), timeout=10).facts
    print(found.present, found.cause)
"""


# Runs in the pod of a state-manager: writes an object where there is none, and reads it.
SAVE = """
import uuid
import grpc
from gameai.state.v1 import state_pb2 as pb
from gameai.state.v1.state_pb2_grpc import StateServiceStub

with grpc.insecure_channel("localhost:50051") as channel:
    state = StateServiceStub(channel)
    key = pb.ObjectKey(collection="saves", key="anna")
    if not state.BatchGetObjects(pb.BatchGetObjectsRequest(keys=[key]), timeout=10).objects:
        written = pb.Write(object=pb.Object(collection="saves", key="anna", value=b"gold"))
        request = pb.BatchWriteObjectsRequest(request_id=str(uuid.uuid4()), writes=[written])
        state.BatchWriteObjects(request, timeout=10)
    (found,) = state.BatchGetObjects(pb.BatchGetObjectsRequest(keys=[key]), timeout=10).objects
    print(found.value.decode(), found.version)
"""
# Runs in the pod of the settings service: declares a key and sets its value where there is none, and reads it.
TURN = """
import uuid
import grpc
from gameai.settings.v1 import settings_pb2 as pb
from gameai.settings.v1.settings_pb2_grpc import SettingsServiceStub

said = {"author": "test", "reason": "end to end"}
with grpc.insecure_channel("localhost:50051") as channel:
    settings = SettingsServiceStub(channel)
    if not settings.GetEffective(pb.GetEffectiveRequest(), timeout=10).settings:
        spawn = pb.Declaration(key="spawn", description="Spawns.", default=pb.Value(whole=1))
        request = pb.DeclareSettingsRequest(request_id=str(uuid.uuid4()), declarations=[spawn], **said)
        settings.DeclareSettings(request, timeout=10)
        change = pb.Change(key="spawn", layer=pb.LAYER_WORLD, value=pb.Value(whole=5))
        request = pb.UpdateSettingsRequest(request_id=str(uuid.uuid4()), changes=[change], **said)
        settings.UpdateSettings(request, timeout=10)
    (found,) = settings.GetEffective(pb.GetEffectiveRequest(keys=["spawn"]), timeout=10).settings
    print(found.value.whole, found.revision)
"""
