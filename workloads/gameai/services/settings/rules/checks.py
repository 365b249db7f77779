"""PURE: what requests may hold. All raise `InvalidArgumentError` with the field and what it takes."""

from collections.abc import Collection, Iterable, Sequence

from gameai import fields
from gameai.errors import InvalidArgumentError, NotFoundError
from gameai.services.settings.rules import values
from gameai.settings.v1 import settings_pb2 as pb

MOST_CHANGES = MOST_KEYS = 100
# Of a request, with its values.
MOST_REQUEST_BYTES = 256 << 10
_MOST_AUTHOR, _MOST_TEXT, _MOST_REGION, _MOST_PLAYER, _MOST_UNIT = 128, 512, 64, 128, 32
_MOST_CHOICES, _MOST_CHOICE = 64, 128
_MOST_PERMILLE = 1000
_MOST_LIKE = 100
LAYERS = (pb.LAYER_WORLD, pb.LAYER_REGION, pb.LAYER_ROLLOUT)


def author(given: str, reason: str) -> None:
    """Who makes a change, and why."""
    fields.text(given, "author", 1, _MOST_AUTHOR)
    fields.text(reason, "reason", 1, _MOST_TEXT)


def context(given: pb.Context) -> None:
    """Where and for which player settings are read."""
    fields.text(given.region, "context.region", 0, _MOST_REGION)
    fields.text(given.player, "context.player", 0, _MOST_PLAYER)


def player(given: str) -> str:
    """A player."""
    return fields.text(given, "player", 1, _MOST_PLAYER)


def require_revision_given(request: pb.RollbackToRequest) -> None:
    """A rollback to nothing would remove everything: 0 must be meant."""
    if not request.HasField("revision"):
        raise InvalidArgumentError(
            "revision is missing: give one that ListRevisions returns, or 0 to remove all declarations and values",
            field="revision",
        )


def undeclared(value: str, field: str, known: Iterable[str]) -> NotFoundError:
    """The error of a key that is not declared, with a hint at one that is like it."""
    found = fields.hint(value, known, _MOST_LIKE)
    return NotFoundError(
        f"{field}: {value[:64]!r} is not declared{found or ': declare it with DeclareSettings'}",
        field=field,
    )


def asked(given: Sequence[str], known: Collection[str]) -> None:
    """Keys to read. Raises `NotFoundError` too."""
    fields.count(given, "keys", 0, MOST_KEYS)
    fields.different(given, "keys")
    for place, each in enumerate(given):
        if each not in known:
            raise undeclared(each, f"keys[{place}]", known)


def declarations(request: pb.DeclareSettingsRequest) -> None:
    """Declarations, and keys to remove."""
    author(request.author, request.reason)
    fields.count(request.declarations, "declarations", 0, MOST_CHANGES)
    fields.count(request.removed_keys, "removed_keys", 0, MOST_CHANGES)
    if not request.declarations and not request.removed_keys:
        raise InvalidArgumentError(
            "the request changes nothing: give declarations or removed_keys", field="declarations"
        )
    for place, each in enumerate(request.declarations):
        _declaration(each, f"declarations[{place}]")
    declared = [each.key for each in request.declarations]
    fields.removals(request.removed_keys, "removed_keys", declared, "declarations")


def changes(request: pb.UpdateSettingsRequest) -> None:
    """Values to set and remove, as far as they need no declaration."""
    author(request.author, request.reason)
    fields.count(request.changes, "changes", 1, MOST_CHANGES)
    for place, each in enumerate(request.changes):
        _change(each, f"changes[{place}]")
    fields.different([(each.layer, each.region, each.key) for each in request.changes], "changes")


def player_changes(request: pb.UpdatePlayerSettingsRequest) -> None:
    """Values of a player, as far as they need no declaration."""
    player(request.player)
    fields.count(request.changes, "changes", 1, MOST_CHANGES)
    for place, each in enumerate(request.changes):
        fields.name(each.key, f"changes[{place}].key")
    fields.different([each.key for each in request.changes], "changes")


def _change(given: pb.Change, field: str) -> None:
    fields.name(given.key, f"{field}.key")
    if given.layer not in LAYERS:
        raise InvalidArgumentError(
            f"{field}.layer must be LAYER_WORLD, LAYER_REGION or LAYER_ROLLOUT; a default is in the declaration, and a value of "
            "a player is set by UpdatePlayerSettings",
            field=f"{field}.layer",
        )
    regional = given.layer == pb.LAYER_REGION
    if given.region and not regional:
        raise InvalidArgumentError(
            f"{field}.region is for LAYER_REGION alone: leave it out", field=f"{field}.region"
        )
    fields.text(given.region, f"{field}.region", int(regional), _MOST_REGION)
    share = given.layer == pb.LAYER_ROLLOUT and given.HasField("value")
    if share != bool(given.permille) or given.permille > _MOST_PERMILLE:
        raise InvalidArgumentError(
            f"{field}.permille must be 1 to {_MOST_PERMILLE} for a value of LAYER_ROLLOUT (100 is 10 %), and absent otherwise, also where "
            "a rollout is removed",
            field=f"{field}.permille",
        )


def _declaration(given: pb.Declaration, field: str) -> None:
    fields.name(given.key, f"{field}.key")
    fields.text(given.description, f"{field}.description", 1, _MOST_TEXT)
    fields.text(given.unit, f"{field}.unit", 0, _MOST_UNIT)
    kind = values.kind(given.default)
    if not kind:
        raise InvalidArgumentError(
            f"{field}.default must have a value: its type is that of the key",
            field=f"{field}.default",
        )
    _bounds(given, field, kind)
    _ordered(given, field, kind)
    _texts(given, field, kind)
    found = values.fault(given.default, given)
    if found is not None:
        raise InvalidArgumentError(f"{field}.default {found}", field=f"{field}.default")


def _bounds(given: pb.Declaration, field: str, kind: str) -> None:
    """Bounds of numbers: of the same type, and in order."""
    unbounded = pb.Declaration(default=given.default)
    for name in ("minimum", "maximum"):
        bound = getattr(given, name)
        if not values.kind(bound):
            continue
        if kind not in ("whole", "number"):
            raise InvalidArgumentError(
                f"{field}.{name} is for defaults of type whole or number", field=f"{field}.{name}"
            )
        found = values.fault(bound, unbounded)
        if found is not None:
            raise InvalidArgumentError(f"{field}.{name} {found}", field=f"{field}.{name}")


def _ordered(given: pb.Declaration, field: str, kind: str) -> None:
    least, most = given.minimum, given.maximum
    if values.kind(least) and values.kind(most) and getattr(least, kind) > getattr(most, kind):
        raise InvalidArgumentError(
            f"{field}.minimum is {values.shown(least)}, above maximum {values.shown(most)}",
            field=f"{field}.minimum",
        )


def _texts(given: pb.Declaration, field: str, kind: str) -> None:
    """Bounds of texts."""
    if given.choices and kind != "text":
        raise InvalidArgumentError(
            f"{field}.choices is for defaults of type text", field=f"{field}.choices"
        )
    fields.count(given.choices, f"{field}.choices", 0, _MOST_CHOICES)
    fields.different(given.choices, f"{field}.choices")
    for place, each in enumerate(given.choices):
        fields.text(each, f"{field}.choices[{place}]", 1, _MOST_CHOICE)
    if given.max_bytes and (kind not in ("text", "json") or given.max_bytes > values.MAX_BYTES):
        raise InvalidArgumentError(
            f"{field}.max_bytes must be 0 to {values.MAX_BYTES}, and is for defaults of type text or json",
            field=f"{field}.max_bytes",
        )
