"""WorldStateService over gRPC: facts of the world in the database of its `spec.database`, and in memory for readers."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from gameai_contract.settings import split_words

from gameai import fields
from gameai.errors import ExhaustedError
from gameai.events.v1.events_pb2 import SOURCE_WORLD_STATE
from gameai.kit import Call, Kit, OneWorld, kit_of, query
from gameai.kit.cache import WorldCache
from gameai.kit.kit import Together
from gameai.kit.methods import Context
from gameai.kit.serial import Serial
from gameai.kit.worlds import KitWorld
from gameai.services.world_state import store
from gameai.services.world_state.cache import SOURCE
from gameai.services.world_state.changes import Changes
from gameai.services.world_state.rules import checks, table
from gameai.services.world_state.rules.reactions import EVENTS
from gameai.services.world_state.rules.table import Filter, Table
from gameai.services.world_state.rules.watch import Answers, Watch
from gameai.services.world_state.tables import TABLES
from gameai.serving import GameService, LiveWorld, Runtime, main
from gameai.world_state.v1 import world_state_pb2 as pb
from gameai.world_state.v1 import world_state_pb2_grpc

_LOG = logging.getLogger(__name__)
# Between two messages of a watch.
_LEAST_SECONDS = 0.1
# Of all watches: what waits for its reader is in memory.
_MOST_UNSENT = 64 << 20
# Whether the database still answers is looked at so often.
_STALE_US = 1_000_000


class WorldStateService(world_state_pb2_grpc.WorldStateServiceServicer):
    """Changes go through the database, one after the other in a world; readers are answered from memory."""

    def __init__(
        self, kit: Kit, cache: WorldCache[Table], live: LiveWorld, regions: Sequence[str]
    ) -> None:
        self.kit = kit
        self._cache, self._live, self._regions = cache, live, regions
        self.changes, self._serial = Changes(cache, regions), Serial(kit, cache)
        self._answers: dict[str, Answers] = {}
        self._unsent_bytes = 0

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
            at_us, facts = await self._facts(world, found, wanted)
            return pb.GetSnapshotResponse(
                facts=facts,
                revision=found.revision,
                world_us=at_us,
                stale=self._cache.is_stale(),
            )

    async def WatchFacts(
        self, request: pb.WatchFactsRequest, context: Context
    ) -> AsyncIterator[pb.WatchFactsResponse]:
        """What is now, then what changes."""
        with self.kit.from_memory(context) as world:
            _, wanted = await self._asked(world.name, request)
        with self._cache.watching():
            async for answer in self._messages(world, wanted):
                with self._unsent(answer.ByteSize()):
                    yield answer
                # Large ones of many watches are not kept while these wait.
                del answer

    async def _messages(
        self, world: KitWorld, wanted: Filter
    ) -> AsyncIterator[pb.WatchFactsResponse]:
        """What a watcher is sent. Raises `DrainingError`."""
        watch = Watch()
        while True:
            answer = await self._message(world, wanted, watch)
            if answer is not None:
                yield answer
                del answer
                # What changes meanwhile comes in one message.
                await asyncio.sleep(_LEAST_SECONDS)
            self._live.require_serving()
            await self._change(world.name, watch)

    @contextmanager
    def _unsent(self, size: int) -> Iterator[None]:
        """A message that is being sent. Raises `ExhaustedError` where watchers that do not read hold too much."""
        if self._unsent_bytes + size > _MOST_UNSENT:
            raise ExhaustedError(
                f"watchers have not read {self._unsent_bytes} bytes, and the limit is {_MOST_UNSENT}: call again later"
            )
        self._unsent_bytes += size
        try:
            yield
        finally:
            self._unsent_bytes -= size

    @query
    async def ListChanges(
        self, request: pb.ListChangesRequest, call: Call
    ) -> pb.ListChangesResponse:
        """The last changes of a fact."""
        _, target = await self._cache.checked(
            call.world, lambda found: checks.target(request, self._regions, found.rules)
        )
        return pb.ListChangesResponse(changes=await store.changes(call.db, call.world, target))

    async def _message(
        self, world: KitWorld, wanted: Filter, watch: Watch
    ) -> pb.WatchFactsResponse | None:
        """What a watcher is to know; None: nothing."""
        found, stale = await self._cache.of(world.name), self._cache.is_stale()
        since = watch.since(found)
        at_us, facts = await self._facts(world, found, wanted, since)
        turned, watch.stale = stale != watch.stale, stale
        if not (facts or turned) and since >= 0:
            return None
        return pb.WatchFactsResponse(
            facts=facts, revision=found.revision, world_us=at_us, complete=since < 0, stale=stale
        )

    async def _facts(
        self, world: KitWorld, found: Table, wanted: Filter, since: int = -1
    ) -> tuple[int, list[pb.Fact]]:
        """The world time, and facts that were changed after a revision; -1: all of them."""
        answers = self._answers.setdefault(world.name, Answers(self._regions))
        now = world.now_us()
        async with self._cache.turn():
            if since >= 0:
                return answers.facts(found, wanted, since, now)
            # All facts of a large world take long; others have their turn meanwhile.
            return await asyncio.to_thread(answers.facts, found, wanted, since, now)

    async def _asked(
        self, world: str, request: pb.GetSnapshotRequest | pb.WatchFactsRequest
    ) -> tuple[Table, Filter]:
        """The facts of a world, and those of them that a caller reads."""
        checks.regions_of(request, self._regions)
        return await self._cache.checked(world, lambda found: checks.wanted(request, found.rules))

    async def _change(self, world: str, watch: Watch) -> None:
        """Wait until the facts are others than those that were sent. Raises `DrainingError`."""
        while (await self._cache.of(world)).version == watch.version:
            if self._cache.is_stale() != watch.stale:
                return
            await self._live.wait_for_change(self._live.wall() + _STALE_US)


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
        if not consumes(live):
            _LOG.info("no event changes facts: consumes of the service is empty")
        types = [each.message for each in EVENTS.values()]
        handlers = Together(types=types, method=service.changes.react)
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
