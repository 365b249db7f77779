"""EDGE: what requests change, in the transactions of their calls. Changes of a world are one after the other."""

from collections.abc import Sequence

from google.protobuf.message import Message

from gameai.bus.subjects import name_id
from gameai.errors import InvalidArgumentError
from gameai.events.v1.events_pb2 import SettingChanged, SettingsRestored
from gameai.kit import Call
from gameai.services.settings import store
from gameai.services.settings.cache import Cache
from gameai.services.settings.rules import checks, decision
from gameai.services.settings.rules.decision import Delta
from gameai.services.settings.store import Written
from gameai.settings.v1 import settings_pb2 as pb

Made = pb.DeclareSettingsRequest | pb.UpdateSettingsRequest | pb.RollbackToRequest


class Changes:
    """Changes of the worlds of a process; `revisions` of each world are kept."""

    def __init__(self, cache: Cache, revisions: int) -> None:
        self._cache, self._revisions = cache, revisions

    async def declare(
        self, request: pb.DeclareSettingsRequest, call: Call
    ) -> pb.DeclareSettingsResponse:
        """Declare keys, and remove declarations."""
        _known_fields(request)
        checks.declarations(request)
        present = await self._locked(request, call)
        keys = [*(each.key for each in request.declarations), *request.removed_keys]
        deltas = decision.declare(request, await store.known(call.db, call.world, keys))
        return pb.DeclareSettingsResponse(
            revision=await self._write(call, present, deltas, _written(request, call))
        )

    async def update(
        self, request: pb.UpdateSettingsRequest, call: Call
    ) -> pb.UpdateSettingsResponse:
        """Set and remove values."""
        _known_fields(request)
        checks.changes(request)
        present = await self._locked(request, call)
        known = await store.known(call.db, call.world, [each.key for each in request.changes])
        keys = (await self._cache.of(call.world)).declarations
        deltas = decision.update(request.changes, known, keys)
        return pb.UpdateSettingsResponse(
            revision=await self._write(call, present, deltas, _written(request, call))
        )

    async def roll_back(self, request: pb.RollbackToRequest, call: Call) -> pb.RollbackToResponse:
        """Restore what was at a revision."""
        checks.author(request.author, request.reason)
        checks.require_revision_given(request)
        present = await self._locked(request, call)
        if not 0 <= request.revision <= present:
            raise InvalidArgumentError(
                f"revision must be 0 to {present}, the present one, not {request.revision}",
                field="revision",
            )
        before = await store.before(call.db, call.world, request.revision)
        deltas = decision.restore(before, await store.present(call.db, call.world))
        written = _written(request, call, restored=request.revision)
        return pb.RollbackToResponse(revision=await self._write(call, present, deltas, written))

    async def update_player(
        self, request: pb.UpdatePlayerSettingsRequest, call: Call
    ) -> pb.UpdatePlayerSettingsResponse:
        """Set and remove values of a player."""
        _known_fields(request)
        checks.player_changes(request)
        known = await store.known(call.db, call.world, [each.key for each in request.changes])
        declared = {
            place.key: pb.Declaration.FromString(body)
            for place, body in known.items()
            if place.layer == pb.LAYER_DEFAULT
        }
        keys = (await self._cache.of(call.world)).declarations
        wanted = decision.of_player(request.changes, declared, keys)
        present = await store.locked_player(call.db, call.world, request.player)
        written, removed = decision.player_changes(wanted, present)
        await store.write_player(call.db, call.world, request.player, written, removed)
        for key in (*written, *removed):
            call.emit(_event(pb.LAYER_PLAYER, request.player, key, 0))
        return pb.UpdatePlayerSettingsResponse()

    async def _locked(self, request: Made, call: Call) -> int:
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


def _known_fields(request: Message) -> None:
    """Fields that this release does not know would be kept, past every limit."""
    request.DiscardUnknownFields()


def _written(request: Made, call: Call, restored: int | None = None) -> Written:
    return Written(
        author=request.author, reason=request.reason, world_us=call.now_us, restored=restored
    )


def _event(layer: int, scope: str, key: str, revision: int) -> SettingChanged:
    return SettingChanged(
        setting=name_id(key),
        layer=layer,
        scope=name_id(scope) if scope else 0,
        revision=revision,
    )
