"""PURE: all declarations and values of a world at one revision, and what applies in a context."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from gameai.services.settings.rules.values import fault
from gameai.settings.v1 import settings_pb2 as pb

_PERMILLE = 1000
_NONE = pb.Context()
# A revision, and its token.
Version = tuple[int, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a declaration (layer default) or a value is: `scope` is the region of layer region, else empty."""

    layer: int
    scope: str
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What is at a place: a serialized `Declaration` or `Change`, and the revision that brought it."""

    place: Place
    body: bytes
    revision: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A world's settings at a revision, as they are sent. Declarations are in the order of their keys.

    `layers` are by layer and region (empty where the layer has none), then by key; `shares` are the thousandths of rollouts.
    """

    revision: int = 0
    token: str = ""
    declarations: Mapping[str, pb.Declaration] = field(default_factory=dict)
    layers: Mapping[tuple[int, str], Mapping[str, pb.Setting]] = field(default_factory=dict)
    shares: Mapping[str, int] = field(default_factory=dict)

    @property
    def version(self) -> Version:
        """What no other state has, also not after the database was restored."""
        return self.revision, self.token


def table(revision: int, rows: Iterable[Row], token: str = "") -> Table:
    """The table of these rows; `token` is drawn at each change."""
    declarations: dict[str, pb.Declaration] = {}
    layers: dict[tuple[int, str], dict[str, pb.Setting]] = {}
    shares: dict[str, int] = {}
    for row in rows:
        place = row.place
        if place.layer == pb.LAYER_DEFAULT:
            declared = pb.Declaration.FromString(row.body)
            declarations[place.key], value = declared, declared.default
        else:
            change = pb.Change.FromString(row.body)
            value = change.value
            if place.layer == pb.LAYER_ROLLOUT:
                shares[place.key] = change.permille
        layers.setdefault((place.layer, place.scope), {})[place.key] = pb.Setting(
            key=place.key,
            value=value,
            layer=pb.Layer.ValueType(place.layer),
            revision=row.revision,
        )
    return Table(
        revision=revision,
        token=token,
        declarations=dict(sorted(declarations.items())),
        layers=layers,
        shares=shares,
    )


def effective(
    given: Table,
    keys: Sequence[str],
    context: pb.Context = _NONE,
    own: Mapping[str, pb.Value] | None = None,
) -> list[pb.Setting]:
    """What applies for keys, of all declared ones where none is named; keys that are not declared are left out.

    `own` are values of the player of the context.
    """
    values, player = own or {}, context.player
    shares = given.shares if player else {}
    rollout = given.layers.get((pb.LAYER_ROLLOUT, ""), {})
    # The earliest one has every declared key.
    later = [
        given.layers.get(each, {})
        for each in (
            (pb.LAYER_REGION, context.region),
            (pb.LAYER_WORLD, ""),
            (pb.LAYER_DEFAULT, ""),
        )
    ]
    found = []
    for key in keys or given.declarations:
        if key not in given.declarations:
            continue
        if key in values:
            found.append(pb.Setting(key=key, value=values[key], layer=pb.LAYER_PLAYER))
        elif key in shares and chosen(key, player, shares[key]):
            found.append(rollout[key])
        else:
            found.append(next(layer[key] for layer in later if key in layer))
    return found


def chosen(key: str, player: str, permille: int) -> bool:
    """Whether a player is among the share of a key, in thousandths."""
    digest = blake2b(f"{key}\0{player}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % _PERMILLE < permille


def allowed(given: Table, own: Mapping[str, pb.Value]) -> dict[str, pb.Value]:
    """Values of a player that their declarations still allow."""
    declarations = given.declarations
    return {
        key: value
        for key, value in own.items()
        if key in declarations
        and declarations[key].per_player
        and fault(value, declarations[key]) is None
    }


def has_values_of_players(given: Table, keys: Sequence[str]) -> bool:
    """Whether players may have values of these keys, or of any where none is named."""
    named = (given.declarations.get(key) for key in keys or given.declarations)
    return any(each is not None and each.per_player for each in named)


def page(given: Table, after: str, size: int) -> tuple[list[pb.Declaration], str]:
    """Declarations behind a key, and the key behind which the next page begins; "" after the last one."""
    found = [each for key, each in given.declarations.items() if key > after]
    return found[:size], found[size - 1].key if len(found) > size else ""
