"""WorldStateService over gRPC: facts of the world in the database of its `spec.database`, and in memory for readers."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from gameai_contract.settings import split_words

from gameai import fields
from gameai.errors import NotFoundError
from gameai.events.v1.events_pb2 import SOURCE_WORLD_STATE
from gameai.kit import Call, Kit, OneWorld, kit_of, query
from gameai.kit.cache import WorldCache
from gameai.kit.methods import Context
from gameai.kit.serial import Serial
from gameai.services.world_state import store
from gameai.services.world_state.cache import SOURCE
from gameai.services.world_state.changes import Changes
from gameai.services.world_state.rules import checks, table
from gameai.services.world_state.rules.reactions import EVENTS
from gameai.services.world_state.rules.table import Filter, Table, Target
from gameai.services.world_state.rules.watch import Deltas, Watch
from gameai.services.world_state.tables import TABLES
from gameai.serving import GameService, LiveWorld, Runtime, main
from gameai.world_state.v1 import world_state_pb2 as pb
from gameai.world_state.v1 import world_state_pb2_grpc

# Between two messages of a watch.
_LEAST_SECONDS = 0.1


class WorldStateService(world_state_pb2_grpc.WorldStateServiceServicer):
    """Changes go through the database, one after the other in a world; readers are answered from memory."""

    def __init__(
        self, kit: Kit, cache: WorldCache[Table], live: LiveWorld, regions: Sequence[str]
    ) -> None:
        self.kit = kit
        self._cache, self._live, self._regions = cache, live, regions
        self.changes, self._serial = Changes(cache, regions), Serial(kit, cache)
        self._deltas: dict[str, Deltas] = {}

    async def DeclareFacts(
        self, request: pb.DeclareFactsRequest, context: Context
    ) -> pb.DeclareFactsResponse:
        """Declare facts."""
        return await self._serial.mutate("DeclareFacts", self.changes.declare, request, context)

    async def ProposeFacts(
        self, request: pb.ProposeFactsRequest, context: Context
    ) -> pb.ProposeFactsResponse:
        """Change facts as far as their rules allow."""
        return await self._serial.mutate("ProposeFacts", self.changes.propose, request, context)

    async def ListRules(
        self, request: pb.ListRulesRequest, context: Context
    ) -> pb.ListRulesResponse:
        """A page of the rules."""
        size = fields.page_size(request.page_size)
        after = fields.page_token(request.page_token)
        with self.kit.from_memory(context) as world:
            found, token = table.page(await self._cache.of(world.name), after, size)
            return pb.ListRulesResponse(rules=found, next_page_token=token)

    async def GetSnapshot(
        self, request: pb.GetSnapshotRequest, context: Context
    ) -> pb.GetSnapshotResponse:
        """What is now."""
        with self.kit.from_memory(context) as world:
            found, wanted = await self._asked(world.name, request)
            now = world.now_us()
            async with self._cache.turn():
                return pb.GetSnapshotResponse(
                    facts=table.found(found, self._regions, wanted, now),
                    revision=found.revision,
                    world_us=now,
                    stale=self._cache.is_stale(),
                )

    async def WatchFacts(
        self, request: pb.WatchFactsRequest, context: Context
    ) -> AsyncIterator[pb.WatchFactsResponse]:
        """What is now, then what changes."""
        with self.kit.from_memory(context) as world:
            _, wanted = await self._asked(world.name, request)
        watch, deltas = Watch(), self._deltas.setdefault(world.name, Deltas())
        with self._cache.watching():
            while True:
                found = await self._cache.of(world.name)
                since = watch.since(found)
                async with self._cache.turn():
                    answer = deltas.message(found, self._regions, wanted, since, world.now_us())
                if answer.facts or answer.complete:
                    yield answer
                    # What changes meanwhile comes in one message.
                    await asyncio.sleep(_LEAST_SECONDS)
                await self._change(world.name, watch)

    @query
    async def ListChanges(
        self, request: pb.ListChangesRequest, call: Call
    ) -> pb.ListChangesResponse:
        """The last changes of a fact."""
        rules = await store.rules(call.db, call.world)
        checks.target(request, self._regions, rules)
        target = Target(fact=request.fact, region=request.region)
        return pb.ListChangesResponse(changes=await store.changes(call.db, call.world, target))

    async def _asked(
        self, world: str, request: pb.GetSnapshotRequest | pb.WatchFactsRequest
    ) -> tuple[Table, Filter]:
        """The facts of a world, and those of them that a caller reads; another replica may have declared them just now."""
        found = await self._cache.of(world)
        try:
            return found, checks.wanted(request, self._regions, found.rules)
        except NotFoundError:
            found = await self._cache.fresh(world)
            return found, checks.wanted(request, self._regions, found.rules)

    async def _change(self, world: str, watch: Watch) -> None:
        """Wait until the facts are others than those that were sent. Raises `DrainingError`."""
        while (await self._cache.of(world)).version == watch.version:
            await self._live.wait_for_change(None)


def consumes(live: LiveWorld) -> bool:
    """Whether the world lets this service consume events."""
    own = live.config.services.get(SERVICE.name)
    return own is not None and bool(own.consumes)


@asynccontextmanager
async def lifespan(runtime: Runtime) -> AsyncIterator[None]:
    """The database, the facts in memory, and the events in and out."""
    live = runtime.world
    async with kit_of(live, SERVICE.name, SOURCE_WORLD_STATE, tables=TABLES) as kit:
        cache = WorldCache(kit.database, OneWorld(live), SOURCE, live.notify)
        service = WorldStateService(kit, cache, live, split_words(runtime.settings["regions"]))
        world_state_pb2_grpc.add_WorldStateServiceServicer_to_server(service, runtime.server)
        handlers = dict.fromkeys((each.message for each in EVENTS.values()), service.changes.react)
        runtime.background.start("kit", kit.run(handlers, consumes=lambda: consumes(live)))
        runtime.background.start("cache", cache.run())
        yield


SERVICE = GameService(
    name="world-state",
    wire_name="gameai.world_state.v1.WorldStateService",
    lifespan=lifespan,
    most_request_bytes=checks.MOST_REQUEST_BYTES,
    # Watches are among them.
    most_calls=500,
)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
