"""PURE: what a request changes, given what is there."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from gameai.errors import ConflictError, FailedPreconditionError, InvalidArgumentError
from gameai.services.settings.rules import checks, values
from gameai.services.settings.rules.table import Place
from gameai.settings.v1 import settings_pb2 as pb

Bodies = Mapping[Place, bytes]
_ROW_BYTES = 150


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """What was at a place, and what comes there; None: nothing."""

    place: Place
    before: bytes | None
    after: bytes | None

    @property
    def size(self) -> int:
        """Bytes that the history keeps of it, with what a row takes."""
        return _ROW_BYTES + len(self.before or b"")


def require_revision(expected: int | None, present: int) -> None:
    """Raises `ConflictError` where a caller has read another revision."""
    if expected not in (None, present):
        raise ConflictError(
            f"the settings are at revision {present}, and expected_revision is {expected}: read them again (GetEffective), and send "
            "the change with the revision of that answer and a new request_id",
            field="expected_revision",
        )


def declare(request: pb.DeclareSettingsRequest, known: Bodies) -> list[Delta]:
    """What declarations change; `known` is all that is there of their keys. Raises `FailedPreconditionError`.

    A key to remove that is not declared is passed over.
    """
    found = []
    of_key: dict[str, list[Place]] = {}
    for place in known:
        if place.layer != pb.LAYER_DEFAULT:
            of_key.setdefault(place.key, []).append(place)
    for number, each in enumerate(request.declarations):
        values_of_key = {place: known[place] for place in of_key.get(each.key, ())}
        _require_fitting(each, f"declarations[{number}]", values_of_key)
        place = Place(layer=pb.LAYER_DEFAULT, scope="", key=each.key)
        found.append(_delta(place, known, each))
    for number, key in enumerate(request.removed_keys):
        place = Place(layer=pb.LAYER_DEFAULT, scope="", key=key)
        left = of_key.get(key)
        if left:
            raise FailedPreconditionError(
                f"removed_keys[{number}]: {key} has a value in {_named(left[0])}: remove it first (UpdateSettings without value)",
                field=f"removed_keys[{number}]",
            )
        found.append(_delta(place, known, None))
    return _changed(found)


def update(changes: Sequence[pb.Change], known: Bodies, keys: Iterable[str]) -> list[Delta]:
    """What changes of values change; `known` is all that is there of their keys, `keys` are all declared ones.

    Raises `NotFoundError`, `InvalidArgumentError`.
    """
    found = []
    for number, each in enumerate(changes):
        body = known.get(Place(layer=pb.LAYER_DEFAULT, scope="", key=each.key))
        if body is None:
            raise checks.undeclared(each.key, f"changes[{number}].key", keys)
        after = each if each.HasField("value") else None
        if after is not None:
            _require_fit(each.value, pb.Declaration.FromString(body), f"changes[{number}].value")
        found.append(_delta(Place(layer=each.layer, scope=each.region, key=each.key), known, after))
    return _changed(found)


def restore(before: Mapping[Place, bytes | None], present: Bodies) -> list[Delta]:
    """What makes places as they were."""
    return _changed(
        Delta(place=place, before=present.get(place), after=body) for place, body in before.items()
    )


def of_player(
    changes: Sequence[pb.PlayerChange],
    declarations: Mapping[str, pb.Declaration],
    keys: Iterable[str],
) -> dict[str, bytes | None]:
    """Values that are wanted by key; None: none. `keys` are all declared ones.

    Raises `NotFoundError`, `InvalidArgumentError`, `FailedPreconditionError`.
    """
    wanted: dict[str, bytes | None] = {}
    for number, each in enumerate(changes):
        if not each.HasField("value"):
            wanted[each.key] = None
            continue
        declared = declarations.get(each.key)
        if declared is None:
            raise checks.undeclared(each.key, f"changes[{number}].key", keys)
        if not declared.per_player:
            raise FailedPreconditionError(
                f"changes[{number}]: {each.key} takes no values of players: set per_player in its declaration",
                field=f"changes[{number}].key",
            )
        _require_fit(each.value, declared, f"changes[{number}].value")
        wanted[each.key] = each.value.SerializeToString(deterministic=True)
    return wanted


def player_changes(
    wanted: Mapping[str, bytes | None], present: Mapping[str, bytes]
) -> tuple[dict[str, bytes], list[str]]:
    """Values to write, and keys to remove: those that are not as they should be already."""
    written = {
        key: body for key, body in wanted.items() if body is not None and body != present.get(key)
    }
    return written, [key for key, body in wanted.items() if body is None and key in present]


def _require_fitting(declared: pb.Declaration, field: str, known: Bodies) -> None:
    """Values of the key that are there must fit a new declaration. Raises `FailedPreconditionError`."""
    for place, body in known.items():
        value = pb.Change.FromString(body).value
        fault = values.fault(value, declared)
        if fault is not None:
            raise FailedPreconditionError(
                f"{field}: the value {values.shown(value)} in {_named(place)} {fault}: change or remove it first",
                field=field,
            )


def _require_fit(value: pb.Value, declared: pb.Declaration, field: str) -> None:
    fault = values.fault(value, declared)
    if fault is not None:
        raise InvalidArgumentError(f"{field} of {declared.key} {fault}", field=field)


def _named(place: Place) -> str:
    layer = pb.Layer.Name(pb.Layer.ValueType(place.layer)).removeprefix("LAYER_").lower()
    return f"layer {layer}" + (f", region {place.scope}" if place.scope else "")


def _delta(place: Place, known: Bodies, after: Message | None) -> Delta:
    body = after.SerializeToString(deterministic=True) if after is not None else None
    return Delta(place=place, before=known.get(place), after=body)


def _changed(found: Iterable[Delta]) -> list[Delta]:
    return [each for each in found if each.before != each.after]
