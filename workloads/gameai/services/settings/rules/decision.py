"""PURE: what a request changes, given what is there."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from gameai.errors import ConflictError, FailedPreconditionError, InvalidArgumentError
from gameai.services.settings.rules import checks, values
from gameai.services.settings.rules.table import Place
from gameai.settings.v1 import settings_pb2 as pb

Bodies = Mapping[Place, bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """What was at a place, and what comes there; None: nothing."""

    place: Place
    before: bytes | None
    after: bytes | None

    @property
    def size(self) -> int:
        """Bytes of both."""
        return len(self.before or b"") + len(self.after or b"")


def require_revision(expected: int | None, present: int) -> None:
    """Raises `ConflictError` where a caller has read another revision."""
    if expected not in (None, present):
        raise ConflictError(
            f"the settings have revision {present}, and expected_revision is {expected}: read them again",
            field="expected_revision",
        )


def declare(request: pb.DeclareSettingsRequest, known: Bodies) -> list[Delta]:
    """What declarations change; `known` is all that is there of their keys. Raises `FailedPreconditionError`, `NotFoundError`."""
    found = []
    for number, each in enumerate(request.declarations):
        _require_fitting(each, f"declarations[{number}]", known)
        place = Place(layer=pb.LAYER_DEFAULT, scope="", key=each.key)
        found.append(_delta(place, known, each))
    for number, key in enumerate(request.removed_keys):
        place = Place(layer=pb.LAYER_DEFAULT, scope="", key=key)
        left = [each for each in known if each.key == key and each != place]
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
) -> tuple[dict[str, bytes], list[str]]:
    """Values to write by key, and keys to remove. Raises `NotFoundError`, `InvalidArgumentError`, `FailedPreconditionError`."""
    written: dict[str, bytes] = {}
    removed: list[str] = []
    for number, each in enumerate(changes):
        if not each.HasField("value"):
            removed.append(each.key)
            continue
        declared = declarations.get(each.key)
        if declared is None:
            raise checks.undeclared(each.key, f"changes[{number}].key", declarations)
        if not declared.per_player:
            raise FailedPreconditionError(
                f"changes[{number}]: {each.key} has no values of players: declare it with per_player",
                field=f"changes[{number}].key",
            )
        _require_fit(each.value, declared, f"changes[{number}].value")
        written[each.key] = each.value.SerializeToString(deterministic=True)
    return written, removed


def _require_fitting(declared: pb.Declaration, field: str, known: Bodies) -> None:
    """Values that are there must fit a new declaration. Raises `FailedPreconditionError`."""
    for place, body in known.items():
        if place.key != declared.key or place.layer == pb.LAYER_DEFAULT:
            continue
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
