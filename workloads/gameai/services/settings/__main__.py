"""SettingsService over gRPC: settings of the world in the database of its `spec.database`, and in memory for readers."""

import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from gameai.bus.subjects import name_id
from gameai.errors import ExhaustedError, InvalidArgumentError, UnavailableError
from gameai.events.v1.events_pb2 import SOURCE_SETTINGS, SettingChanged, SettingsRestored
from gameai.kit import Call, Kit, OneWorld, handlers, kit_of, mutation, query
from gameai.kit.methods import Context
from gameai.services.settings import store
from gameai.services.settings.cache import Cache
from gameai.services.settings.rules import checks, decision, table
from gameai.services.settings.rules.decision import Delta
from gameai.services.settings.rules.watch import Watch
from gameai.services.settings.store import Written
from gameai.services.settings.tables import TABLES
from gameai.serving import GameService, LiveWorld, Runtime, main
from gameai.settings.v1 import settings_pb2 as pb
from gameai.settings.v1 import settings_pb2_grpc

_MOST_WATCHES = 200


class SettingsService(settings_pb2_grpc.SettingsServiceServicer):
    """Changes go through the database, one after the other in a world; readers are answered from memory."""

    def __init__(self, kit: Kit, cache: Cache, live: LiveWorld, revisions: int) -> None:
        self.kit = kit
        self._cache, self._live, self._revisions = cache, live, revisions
        self._watches = 0

    async def DeclareSettings(
        self, request: pb.DeclareSettingsRequest, context: Context
    ) -> pb.DeclareSettingsResponse:
        """Declare keys."""
        answer = await self._declare(request, context)
        await self._cache.reach(self.kit.world_of(context).name, answer.revision)
        return answer

    async def UpdateSettings(
        self, request: pb.UpdateSettingsRequest, context: Context
    ) -> pb.UpdateSettingsResponse:
        """Set and remove values."""
        answer = await self._update(request, context)
        await self._cache.reach(self.kit.world_of(context).name, answer.revision)
        return answer

    async def RollbackTo(
        self, request: pb.RollbackToRequest, context: Context
    ) -> pb.RollbackToResponse:
        """Restore what was at a revision."""
        answer = await self._roll_back(request, context)
        await self._cache.reach(self.kit.world_of(context).name, answer.revision)
        return answer

    async def ListDeclarations(
        self, request: pb.ListDeclarationsRequest, context: Context
    ) -> pb.ListDeclarationsResponse:
        """A page of the declarations."""
        size = checks.page_size(request.page_size)
        after = checks.key(request.page_token, "page_token") if request.page_token else ""
        with self.kit.from_memory(context) as world:
            found, token = table.page(await self._cache.of(world.name), after, size)
            return pb.ListDeclarationsResponse(declarations=found, next_page_token=token)

    async def GetEffective(
        self, request: pb.GetEffectiveRequest, context: Context
    ) -> pb.GetEffectiveResponse:
        """What applies now."""
        checks.context(request.context)
        with self.kit.from_memory(context) as world:
            found = await self._cache.of(world.name)
            checks.asked(request.keys, found.declarations)
        own, away = await self._own(found, request, context)
        return pb.GetEffectiveResponse(
            settings=table.effective(found, request.keys, request.context, own),
            revision=found.revision,
            stale=away or self._cache.is_stale(),
        )

    async def WatchEffective(
        self, request: pb.WatchEffectiveRequest, context: Context
    ) -> AsyncIterator[pb.WatchEffectiveResponse]:
        """What applies now, then what changes."""
        checks.context(request.context)
        with self.kit.from_memory(context) as world:
            found = await self._cache.of(world.name)
            checks.asked(request.keys, found.declarations)
        watch, own = Watch(), dict[str, pb.Value]()
        with self._watching():
            while True:
                read, away = await self._own(found, request, context)
                own = own if away else read
                settings = table.effective(found, request.keys, request.context, own)
                answer = watch.next(settings, found.revision)
                if answer is not None:
                    yield answer
                found = await self._following(world.name, found.revision)

    @query
    async def ListRevisions(
        self, request: pb.ListRevisionsRequest, call: Call
    ) -> pb.ListRevisionsResponse:
        """The last changes."""
        size = checks.page_size(request.page_size)
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
        checks.player_changes(request)
        known = await store.known(call.db, call.world, [each.key for each in request.changes])
        declared = {
            place.key: pb.Declaration.FromString(body)
            for place, body in known.items()
            if place.layer == pb.LAYER_DEFAULT
        }
        written, removed = decision.of_player(request.changes, declared)
        await store.write_player(call.db, call.world, request.player, written, removed)
        for key in (*written, *removed):
            call.emit(_event(pb.LAYER_PLAYER, request.player, key, 0))
        return pb.UpdatePlayerSettingsResponse()

    @mutation
    async def DeletePlayerSettings(
        self, request: pb.DeletePlayerSettingsRequest, call: Call
    ) -> pb.DeletePlayerSettingsResponse:
        """Remove all values of a player."""
        player = checks.player(request.player)
        return pb.DeletePlayerSettingsResponse(
            deleted=await store.delete_player(call.db, call.world, player)
        )

    @mutation
    async def _declare(
        self, request: pb.DeclareSettingsRequest, call: Call
    ) -> pb.DeclareSettingsResponse:
        checks.declarations(request)
        present = await self._locked(request, call)
        keys = [*(each.key for each in request.declarations), *request.removed_keys]
        deltas = decision.declare(request, await store.known(call.db, call.world, keys))
        written = Written(author=request.author, reason=request.reason, world_us=call.now_us)
        return pb.DeclareSettingsResponse(
            revision=await self._write(call, present, deltas, written)
        )

    @mutation
    async def _update(
        self, request: pb.UpdateSettingsRequest, call: Call
    ) -> pb.UpdateSettingsResponse:
        checks.changes(request)
        present = await self._locked(request, call)
        known = await store.known(call.db, call.world, [each.key for each in request.changes])
        keys = await store.declared_keys(call.db, call.world)
        deltas = decision.update(request.changes, known, keys)
        written = Written(author=request.author, reason=request.reason, world_us=call.now_us)
        return pb.UpdateSettingsResponse(revision=await self._write(call, present, deltas, written))

    @mutation
    async def _roll_back(self, request: pb.RollbackToRequest, call: Call) -> pb.RollbackToResponse:
        checks.author(request.author, request.reason)
        present = await self._locked(request, call)
        if not 0 <= request.revision <= present:
            raise InvalidArgumentError(
                f"revision must be 0 to {present}, the present one, not {request.revision}",
                field="revision",
            )
        before = await store.before(call.db, call.world, request.revision)
        deltas = decision.restore(before, await store.present(call.db, call.world))
        written = Written(
            author=request.author,
            reason=request.reason,
            world_us=call.now_us,
            restored=request.revision,
        )
        return pb.RollbackToResponse(revision=await self._write(call, present, deltas, written))

    async def _locked(
        self,
        request: pb.DeclareSettingsRequest | pb.UpdateSettingsRequest | pb.RollbackToRequest,
        call: Call,
    ) -> int:
        """The present revision, which is the one that the caller expects."""
        present = await store.lock(call.db, call.world)
        given = request.expected_revision if request.HasField("expected_revision") else None
        decision.require_revision(given, present)
        return present

    async def _write(
        self, call: Call, present: int, deltas: Sequence[Delta], written: Written
    ) -> int:
        """Write what was decided; the revision."""
        if not deltas:
            return present
        revision = present + 1
        await store.write(call.db, call.world, revision, deltas, written)
        await store.forget(call.db, call.world, self._revisions)
        if written.restored is not None:
            call.emit(
                SettingsRestored(revision=revision, restored=written.restored, changed=len(deltas))
            )
            return revision
        for each in deltas:
            call.emit(_event(each.place.layer, each.place.scope, each.place.key, revision))
        return revision

    async def _following(self, world: str, revision: int) -> table.Table:
        """The settings of a world once they have another revision. Raises `DrainingError`."""
        while (found := await self._cache.of(world)).revision == revision:
            await self._live.wait_for_change(None)
        return found

    async def _own(
        self,
        found: table.Table,
        request: pb.GetEffectiveRequest | pb.WatchEffectiveRequest,
        context: Context,
    ) -> tuple[dict[str, pb.Value], bool]:
        """Values of the player that the call is about, and whether they could not be read."""
        player = request.context.player
        if not player or not table.has_values_of_players(found, request.keys):
            return {}, False

        async def read(_: object, call: Call) -> dict[str, pb.Value]:
            return await store.of_player(call.db, call.world, player)

        try:
            return table.allowed(found, await self.kit.ask(read, request, context)), False
        except UnavailableError:
            return {}, True

    @contextmanager
    def _watching(self) -> Iterator[None]:
        if self._watches >= _MOST_WATCHES:
            raise ExhaustedError(
                f"{_MOST_WATCHES} watches are open here: close one, or run more replicas"
            )
        self._watches += 1
        try:
            yield
        finally:
            self._watches -= 1


def _event(layer: int, scope: str, key: str, revision: int) -> SettingChanged:
    return SettingChanged(
        setting=name_id(key),
        layer=layer,
        scope=name_id(scope) if scope else 0,
        revision=revision,
    )


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
