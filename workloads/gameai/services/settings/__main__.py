"""SettingsService over gRPC: settings of the world in the database of its `spec.database`, and in memory for readers."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gameai import fields
from gameai.errors import InvalidArgumentError
from gameai.events.v1.events_pb2 import SOURCE_SETTINGS
from gameai.kit import Call, Kit, OneWorld, handlers, kit_of, mutation, query
from gameai.kit.methods import Context
from gameai.kit.serial import Serial
from gameai.services.settings import store
from gameai.services.settings.cache import Cache
from gameai.services.settings.changes import Changes
from gameai.services.settings.rules import checks, table
from gameai.services.settings.rules.table import Table
from gameai.services.settings.rules.watch import Watch
from gameai.services.settings.tables import TABLES
from gameai.serving import GameService, LiveWorld, Runtime, main
from gameai.settings.v1 import settings_pb2 as pb
from gameai.settings.v1 import settings_pb2_grpc

# Before values of a player that could not be read are read again.
_AGAIN_US = 2_000_000


class SettingsService(settings_pb2_grpc.SettingsServiceServicer):
    """Changes go through the database, one after the other in a world; readers are answered from memory."""

    def __init__(self, kit: Kit, cache: Cache, live: LiveWorld, revisions: int) -> None:
        self.kit = kit
        self._cache, self._live = cache, live
        self._changes, self._serial = Changes(cache, revisions), Serial(kit, cache)

    async def DeclareSettings(
        self, request: pb.DeclareSettingsRequest, context: Context
    ) -> pb.DeclareSettingsResponse:
        """Declare keys."""
        act = self._changes.declare
        return await self._serial.mutate("DeclareSettings", act, request, context)

    async def UpdateSettings(
        self, request: pb.UpdateSettingsRequest, context: Context
    ) -> pb.UpdateSettingsResponse:
        """Set and remove values."""
        return await self._serial.mutate("UpdateSettings", self._changes.update, request, context)

    async def RollbackTo(
        self, request: pb.RollbackToRequest, context: Context
    ) -> pb.RollbackToResponse:
        """Restore what was at a revision."""
        return await self._serial.mutate("RollbackTo", self._changes.roll_back, request, context)

    async def ListDeclarations(
        self, request: pb.ListDeclarationsRequest, context: Context
    ) -> pb.ListDeclarationsResponse:
        """A page of the declarations."""
        size = fields.page_size(request.page_size)
        after = fields.page_token(request.page_token)
        with self.kit.from_memory(context) as world:
            found, token = table.page(await self._cache.of(world.name), after, size)
            return pb.ListDeclarationsResponse(declarations=found, next_page_token=token)

    async def GetEffective(
        self, request: pb.GetEffectiveRequest, context: Context
    ) -> pb.GetEffectiveResponse:
        """What applies now."""
        checks.context(request.context)
        with self.kit.from_memory(context) as world:
            found = await self._known(world.name, request)
            own = await self._own(world.name, found, request)
            return pb.GetEffectiveResponse(
                settings=table.effective(found, request.keys, request.context, own),
                revision=found.revision,
                stale=own is None or self._cache.is_stale(),
            )

    async def WatchEffective(
        self, request: pb.WatchEffectiveRequest, context: Context
    ) -> AsyncIterator[pb.WatchEffectiveResponse]:
        """What applies now, then what changes."""
        checks.context(request.context)
        with self.kit.from_memory(context) as world:
            await self._known(world.name, request)
        watch = Watch()
        with self._cache.watching():
            while True:
                # While a slow reader takes a message nothing else is held for it.
                if (answer := await self._message(world.name, request, watch)) is not None:
                    yield answer
                self._live.require_serving()
                await self._change(world.name, watch)

    @query
    async def ListRevisions(
        self, request: pb.ListRevisionsRequest, call: Call
    ) -> pb.ListRevisionsResponse:
        """The last changes."""
        size = fields.page_size(request.page_size)
        if request.before < 0:
            raise InvalidArgumentError("before must be 0 or a revision", field="before")
        found = await store.revisions(call.db, call.world, request.before, size + 1)
        more = len(found) > size
        return pb.ListRevisionsResponse(
            revisions=found[:size], next_before=found[size - 1].revision if more else 0
        )

    @mutation
    async def UpdatePlayerSettings(
        self, request: pb.UpdatePlayerSettingsRequest, call: Call
    ) -> pb.UpdatePlayerSettingsResponse:
        """Set and remove values of a player."""
        return await self._changes.update_player(request, call)

    @mutation
    async def DeletePlayerSettings(
        self, request: pb.DeletePlayerSettingsRequest, call: Call
    ) -> pb.DeletePlayerSettingsResponse:
        """Remove all values of a player."""
        player = checks.player(request.player)
        return pb.DeletePlayerSettingsResponse(
            deleted=await store.delete_player(call.db, call.world, player)
        )

    async def _known(
        self, world: str, request: pb.GetEffectiveRequest | pb.WatchEffectiveRequest
    ) -> Table:
        """The settings of a world that have the keys of a request."""
        found, _ = await self._cache.checked(
            world, lambda found: checks.asked(request.keys, found.declarations)
        )
        return found

    async def _message(
        self, world: str, request: pb.WatchEffectiveRequest, watch: Watch
    ) -> pb.WatchEffectiveResponse | None:
        found = await self._cache.of(world)
        read = await self._own(world, found, request)
        watch.own = watch.own if read is None else read
        async with self._cache.turn():
            settings = table.effective(found, request.keys, request.context, watch.own)
            return watch.next(settings, found.version, stale=read is None)

    async def _change(self, world: str, watch: Watch) -> None:
        """Wait until the settings are others than those that were sent, or values of the player are to be read again. Raises `DrainingError`."""
        end = self._live.wall() + _AGAIN_US if watch.stale else None
        while (await self._cache.of(world)).version == watch.version:
            if end is not None and self._live.wall() >= end:
                return
            await self._live.wait_for_change(end)

    async def _own(
        self, world: str, found: Table, request: pb.GetEffectiveRequest | pb.WatchEffectiveRequest
    ) -> dict[str, pb.Value] | None:
        """Values of the player that the call is about; None where they cannot be read."""
        player = request.context.player
        if not player or not table.has_values_of_players(found, request.keys):
            return {}
        read = await self._cache.of_player(world, player)
        return None if read is None else table.allowed(found, read)


@asynccontextmanager
async def lifespan(runtime: Runtime) -> AsyncIterator[None]:
    """The database, the settings in memory, and the relay of events."""
    async with kit_of(runtime.world, SERVICE.name, SOURCE_SETTINGS, tables=TABLES) as kit:
        cache = Cache(kit.database, OneWorld(runtime.world), runtime.world.notify)
        revisions = int(runtime.settings["revisions"])
        service = SettingsService(kit, cache, runtime.world, revisions)
        settings_pb2_grpc.add_SettingsServiceServicer_to_server(service, runtime.server)
        runtime.background.start("kit", kit.run(handlers(service)))
        runtime.background.start("cache", cache.run())
        yield


SERVICE = GameService(
    name="settings",
    wire_name="gameai.settings.v1.SettingsService",
    lifespan=lifespan,
    most_request_bytes=checks.MOST_REQUEST_BYTES,
    # Watches are among them.
    most_calls=400,
)

if __name__ == "__main__":
    sys.exit(main(SERVICE))
