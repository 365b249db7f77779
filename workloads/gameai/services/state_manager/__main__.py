"""StateService over gRPC: objects of the world in the database of its `spec.database`."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gameai_contract.settings import split_words

from gameai import fields
from gameai.bus.subjects import name_id
from gameai.events.v1.events_pb2 import SOURCE_STATE_MANAGER, ObjectChanged, OwnerDeleted
from gameai.kit import Call, Kit, handlers, kit_of, mutation, query
from gameai.kit.methods import Context
from gameai.services.state_manager import objects
from gameai.services.state_manager.rules import checks, pages
from gameai.services.state_manager.rules.checks import Key, Limits
from gameai.services.state_manager.rules.decision import decide
from gameai.services.state_manager.tables import TABLES
from gameai.serving import GameService, Runtime, main
from gameai.state.v1 import state_pb2 as pb
from gameai.state.v1 import state_pb2_grpc

_EXPORTED = 200


class StateService(state_pb2_grpc.StateServiceServicer):
    """Answers from the database; any replica says the same."""

    def __init__(self, kit: Kit, limits: Limits) -> None:
        self.kit = kit
        self._limits = limits

    @query
    async def BatchGetObjects(
        self, request: pb.BatchGetObjectsRequest, call: Call
    ) -> pb.BatchGetObjectsResponse:
        """Objects by their keys."""
        keys = checks.keys(request.keys, self._limits)
        found = await objects.read(call.db, call.world, keys)
        return pb.BatchGetObjectsResponse(objects=[each.message() for each in found])

    @query
    async def ListObjects(
        self, request: pb.ListObjectsRequest, call: Call
    ) -> pb.ListObjectsResponse:
        """A page of a collection."""
        collection = checks.collection(request.collection, "collection", self._limits)
        owner = checks.optional(request.owner, "owner")
        prefix = checks.optional(request.key_prefix, "key_prefix")
        size = fields.page_size(request.page_size)
        after = pages.after(request.page_token, collection, owner, prefix)
        found = await objects.page(
            call.db, call.world, collection, after, owner=owner, prefix=prefix, count=size
        )
        # A page may be full and the last one; the next is empty then.
        more = bool(found) and await _has_more(call, found[-1], owner, prefix)
        token = pages.token(found[-1].key, collection, owner, prefix) if more else ""
        return pb.ListObjectsResponse(
            objects=[each.message() for each in found], next_page_token=token
        )

    @mutation
    async def BatchWriteObjects(
        self, request: pb.BatchWriteObjectsRequest, call: Call
    ) -> pb.BatchWriteObjectsResponse:
        """Write and delete objects, all or none."""
        keys = checks.writes(request.writes, self._limits)
        known = await objects.known(call.db, call.world, keys)
        decision = decide(request.writes, keys, known)
        made = await objects.write(call.db, call.world, call.now_us, request.writes, keys, decision)
        written = [request.writes[each].object for each in (*decision.created, *decision.replaced)]
        most = self._limits.owner_objects
        await objects.require_room(call.db, call.world, decision.gaining, most)
        for each in written:
            version = made[Key(collection=each.collection, key=each.key)]
            call.emit(_changed(each, version))
        for place in decision.deleted:
            key = keys[place]
            gone = pb.Object(collection=key.collection, key=key.key, owner=known[key].owner)
            call.emit(_changed(gone, 0))
        return pb.BatchWriteObjectsResponse(versions=[made.get(each, 0) for each in keys])

    async def ExportOwner(
        self, request: pb.ExportOwnerRequest, context: Context
    ) -> AsyncIterator[pb.ExportOwnerResponse]:
        """All objects of an owner; each page is read by itself, so that a slow reader holds nothing."""
        owner = checks.owner(request.owner, "owner")
        after = Key(collection="", key="")

        async def read(_: pb.ExportOwnerRequest, call: Call) -> list[objects.Stored]:
            return await objects.of_owner(call.db, call.world, owner, after, _EXPORTED)

        while found := await self.kit.ask(read, request, context):
            yield pb.ExportOwnerResponse(objects=[each.message() for each in found])
            after = Key(collection=found[-1].collection, key=found[-1].key)

    @mutation
    async def DeleteOwner(
        self, request: pb.DeleteOwnerRequest, call: Call
    ) -> pb.DeleteOwnerResponse:
        """Delete all objects of an owner."""
        owner = checks.owner(request.owner, "owner")
        deleted = await objects.delete_owner(call.db, call.world, owner)
        if deleted:
            call.emit(OwnerDeleted(owner=name_id(owner), objects=deleted))
        return pb.DeleteOwnerResponse(deleted=deleted)


async def _has_more(call: Call, last: objects.Stored, owner: str, prefix: str) -> bool:
    return bool(
        await objects.page(
            call.db, call.world, last.collection, last.key, owner=owner, prefix=prefix, count=1
        )
    )


def _changed(given: pb.Object, version: int) -> ObjectChanged:
    return ObjectChanged(
        collection=name_id(given.collection),
        object=name_id(given.key),
        owner=name_id(given.owner) if given.owner else 0,
        version=version,
        bytes=len(given.value),
    )


@asynccontextmanager
async def lifespan(runtime: Runtime) -> AsyncIterator[None]:
    """The database, and the relay of its events."""
    limits = Limits(
        collections=split_words(runtime.settings["collections"]),
        value_bytes=int(runtime.settings["valueBytes"]),
        owner_objects=int(runtime.settings["ownerObjects"]),
    )
    async with kit_of(runtime.world, SERVICE.name, SOURCE_STATE_MANAGER, tables=TABLES) as kit:
        service = StateService(kit, limits)
        state_pb2_grpc.add_StateServiceServicer_to_server(service, runtime.server)
        runtime.background.start("kit", kit.run(handlers(service)))
        yield


SERVICE = GameService(
    name="state-manager",
    wire_name="gameai.state.v1.StateService",
    lifespan=lifespan,
    # Values, keys and owners.
    most_request_bytes=checks.MOST_BYTES + (64 << 10),
    most_calls=100,
)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
